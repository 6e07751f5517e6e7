"""How large a checkpoint's own processor makes a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dino_assets.errors import InvalidCheckpointError
from dino_assets.weights.architecture import read_object, shorten
from dino_assets.weights.checkpoint import PREPROCESSOR
from dino_assets.weights.records import Checkpoint

LARGEST_PX = 16_384


def read_input_size(folder: Path, checkpoint: Checkpoint) -> tuple[int, int]:
    """Height and width that ``preprocessor_config.json`` brings a picture to, floored to whole patches.

    Where it cuts the middle out of a larger picture, as DINOv2's does, that is the size of the middle.
    Where it names no size, the family's tile side.

    Raises:
        InvalidCheckpointError: the size has no form that is known, or is less than a patch.
    """
    processor = read_object(folder / PREPROCESSOR, checkpoint.model)
    is_cropped = processor.get("do_center_crop") is not False and bool(processor.get("crop_size"))
    key = "crop_size" if is_cropped else "size"
    named = processor.get(key)
    if named is None:
        return checkpoint.tile_px, checkpoint.tile_px
    height, width = _read_pair(named)
    patch = checkpoint.patch_px
    if not (patch <= height <= LARGEST_PX and patch <= width <= LARGEST_PX):
        raise InvalidCheckpointError(
            f"{checkpoint.model!r}: {PREPROCESSOR} has {key}={shorten(named)}; whole numbers from "
            f"{patch} (a patch) to {LARGEST_PX:,} are expected, as in "
            '{"height": 518, "width": 518}',
            file=PREPROCESSOR,
            key=key,
            reason="impossible",
        )
    return floor_to_patch((height, width), patch)


def floor_to_patch(size_px: tuple[int, int], patch_px: int) -> tuple[int, int]:
    """The largest size of whole patches that is not larger."""
    height, width = size_px
    return height // patch_px * patch_px, width // patch_px * patch_px


def _read_pair(named: object) -> tuple[int, int]:
    """Height and width of any form that processors write; nought where it is none of them."""
    sides: tuple[Any, Any] = (named, named)
    if isinstance(named, Mapping):
        edge = named.get("shortest_edge")
        sides = (named.get("height", edge), named.get("width", edge))
    height, width = (
        side if isinstance(side, int) and not isinstance(side, bool) else 0 for side in sides
    )
    return height, width
