"""Input size of a checkpoint's own image processor."""

import json
from pathlib import Path

import pytest

from dino_assets.errors import InvalidCheckpointError
from dino_assets.weights.checkpoint import PREPROCESSOR, read_checkpoint
from dino_assets.weights.input_size import floor_to_patch, read_input_size


@pytest.fixture
def folder(checkpoint_dir: Path, tmp_path: Path) -> Path:
    """A folder with only a processor's file."""
    return tmp_path


def read(folder: Path, checkpoint_dir: Path, **processor: object) -> tuple[int, int]:
    (folder / PREPROCESSOR).write_text(json.dumps(processor))
    return read_input_size(folder, read_checkpoint(checkpoint_dir, model="tiny"))


@pytest.mark.parametrize(
    ("processor", "size"),
    [
        ({"size": {"height": 518, "width": 518}}, (512, 512)),
        ({"size": {"height": 224, "width": 224}, "crop_size": None}, (224, 224)),  # DINOv3's
        (  # DINOv2's
            {
                "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224},
                "do_center_crop": True,
            },
            (224, 224),
        ),
        ({"size": {"shortest_edge": 256}, "crop_size": 224}, (224, 224)),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224}, "do_center_crop": False},
            (256, 256),
        ),
        ({"size": {"height": 300, "width": 200}}, (288, 192)),
        ({"size": 100}, (96, 96)),
        ({"size": 16}, (16, 16)),
        ({}, (512, 512)),
        ({"size": None}, (512, 512)),
    ],
)
def test_read_input_size__forms(folder: Path, checkpoint_dir: Path, processor, size):
    assert read(folder, checkpoint_dir, **processor) == size


@pytest.mark.parametrize(
    "size",
    [0, 15, -5, 10**9, "big", True, 224.0, [224, 224], {}, {"height": 224}, {"longest_edge": 9}],
)
def test_read_input_size__none(folder: Path, checkpoint_dir: Path, size):
    with pytest.raises(InvalidCheckpointError) as caught:
        read(folder, checkpoint_dir, size=size)
    assert (caught.value.file, caught.value.key) == (PREPROCESSOR, "size")
    assert caught.value.reason == "impossible"


def test_floor_to_patch__each_side():
    assert floor_to_patch((518, 517), 14) == (518, 504)
    assert floor_to_patch((13, 14), 14) == (0, 14)
