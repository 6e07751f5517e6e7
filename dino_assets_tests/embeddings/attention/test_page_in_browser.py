"""The similarity page in a browser: a person points, clicks and presses keys."""

import io

import numpy as np
import pytest
from PIL import Image

from dino_assets.drawing.colour_scales import HEAT_SHARE, ColourScale
from dino_assets.embeddings.attention.grid import fit_grid
from dino_assets.embeddings.attention.likeness import compare_patches
from dino_assets.embeddings.attention.page import make_similarity_page
from dino_assets.embeddings.attention.pictures import Photo
from dino_assets_tests.worlds.browser import browsing

pytestmark = pytest.mark.slow

ROWS, COLUMNS = 5, 8


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(ROWS, COLUMNS, 12)).astype(np.float32)


@pytest.fixture
def address(one_tiny, features, tmp_path):
    grid = fit_grid(COLUMNS * 16 + 3, ROWS * 16 + 2, patch_px=16)
    photo = Photo("a.jpg", np.full((grid.height, grid.width, 3), 128, np.uint8), grid)
    text = make_similarity_page(
        photo, features, layer=2, debias=None, checkpoint=one_tiny.checkpoint
    )
    (tmp_path / "page.html").write_text(text)
    return (tmp_path / "page.html").as_uri()


@pytest.fixture
def page(address, tmp_path):
    with browsing(tmp_path) as page:
        page.open(address)
        yield page
        assert page.complaints == []


def find_place(page, row, column, *, x=0.5, y=0.5):
    """Where a patch is on the screen."""
    box = page.ask(
        "(b => [b.left, b.top, b.width, b.height])(document.querySelector('#stage').getBoundingClientRect())"
    )
    return (
        box[0] + (column + x) * box[2] / COLUMNS,
        box[1] + (row + y) * box[3] / ROWS,
    )


def read_state(page):
    data = page.ask("({...document.body.dataset})")
    value = float(data["value"]) if "value" in data else None
    return divmod(int(data["patch"]), COLUMNS), data["kept"] == "true", value


def test_page__follows_the_pointer_and_keeps_the_clicked_patch(page, features):
    assert read_state(page) == ((2, 4), False, None)
    for row, column in [(0, 0), (4, 7), (0, 7), (4, 0), (2, 3)]:
        for x, y in [(0.02, 0.02), (0.98, 0.98)]:
            page.point(*find_place(page, row, column, x=x, y=y))
            assert read_state(page)[:2] == ((row, column), False)
            assert read_state(page)[2] == pytest.approx(1, abs=1e-6)
    page.click(*find_place(page, 1, 6))
    assert read_state(page)[:2] == ((1, 6), True)
    exact = compare_patches(features, 1, 6)
    for row, column in [(0, 0), (4, 7), (3, 2)]:
        page.point(*find_place(page, row, column))
        patch, is_kept, value = read_state(page)
        assert (patch, is_kept) == ((1, 6), True)
        assert value == pytest.approx(exact[row, column], abs=0.01)
        shown_value = page.ask("document.querySelector('#value').textContent").split()[0]
        assert float(shown_value.replace("−", "-")) == pytest.approx(value, abs=0.0051)
    page.press("Escape")
    page.point(*find_place(page, 4, 1))
    assert read_state(page)[:2] == ((4, 1), False)


def test_page__colours_are_where_the_patches_are(page, features):
    """On the screen itself: every patch has the colour of its number, as pictures have it."""
    for patch in [(0, 0), (4, 7), (0, 7), (4, 0)]:
        page.click(*find_place(page, *patch))
        page.point(1, 1)
        picture = Image.open(io.BytesIO(page.photograph())).convert("RGB")
        exact = compare_patches(features, *patch)
        colours = ColourScale(exact.min(), 1, "").colour(exact) * HEAT_SHARE + 128 * (
            1 - HEAT_SHARE
        )
        for row in range(ROWS):
            for column in range(COLUMNS):
                x, y = find_place(page, row, column)
                colour = np.array(picture.getpixel((round(x), round(y))))
                assert np.abs(colour - colours[row, column]).max() < 6, (row, column)


def test_page__arrow_keys_move_to_the_next_patch(page):
    page.click(*find_place(page, 0, 0))
    for key, patch in [
        ("ArrowRight", (0, 1)),
        ("ArrowDown", (1, 1)),
        ("ArrowLeft", (1, 0)),
        ("ArrowLeft", (1, 0)),  # the edge
        ("ArrowUp", (0, 0)),
        ("ArrowUp", (0, 0)),
    ]:
        page.press(key)
        assert read_state(page)[:2] == (patch, True)


def test_page__one_scale_for_every_patch(page, features):
    lowest = min(compare_patches(features, *divmod(at, COLUMNS)).min() for at in range(40))
    page.ask("document.querySelector('#fixed').click()")
    for patch in [(0, 0), (3, 3)]:
        page.click(*find_place(page, *patch))
        assert float(page.ask("document.body.dataset.lowest")) == pytest.approx(lowest, abs=0.01)
    page.ask("document.querySelector('#fixed').click()")
    lowest_of_patch = compare_patches(features, 3, 3).min()
    assert float(page.ask("document.body.dataset.lowest")) == pytest.approx(
        lowest_of_patch, abs=0.01
    )


def test_page__the_photograph_alone(page):
    page.ask(
        "(s => { s.value = 0; s.dispatchEvent(new Event('input')); })(document.querySelector('#share'))"
    )
    page.point(1, 1)
    picture = Image.open(io.BytesIO(page.photograph())).convert("RGB")
    x, y = find_place(page, 3, 6)
    assert all(abs(part - 128) <= 3 for part in picture.getpixel((round(x), round(y))))


@pytest.mark.parametrize(
    ("asked", "state"),
    [("1,7", ((1, 7), True)), ("5,0", ((2, 4), False)), ("x", ((2, 4), False))],
)
def test_page__opens_on_the_patch_of_the_address(address, tmp_path, asked, state):
    with browsing(tmp_path) as page:
        page.open(f"{address}#patch={asked}")
        assert read_state(page)[:2] == state


def test_page__on_a_small_screen(address, tmp_path):
    with browsing(tmp_path, size=(500, 800)) as page:
        page.open(address)
        box = page.ask(
            "(b => [b.left, b.top, b.right, b.bottom])(document.querySelector('#stage').getBoundingClientRect())"
        )
        width, height = page.ask("[innerWidth, innerHeight]")
        assert box[0] >= 0
        assert box[2] <= width
        assert box[3] <= height
        assert box[3] - box[1] > 150
