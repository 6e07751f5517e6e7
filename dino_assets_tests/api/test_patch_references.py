"""Position bias: measured once per grid, layer and references."""

import numpy as np
import pytest

from dino_assets.api.patch_references import BiasFinder
from dino_assets.embeddings.attention.grid import fit_grid
from dino_assets.embeddings.attention.pictures import Photo
from dino_assets_tests.embeddings.encoder.conftest import one_tiny, sample_of

__all__ = ["one_tiny", "sample_of"]


class CountingReader:
    """A reader whose features are the pixels; counts its calls."""

    def __init__(self, checkpoint):
        self.checkpoint = checkpoint
        self.read = 0

    def read_features(self, pixels, *, layer):
        self.read += 1
        return pixels[::16, ::16].astype(np.float32)


@pytest.fixture
def reader(one_tiny):
    return CountingReader(one_tiny.checkpoint)


def open_photo(path):
    """Make a picture; references of any size are scaled to the grid."""
    pixels = np.zeros((40, 50, 3), np.uint8)
    pixels[:20] = 200
    return Photo(str(path), pixels, fit_grid(50, 40, patch_px=16))


def test_find__measures_an_equal_bias_once(reader):
    finder = BiasFinder(reader, open_photo)
    grid, other_grid = fit_grid(64, 32, patch_px=16), fit_grid(32, 64, patch_px=16)
    first = finder.find(grid, 2, "noise")
    assert finder.find(grid, 2, "noise") is first
    assert reader.read == 8
    assert finder.find(grid, 1, "noise") is not first
    assert finder.find(other_grid, 1, "noise").offsets.shape == (4, 2, 3)
    assert reader.read == 24


def test_find__scales_references_to_the_grid(reader):
    bias = BiasFinder(reader, open_photo).find(fit_grid(64, 64, patch_px=16), 0, ["a", "b"])
    assert bias.offsets.shape == (4, 4, 3)
    assert bias.offsets[0, 0, 0] == pytest.approx(100, abs=15)
    assert bias.offsets[3, 3, 0] == pytest.approx(-100, abs=15)
    assert bias.origin == "2 reference pictures"
    assert (
        BiasFinder(reader, open_photo)
        .find(fit_grid(64, 64, patch_px=16), 0, ["a"])
        .origin.endswith("picture")
    )
