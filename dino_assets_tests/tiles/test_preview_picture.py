import io

import numpy as np
import pytest
from PIL import Image

from dino_assets.tiles.grid import cut_windows, make_grid, step_px
from dino_assets.tiles.preview_picture import MAX_PX, SHIFTED, draw_grid

GRID = make_grid(518)


def draw(width: int, height: int) -> np.ndarray:
    pixels = np.full((height, width, 3), 128, np.uint8)
    windows = cut_windows(width, height, GRID)
    data = draw_grid(pixels, windows, step_px=step_px(GRID), title="a title", caption="a caption")
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (3, 200), (640, 480), (4000, 2250), (30_000, 200), (200, 30_000)]
)
def test_draw_grid__any_size(width: int, height: int):
    picture = draw(width, height)
    assert picture.ndim == 3
    assert max(picture.shape) <= MAX_PX + 100


def test_draw_grid__shifted_tiles_have_their_own_colour():
    # With a width of 1036 = 2 × 518 nothing is shifted; with one pixel more, the last column is.
    assert not (draw(1036, 1036) == SHIFTED).all(axis=2).any()
    red = np.flatnonzero((draw(1100, 1036) == SHIFTED).all(axis=2).any(axis=0))
    assert red.min() == 1100 - 518


def test_draw_grid__replays():
    assert (draw(2000, 1300) == draw(2000, 1300)).all()
