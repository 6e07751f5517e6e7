"""``embed``: vectors of photographs, cut and scaled as in the Dagster assets."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.api.given_pictures import to_picture
from dino_assets.api.image_files import find_images
from dino_assets.api.left_out import warn_left_out
from dino_assets.api.models import Engines, open_model, resolve_devices
from dino_assets.api.progress import showing_bar
from dino_assets.compute.settings import PrecisionClass
from dino_assets.compute.threads import map_ahead, one_torch_thread
from dino_assets.embeddings.run.embed_images import embed_prepared
from dino_assets.embeddings.run.pictures import Prepared, read_picture, read_pixels
from dino_assets.embeddings.space import make_space, name_space
from dino_assets.errors import UnusableImageError
from dino_assets.images.records import MAX_IMAGE_SIDE_PX
from dino_assets.tiles.grid import TileGrid, cut_tiles, cut_windows, is_whole, make_grid, name_tiles

_BATCH = 32  # tiles per call of an accelerator
# Threads that decode. A photograph of 20 MP is 60 MB of pixels and hundreds of tiles, so few suffice.
_READERS = 2


@dataclass(frozen=True, eq=False)
class EmbeddedTiles:
    """Vectors of tiles, one row per tile, in the order of the pictures.

    ``images`` names the picture of each row: its path, or its number if it has no path. ``windows`` are x, y,
    width and height in the upright picture. For picture files, ``tile_ids`` are the ids that the table
    ``tiles`` has for the same tiles. ``space`` is the id of the vectors' space. ``left_out`` maps each
    picture that has no row to the reason.

    >>> import dino_assets as da
    >>> result = da.embed("photo.jpg", model="models/demo", progress=False)
    >>> result.windows.tolist()
    [[0, 0, 640, 480]]
    """

    vectors: NDArray[np.float32]  # (N, D)
    images: tuple[str, ...]
    windows: NDArray[np.int32]  # (N, 4)
    tile_ids: tuple[str, ...]
    space: str
    left_out: dict[str, str]


@dataclass(frozen=True)
class _Place:
    """The origin of a row: its picture, window and tile id."""

    image: str
    window: tuple[int, ...]
    tile_id: str


@dataclass(frozen=True, eq=False)
class _Tile:
    """A tile that is not yet cut out of its picture.

    ``span_px`` is the side of the tile's window; 0 stands for the whole picture, scaled to a square.
    """

    place: _Place
    pixels: NDArray[np.uint8]  # (H, W, 3), the picture's
    span_px: int


@dataclass(frozen=True, eq=False)
class _OpenedPicture:
    """The tiles of a decoded picture, or the reason why there are none."""

    name: str
    tiles: tuple[_Tile, ...] = ()
    refusal: UnusableImageError | None = None


def embed(
    images: Any,
    model: str = "facebook/dinov2-base",
    *,
    column: Literal["cls", "mean"] = "cls",
    whole: bool = False,
    device: str = "auto",
    precision: PrecisionClass = "half",
    progress: bool | None = None,
) -> EmbeddedTiles:
    """Embed photographs with the tiles, scaling and engines of the Dagster assets.

    ``images`` is a picture or several (paths, bytes, Pillow images, arrays, tensors), a folder, or a CSV or
    text list. A picture of more than 1024 px on a side gives several tiles, unless ``whole`` asks for one
    vector per picture. ``column`` chooses the vector: the CLS token, or the mean of the patch tokens.
    ``device`` is auto, cpu, cuda, cuda:1 or mps; ``precision`` and ``progress`` are as for
    ``DINOv2Extractor``. A picture that cannot be used is left out with an ``UnusableImageWarning``.

    >>> import dino_assets as da
    >>> result = da.embed("photo.jpg", model="models/demo", progress=False)
    >>> result.vectors.shape, result.images[0]
    ((1, 64), 'photo.jpg')

    Raises:
        CheckpointNotFoundError: there is no such model.
        ConfigError: another argument is invalid.
        EngineRefusedError: no engine's results agree with PyTorch's in float32.
    """
    opened_model = open_model(model, progress=progress)
    checkpoint = opened_model.checkpoint
    (compute,) = resolve_devices(device, precision=precision, batch_size=_BATCH)
    grid = make_grid(checkpoint.tile_px, patch_px=checkpoint.patch_px)
    if whole:  # every picture is small enough to be one tile
        grid = replace(grid, whole_max_px=MAX_IMAGE_SIDE_PX)
    engines = Engines(opened_model, (compute,), side_px=grid.side_px, outputs=(column,))
    pictures = _list_pictures(images)
    engines.open()  # raises an engine's error before a picture is read
    rows: list[_Place] = []
    left_out: dict[str, str] = {}
    vectors: list[NDArray[np.float32]] = []
    read = partial(_open_picture, grid=grid)
    with (
        showing_bar("embedding", total=len(pictures), unit="image", progress=progress) as count,
        one_torch_thread(),
        closing(map_ahead(read, pictures, threads=_READERS)) as opened,
        closing(
            embed_prepared(
                _list_tiles(opened, rows, left_out, count),
                partial(_cut, side_px=grid.side_px),
                lambda tiles: engines.encode(tiles)[column],
                batch=engines.batch,
                threads=engines.threads,
            )
        ) as results,
    ):
        vectors += [each.vector for each in results if each.vector is not None]
    return EmbeddedTiles(
        np.stack(vectors) if vectors else np.empty((0, checkpoint.dim), np.float32),
        tuple(row.image for row in rows),
        np.array([row.window for row in rows], np.int32).reshape(-1, 4),
        tuple(row.tile_id for row in rows),
        name_space(make_space(checkpoint, compute, side_px=grid.side_px)),
        left_out,
    )


def _list_pictures(images: Any) -> list[tuple[str, Any]]:
    """Pair each picture with its name: its path, or its number if it has no path."""
    if isinstance(images, str | os.PathLike) or hasattr(images, "columns"):
        files = find_images(images)
        return list(zip(files.ids, files.paths, strict=True))
    if _is_single(images):
        images = [images]
    return [
        (os.fspath(each) if isinstance(each, str | os.PathLike) else str(number), each)
        for number, each in enumerate(images)
    ]


def _is_single(images: Any) -> bool:
    return (
        isinstance(images, bytes | bytearray | memoryview | Image.Image)
        or callable(getattr(images, "read", None))
        or getattr(images, "ndim", 4) < 4  # an array or a tensor
    )


def _open_picture(named: tuple[str, Any], *, grid: TileGrid) -> _OpenedPicture:
    """Decode a picture and list its tiles; if it cannot be used, give the reason instead."""
    name, image = named
    try:
        picture = to_picture(image)
        content = read_picture(picture) if isinstance(picture, Path) else picture
        pixels = read_pixels(content)
    except UnusableImageError as err:
        return _OpenedPicture(name, refusal=err)
    height, width = pixels.shape[:2]
    windows = cut_windows(width, height, grid)
    span_px = 0 if is_whole(width, height, grid) else grid.side_px
    # As in the Dagster assets, an image's id is the hash of its file. Without a file, the pixels are hashed.
    image_id = hashlib.sha256(
        content if isinstance(content, bytes) else pixels.tobytes()
    ).hexdigest()
    tile_ids = name_tiles(image_id, windows, grid)
    return _OpenedPicture(
        name,
        tuple(
            _Tile(_Place(name, tuple(window), tile_id), pixels, span_px)
            for window, tile_id in zip(windows.tolist(), tile_ids, strict=True)
        ),
    )


def _list_tiles(
    opened: Iterable[_OpenedPicture],
    rows: list[_Place],
    left_out: dict[str, str],
    count: Callable[[], object],
) -> Iterator[_Tile]:
    """Yield the tiles of all pictures; add their places to ``rows`` and unusable pictures to ``left_out``."""
    for picture in opened:
        if picture.refusal is not None:
            left_out[picture.name] = str(picture.refusal)
            warn_left_out(picture.name, picture.refusal)
        for tile in picture.tiles:
            rows.append(tile.place)
            yield tile
        count()


def _cut(tile: _Tile, *, side_px: int) -> Prepared:
    window = np.array([tile.place.window], np.int32)
    (pixels,) = cut_tiles(tile.pixels, window, side_px, span_px=tile.span_px)
    return Prepared(tile=pixels)
