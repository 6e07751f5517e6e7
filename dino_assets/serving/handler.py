"""Serverless handler (RunPod) that answers a base64 picture with the embedding of its grayscale version.

``handler`` does not need RunPod's package. ``python -m dino_assets.serving.handler`` runs RunPod's worker.
"""

import base64
import binascii
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.embeddings.encoder.tokens import Vectors
from dino_assets.embeddings.run.pictures import to_square
from dino_assets.errors import MissingExtraError, UnusableImageError
from dino_assets.images.decoding import decode_image, read_header

log = logging.getLogger(__name__)

SIDE_PX = 224
# RunPod itself accepts 10 MB with /run and 20 MB with /runsync.
MAX_IMAGE_BYTES = 20_000_000
# A picture is decoded in memory: 50 megapixels are 150 MB.
MAX_PIXELS = 50_000_000
_SHOWN_LETTERS = 60
Embed = Callable[[NDArray[np.uint8]], Vectors]  # a tile (side, side, 3) → (D,)


class _Model:
    """The configured model, opened by the first request."""

    def __init__(self, open_model: Callable[[], Embed]) -> None:
        self._open_model = open_model
        self._lock = threading.Lock()
        self._embed: Embed | None = None

    def open(self) -> Embed:
        with self._lock:
            if self._embed is None:  # after a failure the next request tries again
                self._embed = self._open_model()
        return self._embed


def open_model() -> Embed:
    """Open the model of ``DINO_MODEL_ID`` on the best device; fetch it if necessary, and check it.

    Raises:
        CheckpointError, ConfigError, EngineRefusedError: the model cannot be used.
    """
    from dino_assets.compute.devices import resolve_compute
    from dino_assets.compute.settings import ComputeSettings
    from dino_assets.embeddings.encoder.engine import NetworkSource
    from dino_assets.embeddings.encoder.ready import open_encoder
    from dino_assets.settings.environment import find_root, load_settings
    from dino_assets.settings.hub import find_engine_cache
    from dino_assets.weights.fetching import read_located
    from dino_assets.weights.hub.filling import Watch
    from dino_assets.weights.hub.locating import locate_checkpoint
    from dino_assets.weights.hub.progress import ProgressLines

    settings = load_settings()
    located = locate_checkpoint(
        settings.model,
        root=find_root(),
        revision=settings.model_revision,
        watch=Watch(ProgressLines(log.info, what=settings.model)),
    )
    folder = located.bring()
    checkpoint = read_located(located, folder)
    compute = replace(
        resolve_compute(ComputeSettings(device=settings.device)),  # type: ignore[arg-type]
        batch=1,
    )
    source = NetworkSource(folder, checkpoint, SIDE_PX, ("cls",))
    encoder = open_encoder(source, compute, cache=find_engine_cache()).encoder

    def embed(tile: NDArray[np.uint8]) -> Vectors:
        vectors = encoder.encode(tile[None])["cls"]
        return np.asarray(vectors[0])

    return embed


_MODEL = _Model(open_model)


def handler(event: Any, *, model: Callable[[], Embed] | None = None) -> dict[str, Any]:
    """Answer ``{"input": {"image": "<base64>"}}`` with ``{"embedding": [floats]}``, or with ``error``.

    Never raises: RunPod would send the client a traceback. ``model`` replaces the configured model.
    """
    try:
        tile = read_tile(event)
    except UnusableImageError as err:
        return {"error": str(err)}
    except Exception:
        log.exception("reading a picture failed")
        return {"error": "image-failed: reading the picture failed; the endpoint's log says why"}
    try:
        embed = (model or _MODEL.open)()
    except Exception:
        log.exception("opening the model failed")
        return {"error": "model-failed: opening the model failed; the endpoint's log says why"}
    try:
        vector = np.asarray(embed(tile), np.float64)
    except Exception:
        log.exception("embedding a picture failed")
        return {"error": "inference-failed: embedding failed; the endpoint's log says why"}
    if vector.ndim != 1 or not np.isfinite(vector).all():
        log.error("the model gave an array of shape %s, or NaN or infinity", vector.shape)
        return {"error": "conversion-failed: the model gave NaN, infinity or a wrong shape"}
    return {"embedding": vector.tolist()}


def read_tile(event: Any) -> NDArray[np.uint8]:
    """Read the picture of an event as grayscale in three equal channels, 224 × 224 px.

    16-bit pixels keep their high byte, as everywhere in this package.

    Raises:
        UnusableImageError: the request has no picture, or the picture is too large or unreadable.
    """
    data = _decode_base64(_find_text(event))
    header = read_header(data)
    if header.width * header.height > MAX_PIXELS:
        raise UnusableImageError(
            "too-large",
            f"{header.width} × {header.height} pixels; at most {MAX_PIXELS:,} are accepted",
        )
    gray = np.asarray(Image.fromarray(decode_image(data)).convert("L"))
    return to_square(np.repeat(gray[..., None], 3, axis=2), SIDE_PX)


def _find_text(event: Any) -> str:
    request = event.get("input") if isinstance(event, Mapping) else None
    if not isinstance(request, Mapping):
        raise UnusableImageError(
            "no-input", 'a JSON object {"input": {"image": "<base64>"}} is expected'
        )
    text = request.get("image")
    if text is None:
        names = json.dumps([str(name)[:_SHOWN_LETTERS] for name in list(request)[:5]])
        raise UnusableImageError("no-image", f"'input' has {names}; 'image' is expected")
    if not isinstance(text, str):
        raise UnusableImageError(
            "not-base64", f"'image' is a {type(text).__name__}; a string is expected"
        )
    return text


def _decode_base64(text: str) -> bytes:
    # Checked before decoding: base64 has four characters for three bytes, and line breaks.
    if len(text) > MAX_IMAGE_BYTES * 3 // 2:
        raise UnusableImageError(
            "too-large", f"the picture has more than {MAX_IMAGE_BYTES:,} bytes"
        )
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as err:
        raise UnusableImageError("not-base64", "'image' is not base64") from err
    if not data:
        raise UnusableImageError("no-image", "'image' is empty")
    if len(data) > MAX_IMAGE_BYTES:
        raise UnusableImageError(
            "too-large", f"the picture has more than {MAX_IMAGE_BYTES:,} bytes"
        )
    return data


def main(package: str = "runpod") -> None:
    """Run RunPod's worker; open the model before the first job.

    Raises:
        MissingExtraError: the extra ``runpod`` is not installed.
    """
    try:
        runpod = import_module(package)
    except ImportError as err:
        raise MissingExtraError("RunPod's worker", extra="runpod") from err
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # A container's first process ignores SIGTERM unless it has a handler for it. RunPod's worker sets its own
    # handler; RunPod's local API raises the signal again after an orderly stop.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    embed = _MODEL.open()
    runpod.serverless.start({"handler": partial(handler, model=lambda: embed)})


if __name__ == "__main__":
    main()
