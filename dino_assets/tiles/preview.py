"""Preview of the tiles of one photograph, without a drop or a store."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dino_assets.counting import count_of
from dino_assets.drops.sources.folders import FolderSource, show_name
from dino_assets.errors import ConfigError, SourceError
from dino_assets.images.decoding import decode_image
from dino_assets.images.mosaics import is_mosaic
from dino_assets.images.places import SCALED
from dino_assets.images.records import ImageRow
from dino_assets.images.rows import ReadingOptions, inspect_photo
from dino_assets.tiles import grid as tiling
from dino_assets.tiles.preview_picture import draw_grid


@dataclass(frozen=True)
class Preview:
    """A picture (PNG) of a photograph with its grid, and a sentence that describes the grid."""

    sentence: str
    picture: bytes = field(repr=False)


def preview_tiles(
    image: Path,
    *,
    side_px: int,
    patch_px: int = 1,
    side_m: float | None = None,
    overlap: float = tiling.OVERLAP,
    ground_m: float | None = None,
) -> Preview:
    """Draw the grid of tiles over one photograph, and describe it in a sentence.

    ``side_m`` is the tile's side in metres of ground; if the photograph's scale is unknown, ``side_px`` is
    used. ``ground_m`` is the ground's height above the sea; by default it is that of the place of take-off.

    Raises:
        SourceError: the file cannot be read.
        UnusableImageError: the file is not a usable photograph.
        ConfigError: the grid's settings are invalid, or the file is a mosaic.
    """
    grid = tiling.make_grid(side_px, overlap=overlap, patch_px=patch_px, side_m=side_m)
    if not image.parent.is_dir():
        raise SourceError(
            f"cannot read {str(image)!r}: its folder does not exist", path=str(image.parent)
        )
    data = FolderSource(image.parent.resolve(), shown=str(image.parent)).read(show_name(image.name))
    if is_mosaic(data):
        raise ConfigError(
            f"{image.name!r} is a mosaic, and only photographs have a preview. Register it as a drop, "
            "materialise `tiles`, and see the number of tiles there",
            setting="image",
            value=image.name,
        )
    row = ImageRow(drop="", path=image.name, bytes=len(data))
    place = inspect_photo(row, data, ReadingOptions(ground_m=ground_m)).row.place
    pixels = decode_image(data)
    height, width = pixels.shape[:2]
    has_scale = place.place_quality in SCALED
    fitted = tiling.fit_grid(grid, width, height, gsd_m=place.gsd_m if has_scale else None)
    windows = tiling.cut_windows(width, height, fitted)
    is_whole = tiling.is_whole(width, height, fitted)
    across, down = (len(np.unique(windows[:, axis])) for axis in (0, 1))
    size = f"{fitted.side_px} px" if not is_whole else "the whole picture"
    if side_m is not None:
        size += f" ({side_m:g} m)" if has_scale else f" (not {side_m:g} m: the scale is not known)"
    sentence = (
        f"{image.name}, {width} x {height} px: {count_of(len(windows), 'tile')} of {size}, {across} x {down}, "
        f"overlap {overlap:.0%}"
    )
    notes = []
    if across * down > 1:
        notes.append("red: tiles shifted inwards, so that every pixel is covered")
    if (padded := tiling.is_padded(windows, fitted, whole=is_whole)).any():
        notes.append(f"tiles filled up by reflection: {int(padded.sum())}")
    if fitted.side_px != side_px or is_whole:
        notes.append(f"each tile is scaled to {side_px} px for the model")
    if place.gsd_m:
        notes.append(f"a pixel is {place.gsd_m * 100:.1f} cm on the ground ({place.place_quality})")
    picture = draw_grid(
        pixels,
        windows,
        step_px=tiling.step_px(fitted),
        title=sentence,
        caption="; ".join(notes),
    )
    return Preview(sentence, picture)
