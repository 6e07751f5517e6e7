"""Plan of an upload's embedding, from the image header alone: tiles, shape, bytes, id."""

import hashlib
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.space import Space, name_space
from dino_assets.errors import ConfigError, UnusableImageError
from dino_assets.images.decoding import MAX_PIXELS, read_header
from dino_assets.serving.problems import Problem
from dino_assets.serving.requests.options import CHOICES, EmbedOptions
from dino_assets.store.commits.sealing import digest
from dino_assets.tiles.grid import TileGrid, count_windows, cut_windows, is_whole, name_tiles
from dino_assets.weights.records import Checkpoint

MOST_FILE_BYTES = 2**30
# Part of every id. Increase it when equal uploads give other files than before.
FILE_VERSION = 1
_NUMBER_BYTES = {"fp16": 2, "fp32": 4}
_SHOWN_DETAIL = 300


@dataclass(frozen=True)
class ServedModel:
    """The served model and everything that decides its embeddings."""

    name: str  # a repository's name, or the last part of a folder's path
    checkpoint: Checkpoint
    space: Space
    grid: TileGrid

    @property
    def patches(self) -> int:
        """Patch tokens per tile."""
        return (self.grid.side_px // self.checkpoint.patch_px) ** 2


@dataclass(frozen=True, eq=False)
class UploadPlan:
    """The plan of one upload's embedding: all that is known of it before the picture is decoded."""

    id: str
    image_id: str
    size: tuple[int, int]  # width, height of the upright picture
    options: EmbedOptions
    shape: tuple[int, ...]  # of `embeddings`
    windows: NDArray[np.int32]  # (N, 4)
    tile_ids: tuple[str, ...]
    span_px: int
    dim: int

    @property
    def tiles(self) -> int:
        """The number of tiles."""
        return len(self.windows)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the decoded picture."""
        return self.size[0] * self.size[1] * 3

    @property
    def token_bytes(self) -> int:
        """Bytes of the tokens until they are stored."""
        return (int(np.prod(self.shape)) + 2 * self.tiles * self.dim) * _NUMBER_BYTES[
            self.options.dtype
        ]


def plan_upload(data: bytes, options: EmbedOptions, model: ServedModel) -> UploadPlan:
    """Plan an upload's embedding from its image header.

    Raises:
        Problem: unusable-picture; result-too-large, with the options that fit.
    """
    try:
        header = read_header(data)
        width, height = header.upright_size
        if width * height > MAX_PIXELS:
            raise UnusableImageError(
                "too-large", f"{width} × {height} pixels; at most {MAX_PIXELS:,} are accepted"
            )
        tiles = count_windows(width, height, model.grid)
        _check_result(tiles, options, model)
        windows = cut_windows(width, height, model.grid)
    except UnusableImageError as err:
        raise refuse_picture(err) from None
    except ConfigError as err:  # a side is too long for tile ids
        raise refuse_picture(UnusableImageError("too-large", str(err))) from None
    image_id = hashlib.sha256(data).hexdigest()
    what = {
        "file": FILE_VERSION,
        "image": image_id,
        "space": name_space(model.space),
        "grid": asdict(model.grid),
        "options": asdict(options),
    }
    return UploadPlan(
        id=digest(what)[:32],
        image_id=image_id,
        size=(width, height),
        options=options,
        shape=_shape(tiles, options, model),
        windows=windows,
        tile_ids=tuple(name_tiles(image_id, windows, model.grid)),
        span_px=0 if is_whole(width, height, model.grid) else model.grid.side_px,
        dim=model.checkpoint.dim,
    )


def refuse_picture(err: UnusableImageError) -> Problem:
    """Make the problem for an unusable picture."""
    return Problem("unusable-picture", str(err)[:_SHOWN_DETAIL], reason=err.reason)


def _shape(tiles: int, options: EmbedOptions, model: ServedModel) -> tuple[int, ...]:
    dim = model.checkpoint.dim
    return (tiles, model.patches, dim) if options.tokens == "patches" else (tiles, dim)


def _count_bytes(tiles: int, options: EmbedOptions, model: ServedModel) -> int:
    return int(np.prod(_shape(tiles, options, model))) * _NUMBER_BYTES[options.dtype]


def _check_result(tiles: int, options: EmbedOptions, model: ServedModel) -> None:
    size = _count_bytes(tiles, options, model)
    if size <= MOST_FILE_BYTES:
        return
    others = [replace(options, dtype="fp16")]
    others += [replace(options, tokens=tokens) for tokens in CHOICES["tokens"]]  # type: ignore[arg-type]
    fitting = [
        f"tokens={other.tokens} dtype={other.dtype} ({_count_bytes(tiles, other, model):,} bytes)"
        for other in others
        if other != options and _count_bytes(tiles, other, model) <= MOST_FILE_BYTES
    ]
    most_tiles = MOST_FILE_BYTES // _count_bytes(1, options, model)
    raise Problem(
        "result-too-large",
        f"{tiles:,} tiles of {size // tiles:,} bytes are {size:,} bytes; at most {MOST_FILE_BYTES:,} "
        f"are written. These options fit: {'; '.join(fitting) or 'none'}; or send a picture of at most "
        f"{most_tiles:,} tiles",
        result_bytes=size,
        limit_bytes=MOST_FILE_BYTES,
        tiles=tiles,
    )
