"""Functions around ``DINOv2Extractor``: batches, several scales, large data sets, several devices."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.api.constants import DEFAULT_NUM_WORKERS
from dino_assets.api.embedding_files import (
    about_embeddings,
    check_target,
    write_parquet,
)
from dino_assets.api.extractor import DINOv2Extractor
from dino_assets.api.given_pictures import to_picture
from dino_assets.compute.devices import list_devices, resolve_compute
from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.run.pictures import read_pixels
from dino_assets.errors import ConfigError, SourceError
from dino_assets.settings.choices import check_range

if TYPE_CHECKING:
    from torch import Tensor


def extract_embeddings(images: Any, **options: Any) -> "Tensor":
    """Compute patch embeddings (N, P, d) of a batch of pictures; ``.mean(dim=1)`` pools them.

    ``images`` is as for ``DINOv2Extractor.extract_batch``; ``options`` are the extractor's arguments. The
    extractor is kept for the next call. CLS and register tokens are left out, and no gradients are computed.

    >>> from dino_assets import extract_embeddings
    >>> patches = extract_embeddings(["photo.jpg"], model_name="dinov2-small", progress=False)
    >>> patches.shape[:2]
    torch.Size([1, 256])

    Raises:
        UnusableImageError: an item is not a usable picture.
    """
    return _open_extractor(**_hashable(options)).extract_patches(images)


def extract_multiscale_features(
    image_path: Any,
    scales: Sequence[float] = (0.5, 1.0, 1.5),
    *,
    extractor: DINOv2Extractor | None = None,
    **options: Any,
) -> "Tensor":
    """Compute one picture's CLS embeddings at several scales, concatenated (len(scales) · d,).

    For each scale, the picture is scaled to a square. Its side is the scale times the extractor's
    ``image_size``, rounded to a multiple of the model's patch: 112, 224 and 336 px by default. Without an
    ``extractor``, one is made from ``options`` and kept for the next call.

    >>> from dino_assets import extract_multiscale_features
    >>> extract_multiscale_features("photo.jpg", [0.5, 1.0], model_name="dinov2-small").ndim
    1

    Raises:
        UnusableImageError: ``image_path`` is not a usable picture.
        ConfigError: ``scales`` is empty, or a scale is not from 0.000001 to 100.
    """
    import torch

    if not len(scales):
        raise ConfigError("scales is empty; give at least one", setting="scales", value=scales)
    extractor = extractor or _open_extractor(**_hashable(options))
    for scale in scales:
        check_range("scales", scale, least=1e-6, most=100)
    pixels = read_pixels(to_picture(image_path))
    patch = extractor.patch_size
    sides = [max(1, round(extractor.image_size * scale / patch)) * patch for scale in scales]
    return torch.cat([extractor.at_size(side).extract_single(pixels) for side in sides], dim=-1)


def process_large_dataset(
    image_dir: str | Path, chunk_size: int = 10_000, **options: Any
) -> "Tensor":
    """Embed all pictures below a folder; return embeddings (N, d) in the order of the paths.

    ``options`` are arguments of ``DINOv2Extractor``. Only a few pictures are in memory at a time. Unusable
    pictures are left out with a warning. To keep the ids, or if the embeddings do not fit into memory, use
    ``write_embeddings`` with a ``.parquet`` file.

    >>> from dino_assets import process_large_dataset
    >>> len(process_large_dataset("path/to/photos", model_name="dinov2-small", progress=False))
    2

    Raises:
        SourceError, ConfigError: there are no pictures.
    """
    import torch

    extractor = DINOv2Extractor(**options)
    pieces = [piece for piece, _ in extractor.extract_in_chunks(image_dir, chunk_size)]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def write_embeddings(
    images: Any,
    output_path: str | Path,
    chunk_size: int = 10_000,
    *,
    extractor: DINOv2Extractor | None = None,
    **options: Any,
) -> int:
    """Embed any number of pictures into a file; return the number of embeddings in it.

    ``images`` is as for ``DINOv2Extractor.extract_in_chunks``. Without an ``extractor``, one is made from
    ``options``. A ``.parquet`` file has the columns ``image_id`` and ``embedding`` and is written in pieces.
    For ``.pt`` and ``.npz``, all embeddings are collected in memory, then saved by ``save_embeddings``. After
    an error no partial file remains. If ``extractor`` is a CachedExtractor, repeating an interrupted call
    computes only the missing vectors.

    >>> from dino_assets import write_embeddings
    >>> options = {"model_name": "dinov2-small", "progress": False}
    >>> write_embeddings("path/to/photos", "out/vectors.parquet", **options)
    2

    Raises:
        SourceError, ConfigError: there are no pictures, or none is usable.
        TargetError, DiskFullError: the file cannot be written.
    """
    path = check_target(output_path)
    extractor = extractor or DINOv2Extractor(**options)
    pieces = _refuse_none(extractor.extract_arrays(images, chunk_size))
    if path.suffix.lower() != ".parquet":
        held = list(pieces)
        ids = [each for _, names in held for each in names]
        extractor.save_embeddings(np.concatenate([matrix for matrix, _ in held]), ids, path)
        return len(ids)
    first = next(pieces)
    rows = 0

    def count() -> Iterator[tuple[NDArray[np.float32], list[str]]]:
        nonlocal rows
        for matrix, ids in chain([first], pieces):
            rows += len(ids)
            yield matrix, ids

    about = about_embeddings(str(extractor.model_name), extractor.describe())
    write_parquet(path, count(), dim=first[0].shape[1], about=about)
    return rows


def _refuse_none(
    pieces: Iterable[tuple[NDArray[np.float32], list[str]]],
) -> Iterator[tuple[NDArray[np.float32], list[str]]]:
    """Yield the pieces that are not empty.

    Raises:
        SourceError: all pieces are empty.
    """
    is_none = True
    for matrix, ids in pieces:
        if ids:
            is_none = False
            yield matrix, ids
    if is_none:
        raise SourceError(
            "no picture was usable, so no file was written; the warnings say why",
            reason="no-images",
        )


def parallel_extract(
    image_paths: Iterable[str | Path], n_workers: int = 4, **options: Any
) -> "tuple[Tensor, list[str]]":
    """Embed pictures on up to ``n_workers`` GPUs; return embeddings (N, d) and the paths, in order.

    A GPU that becomes free takes the next batch. Without a GPU, the pictures are embedded on all cores of the
    CPU. ``options`` are arguments of ``DINOv2Extractor``.

    >>> from dino_assets import parallel_extract
    >>> embeddings, paths = parallel_extract(["photo.jpg"], model_name="dinov2-small", progress=False)
    >>> len(embeddings), paths
    (1, ['photo.jpg'])

    Raises:
        ConfigError: an entry is not a path, or ``n_workers`` is below 1.
    """
    check_range("n_workers", n_workers, least=1)
    device = options.pop("device", None)
    if device is None:
        compute = resolve_compute(ComputeSettings())
        device = list_devices(compute)[:n_workers]
    workers = options.pop("num_workers", max(DEFAULT_NUM_WORKERS * len(device), n_workers))
    extractor = DINOv2Extractor(device=device, num_workers=workers, **options)
    return extractor.extract_from_list(image_paths)


@lru_cache(maxsize=2)
def _open_extractor(**options: Any) -> DINOv2Extractor:
    return DINOv2Extractor(**options)


def _hashable(options: dict[str, Any]) -> dict[str, Any]:
    """Convert lists among the options, for example devices, to tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
