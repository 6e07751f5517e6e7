"""Input size: the height and width that a checkpoint's own image processor gives to pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dino_assets.errors import InvalidCheckpointError
from dino_assets.weights.architecture import read_object, shorten
from dino_assets.weights.checkpoint import PREPROCESSOR
from dino_assets.weights.records import Checkpoint

LARGEST_PX = 16_384


def read_input_size(folder: Path, checkpoint: Checkpoint) -> tuple[int, int]:
    """Read height and width from ``preprocessor_config.json``, rounded down to whole patches.

    If the processor crops the centre, as DINOv2's does, the size of the crop is returned. If the file names
    no size, both sides are the model's default tile side (``tile_px``).

    Raises:
        InvalidCheckpointError: the size has an unknown form, or is less than a patch.
    """
    processor = read_object(folder / PREPROCESSOR, checkpoint.model)
    is_cropped = processor.get("do_center_crop") is not False and bool(processor.get("crop_size"))
    key = "crop_size" if is_cropped else "size"
    size = processor.get(key)
    if size is None:
        return checkpoint.tile_px, checkpoint.tile_px
    height, width = _read_pair(size)
    patch = checkpoint.patch_px
    if not (patch <= height <= LARGEST_PX and patch <= width <= LARGEST_PX):
        raise InvalidCheckpointError(
            f"{checkpoint.model!r}: {PREPROCESSOR} has {key}={shorten(size)}; whole numbers from "
            f"{patch} (a patch) to {LARGEST_PX:,} are expected, as in "
            '{"height": 518, "width": 518}. Correct this file, or fetch it again.',
            file=PREPROCESSOR,
            key=key,
            reason="impossible",
        )
    return floor_to_patch((height, width), patch)


def floor_to_patch(size_px: tuple[int, int], patch_px: int) -> tuple[int, int]:
    """Round a size down to whole patches."""
    height, width = size_px
    return height // patch_px * patch_px, width // patch_px * patch_px


def _read_pair(size: object) -> tuple[int, int]:
    """Read height and width from any form in which processors write a size; an unreadable side is 0."""
    sides: tuple[Any, Any] = (size, size)
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        sides = (size.get("height", edge), size.get("width", edge))
    height, width = (
        side if isinstance(side, int) and not isinstance(side, bool) else 0 for side in sides
    )
    return height, width
