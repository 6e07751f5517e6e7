"""Everything that turns a photograph's tiles into CLS vectors here, each the way its users call it."""

import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dino_assets.embeddings.encoder.engine import Encoder, NetworkSource
from dino_assets.embeddings.encoder.openvino_engine import open_core
from dino_assets.embeddings.encoder.tokens import normalise
from dino_assets.images.decoding import decode_image
from dino_assets.tiles.grid import cut_tiles
from dino_assets_tests.bench.encoder_workload import Spent, Timer


class Peer(ABC):
    """Decodes, cuts, embeds; ``model`` is what its last ``embed`` spent in the network alone."""

    model: Spent | None = None
    batch: int = 1

    @abstractmethod
    def decode(self, path: Path) -> Any: ...

    @abstractmethod
    def cut(self, picture: Any, windows: np.ndarray) -> Any: ...

    @abstractmethod
    def embed(self, tiles: Any) -> np.ndarray: ...


class PillowPeer(Peer):
    """Photographs and tiles as Pillow's images, as transformers' users have them."""

    def decode(self, path: Path) -> Image.Image:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            return image.convert("RGB")

    def cut(self, picture: Image.Image, windows: np.ndarray) -> list[Image.Image]:
        return [picture.crop((x, y, x + w, y + h)) for x, y, w, h in windows.tolist()]


class PipelinePeer(PillowPeer):
    """``return_tensors``: without it a million numbers become Python's floats, a third of a second."""

    def __init__(self, checkpoint: Path, *, batch: int) -> None:
        from transformers import pipeline

        self.batch = batch
        self._pipeline = pipeline("image-feature-extraction", model=str(checkpoint), device=-1)

    def embed(self, tiles: list[Image.Image]) -> np.ndarray:
        features = self._pipeline(tiles, batch_size=self.batch, return_tensors=True)
        return np.stack([each[0, 0].numpy() for each in features])


class AutoModelPeer(PillowPeer):
    """The processor and the model, called by hand in inference mode."""

    def __init__(self, checkpoint: Path, *, batch: int, numerics: str) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModel

        self._torch, self.batch = torch, batch
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[numerics]
        self._processor = AutoImageProcessor.from_pretrained(checkpoint)
        self._model = AutoModel.from_pretrained(checkpoint, dtype=self._dtype).eval()

    def embed(self, tiles: list[Image.Image]) -> np.ndarray:
        vectors, cpu_s, wall_s = [], 0.0, 0.0
        with self._torch.inference_mode():
            for first in range(0, len(tiles), self.batch):
                inputs = self._processor(tiles[first : first + self.batch], return_tensors="pt")
                planes = inputs["pixel_values"].to(self._dtype)
                with Timer() as timer:
                    tokens = self._model(pixel_values=planes).last_hidden_state
                vectors.append(tokens[:, 0].float().numpy())
                cpu_s, wall_s = cpu_s + timer.spent.cpu_s, wall_s + timer.spent.wall_s
        self.model = Spent(cpu_s, wall_s)
        return np.concatenate(vectors)


class ArrayPeer(Peer):
    """Our decoding and our cutting."""

    def decode(self, path: Path) -> np.ndarray:
        return decode_image(path.read_bytes())

    def cut(self, picture: np.ndarray, windows: np.ndarray) -> np.ndarray:
        side = int(windows[0, 2])
        return cut_tiles(picture, windows, side, span_px=side)


class EncoderPeer(ArrayPeer):
    """An engine behind our interface."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.batch = encoder.spec.batch

    def embed(self, tiles: np.ndarray) -> np.ndarray:
        with Timer() as embed_timer:
            vectors = self.encoder.encode(tiles)["cls"]
        with Timer() as normalise_timer:
            for first in range(0, len(tiles), self.encoder.spec.batch):
                normalise(
                    tiles[first : first + self.encoder.spec.batch], self.encoder.source.checkpoint
                )
        # By subtraction, which needs no door into the engine; copies and Python stay the model's.
        self.model = Spent(
            embed_timer.spent.cpu_s - normalise_timer.spent.cpu_s,
            embed_timer.spent.wall_s - normalise_timer.spent.wall_s,
        )
        self.extra = (
            normalise_timer.spent
        )  # not part of embedding; whoever times ``embed`` takes it off
        return vectors


class OnnxOpenVinoPeer(ArrayPeer):
    """OpenVINO on the network as ONNX, as most of its users have it."""

    def __init__(self, source: NetworkSource, file: Path, *, batch: int) -> None:
        core = open_core()
        options = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        compiled_model = core.compile_model(
            core.read_model(file), "CPU", options | {"ENABLE_CPU_PINNING": False}
        )
        self._request = compiled_model.create_infer_request()
        self._source, self.batch = source, batch

    def embed(self, tiles: np.ndarray) -> np.ndarray:
        vectors, cpu_s, wall_s = [], 0.0, 0.0
        for first in range(0, len(tiles), self.batch):  # whole batches: the cases see to it
            planes = normalise(tiles[first : first + self.batch], self._source.checkpoint)
            with Timer() as timer:
                self._request.infer([planes], share_inputs=True)
                vectors.append(np.array(self._request.get_output_tensor(0).data))
            cpu_s, wall_s = cpu_s + timer.spent.cpu_s, wall_s + timer.spent.wall_s
        self.model = Spent(cpu_s, wall_s)
        return np.concatenate(vectors)
