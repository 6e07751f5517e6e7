"""PyTorch engine: the reference (float32 on a CPU), the fallback, and the engine for GPUs."""

import shutil
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.threads import take_one_torch_thread
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource
from dino_assets.embeddings.encoder.tokens import Vectors, normalise
from dino_assets.errors import DeviceMemoryError


class TorchEncoder(Encoder):
    """Engine that computes transformers' blocks in PyTorch.

    On a CPU one call uses one thread, and callers run several calls at a time. Measured on two cores,
    this is 1.4× as fast as two OpenMP threads per call. It is up to 4× as fast when other processes use
    the cores, because OpenMP threads wait for each other at every layer. Also, the numbers do not depend
    on the number of threads.

    On a GPU tiles are copied as bytes, not as floats, from pinned memory. Each calling thread has its
    own stream, so one thread copies while the other computes.
    """

    def __init__(
        self, source: NetworkSource, spec: EngineSpec, *, is_compiled: bool | None = None
    ) -> None:
        super().__init__(source, spec)
        import torch

        from dino_assets.embeddings.encoder.vit import PER_HEAD, load_network

        self._torch = torch
        self.version = torch.__version__
        self.device = torch.device(spec.device)
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            spec.numerics
        ]
        is_cpu = self.device.type == "cpu"
        if is_cpu:
            take_one_torch_thread()
        attention = PER_HEAD if is_cpu and spec.numerics != "fp32" else "sdpa"
        network = load_network(
            source.folder,
            source.checkpoint,
            side_px=source.side_px,
            outputs=source.outputs,
            attention=attention,
        )
        # The last norm stays in float32: it costs nothing, and its output is what is stored.
        norm, network.norm = network.norm, torch.nn.Identity()
        network = network.to(self.device, self._dtype)
        network.norm = norm.to(self.device)
        if is_compiled is None:
            is_compiled = pays_to_compile(spec)
        self.network = torch.compile(network, dynamic=False) if is_compiled else network
        mean, std = (
            torch.tensor(each, device=self.device).view(1, 3, 1, 1)
            for each in (source.checkpoint.mean, source.checkpoint.std)
        )
        self._scale, self._shift = 1 / (255 * std), mean / std
        self._own = threading.local()
        self.empty_cache: Callable[[], None] = torch.cuda.empty_cache

    def to_half(self, values: Vectors) -> NDArray[np.float16]:
        """Round numbers to 16 bits with torch."""
        halves: NDArray[np.float16] = self._torch.from_numpy(values).half().numpy()
        return halves

    def run_batch(self, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        """Compute one batch; when out of memory, empty the device's cache and raise DeviceMemoryError."""
        torch = self._torch
        with torch.inference_mode():
            if self.device.type == "cpu":
                planes = torch.from_numpy(normalise(tiles, self.source.checkpoint))
                return tuple(each.numpy() for each in self.network(planes))
            try:
                return self.run_on_device(tiles)
            except torch.OutOfMemoryError as err:
                sentence = str(err).partition("\n")[0]
            # Outside of the handler, because the handler's traceback keeps the tensors in memory.
            if self.device.type == "cuda":
                self.empty_cache()
            raise DeviceMemoryError(sentence)

    def run_on_device(self, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        """Copy tiles to the device, compute, and copy the tokens back."""
        torch = self._torch
        if self.device.type != "cuda":
            sent = torch.from_numpy(tiles).to(self.device)
            return tuple(each.cpu().numpy() for each in self.network(self.normalise_sent(sent)))
        own = self._own
        if getattr(own, "shape", None) != tiles.shape:
            own.shape = tiles.shape
            own.stream = torch.cuda.Stream(self.device)
            own.pinned = torch.empty(tiles.shape, dtype=torch.uint8, pin_memory=True)
        own.pinned.numpy()[...] = tiles
        with torch.cuda.device(self.device), torch.cuda.stream(own.stream):
            sent = own.pinned.to(self.device, non_blocking=True)
            tokens = self.network(self.normalise_sent(sent))
            back = tuple(each.to("cpu", non_blocking=True) for each in tokens)
            own.stream.synchronize()
        return tuple(each.numpy() for each in back)

    def normalise_sent(self, sent: "torch.Tensor") -> "torch.Tensor":  # type: ignore[name-defined] # noqa: F821
        """Normalise tiles on the device, as ``normalise`` does on the CPU."""
        return sent.permute(0, 3, 1, 2) * self._scale - self._shift


def pays_to_compile(
    spec: EngineSpec, *, find_program: Callable[[str], str | None] = shutil.which
) -> bool:
    """Check whether to compile the network: only on CUDA, and only if gcc, which this needs, is installed."""
    return spec.device.startswith("cuda") and find_program("gcc") is not None
