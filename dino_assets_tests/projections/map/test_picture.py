"""The map as a picture: where points go, dots, rings, labels and legend."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from dino_assets.drawing.lettering import INK, LINE
from dino_assets.drawing.thumbnails import THUMBNAIL_MAX_BYTES, draw_thumbnail
from dino_assets.errors import ConfigError
from dino_assets.projections.map.colours import PALETTE
from dino_assets.projections.map.picture import draw_map, place_points
from dino_assets_tests.worlds.map_pages import NASTY, open_picture


def draw(coordinates, *, groups=None, names=(), chosen=(), **sizes) -> np.ndarray:
    data = draw_map(
        coordinates,
        groups=groups,
        group_names=list(names),
        chosen=chosen,
        title="A map",
        caption="of tiles",
        **sizes,
    )
    return np.asarray(open_picture(data).convert("RGB")).astype(int)


def plot_box(picture: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom inside the frame."""
    rows, columns = np.nonzero((picture == LINE).all(axis=2))
    return columns.min() + 1, rows.min() + 1, columns.max(), rows.max()


def plotted(picture: np.ndarray) -> np.ndarray:
    left, top, right, bottom = plot_box(picture)
    return picture[top:bottom, left:right]


def find_colour(picture: np.ndarray, colour) -> np.ndarray:
    """Rows and columns (K, 2) of pixels whose hue is the colour's: white mixed with it."""
    paint = 255 - picture
    full_paint = 255 - np.array(colour)
    strength = paint.sum(axis=2) / full_paint.sum()
    is_same_hue = np.abs(paint - strength[..., None] * full_paint).max(axis=2) < 6
    return np.argwhere(is_same_hue & (strength > 0.3))


# --- where points go ------------------------------------------------------------------------


def test_place_points__by_hand():
    x, y = place_points(np.array([[0, 0], [1, 1], [0.5, 0.5]]), 11, 11, pad=0)
    assert x.tolist() == [0, 10, 5]
    assert y.tolist() == [10, 0, 5]  # y upwards


def test_place_points__one_scale_for_both_axes():
    # Twice as wide as high in a square: the height is half used, around the middle.
    x, y = place_points(np.array([[0, 0], [2, 1]]), 21, 21, pad=0)
    assert (x.tolist(), y.tolist()) == ([0, 20], [15, 5])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_place_points__without_extent(count):
    x, y = place_points(np.full((count, 2), 7.0), 21, 11, pad=2)
    assert (x.tolist(), y.tolist()) == ([10] * count, [5] * count)


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 20), st.just(2)), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    st.integers(12, 90),
    st.integers(12, 90),
)  # fmt: skip
def test_place_points__inside_the_margins(coordinates, width, height):
    x, y = place_points(coordinates.astype(np.float64), width, height, pad=5)
    assert x.min() >= 5
    assert x.max() <= width - 6
    assert y.min() >= 5
    assert y.max() <= height - 6


# --- the picture ----------------------------------------------------------------------------


def test_draw_map__size_and_dots_where_they_belong():
    picture = draw([[0, 0], [1, 0], [0, 1]], groups=[0, 1, 2], names=["a", "b", "c"])
    assert picture.shape == (1000, 1200, 3)
    inside = plotted(picture)
    height, width = inside.shape[:2]
    middles = [find_colour(inside, colour).mean(axis=0) for colour in PALETTE[:3]]
    (y0, x0), (y1, x1), (y2, x2) = middles
    assert y0 == pytest.approx(y1, abs=0.5)
    assert x0 == pytest.approx(x2, abs=0.5)
    assert x1 - x0 == pytest.approx(y0 - y2, abs=1)  # equal aspect, y upwards
    assert y0 - y2 > 0.9 * min(height, width)


def test_draw_map__dots_are_round_and_smooth():
    inside = plotted(draw([[0, 0]]))
    spots = find_colour(inside, PALETTE[0])
    rows, columns = np.ptp(spots, axis=0) + 1
    assert rows == columns
    assert 0.7 < len(spots) / (rows * columns) < 0.9  # a disc fills π/4 of its square
    assert len(np.unique(inside[..., 0])) > 3  # edges between full and none


def test_draw_map__no_dots_without_tiles():
    picture = draw(np.zeros((0, 2), np.float32))
    assert not len(find_colour(picture, PALETTE[0]))
    assert len(np.unique(plotted(picture))) > 3  # says so


def test_draw_map__equal_points_are_one_spot_in_the_middle():
    inside = plotted(draw(np.full((50, 2), 3.0)))
    spots = find_colour(inside, PALETTE[0])
    assert spots.mean(axis=0) == pytest.approx(np.array(inside.shape[:2]) / 2, abs=2)


def test_draw_map__more_tiles_are_stronger():
    heaps = [(0, 1), (1, 10), (2, 100), (3, 1000)]
    coordinates = np.concatenate([np.tile([[x, 0.0]], (count, 1)) for x, count in heaps])
    inside = plotted(draw(coordinates))
    row = inside[find_colour(inside, PALETTE[0])[:, 0].mean().round().astype(int), :, 0]
    darkest = [part.min() for part in np.array_split(row, 4)]
    assert darkest == sorted(darkest, reverse=True)
    assert len(set(darkest)) == 4
    assert darkest[0] < 200  # one tile beside a thousand is still seen


def test_draw_map__overlapping_dots_mix_their_colours():
    inside = plotted(draw(np.zeros((20, 2)), groups=[0, 1] * 10, names=["a", "b"]))
    mixed = np.array(PALETTE[:2]).mean(axis=0)
    assert np.abs(inside - mixed).max(axis=2).min() <= 2


def test_draw_map__chosen_are_ringed():
    coordinates = [[0, 0], [1, 0]]
    assert not (plotted(draw(coordinates)) == INK).all(axis=2).any()
    inside = plotted(draw(coordinates, chosen=[1]))
    ring = np.argwhere((inside == INK).all(axis=2))
    dots = find_colour(inside, PALETTE[0])
    right = dots[dots[:, 1] > inside.shape[1] / 2].mean(axis=0)
    assert (ring.min(axis=0) + ring.max(axis=0)) / 2 == pytest.approx(right, abs=1)
    assert np.hypot(*(ring - right).T).min() > 5  # the dot inside keeps its colour


def test_draw_map__labels_are_beside_their_rings():
    coordinates = [[0, 0], [1, 0]]
    plain, labelled = (
        plotted(draw(coordinates, chosen=[1], labels=labels)) for labels in ({}, {1: "12"})
    )
    ring = np.argwhere((plain == INK).all(axis=2))
    text = np.argwhere((plain != labelled).any(axis=2))
    assert len(text) > 30
    offset = np.abs(text.mean(axis=0) - ring.mean(axis=0))
    assert offset.max() < 40
    assert not set(map(tuple, ring.tolist())) & set(map(tuple, text.tolist()))


def test_draw_map__legend_names_groups_and_counts():
    picture = draw([[0, 0], [1, 1]], groups=[0, 1], names=["ridge", "river"])
    other_picture = draw([[0, 0], [1, 1]], groups=[0, 1], names=["ridge", "quarry"])
    right = plot_box(picture)[2]
    columns = np.nonzero((picture != other_picture).any(axis=2))[1]
    assert columns.min() > right
    for colour in PALETTE[:2]:
        assert (picture[:, right + 2 :] == colour).all(axis=2).sum() > 30
    larger_picture = draw([[0, 0], [1, 1], [1, 1]], groups=[0, 1, 1], names=["ridge", "river"])
    assert (picture[:, right + 2 :] != larger_picture[:, right + 2 :]).any()


def test_draw_map__groups_in_the_colours_of_their_numbers():
    points = {"groups": [0, 1], "names": ["ridge", "river"]}
    picture = draw([[0, 0], [1, 1]], **points, colours=[2, 0])
    assert len(find_colour(picture, PALETTE[2])) > 100
    assert not len(find_colour(picture, PALETTE[1]))
    assert (
        draw([[0, 0], [1, 1]], **points, colours=[0, 1]) == draw([[0, 0], [1, 1]], **points)
    ).all()


def test_draw_map__long_texts_and_many_groups_stay_inside():
    data = draw_map(
        np.zeros((100, 2)),
        groups=np.arange(100),
        group_names=[f"{NASTY[row % 4]} {row} " * 20 for row in range(100)],
        chosen=range(100),
        title="title\n" * 200,
        caption="caption " * 2000,
    )
    picture = np.asarray(open_picture(data).convert("RGB"))
    for edge in (picture[:, :8], picture[:, -8:], picture[-8:]):
        assert (edge == 255).all()


def test_draw_map__smallest_size():
    assert draw([[0, 0]], width_px=240, height_px=200).shape == (200, 240, 3)


def test_draw_map__same_bytes_and_any_row_order():
    rng = np.random.default_rng(0)
    coordinates = rng.normal(size=(500, 2)).astype(np.float32)
    groups = rng.integers(0, 3, 500)
    order = rng.permutation(500)
    names = ["a", "b", "c"]
    assert (
        draw(coordinates, groups=groups, names=names)
        == draw(coordinates[order], groups=groups[order], names=names)
    ).all()


@pytest.mark.parametrize(
    ("changes", "setting", "value"),
    [
        ({"coordinates": [[0, float("nan")]]}, "coordinates", (1, 2)),
        ({"coordinates": [[0, 1, 2]]}, "coordinates", (1, 3)),
        ({"groups": [0, 0], "names": ["a"]}, "groups", 2),
        ({"groups": [1], "names": ["a"]}, "groups", (1, 1)),
        ({"groups": [-1], "names": ["a"]}, "groups", (-1, -1)),
        ({"groups": [0], "names": ["a"] * 65_536}, "group_names", 65_536),
        ({"groups": [0], "names": ["a"], "colours": [0, 1]}, "colours", 2),
        ({"groups": [0], "names": ["a"], "colours": [-1]}, "colours", 1),
        ({"chosen": [1]}, "chosen", (1, 1)),
        ({"chosen": [-1]}, "chosen", (-1, -1)),
        ({"chosen": [0], "labels": {1: "2"}}, "labels", (1, 1)),
        ({"width_px": 100}, "width_px", 100),
    ],
)
def test_draw_map__refuses_invalid_input(changes, setting, value):
    with pytest.raises(ConfigError) as caught:
        draw(**({"coordinates": [[0, 0]]} | changes))
    assert (caught.value.setting, caught.value.value) == (setting, value)


def test_draw_thumbnail__fits_whatever_is_drawn():
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    data = draw_thumbnail(buffer.getvalue())
    assert len(data) <= THUMBNAIL_MAX_BYTES
    width, height = open_picture(data).size
    assert width / height == pytest.approx(1.2, abs=0.02)


def test_draw_thumbnail__keeps_the_text_dark():
    png = draw_map(
        np.zeros((5, 2)), groups=None, group_names=[], chosen=[], title="A map", caption=""
    )
    small = open_picture(draw_thumbnail(png)).convert("RGB")
    assert small.size == (480, 400)
    assert np.asarray(small).min(axis=(0, 1)).max() < 90


def test_draw_thumbnail__refuses_no_room():
    png = draw_map([[0, 0]], groups=None, group_names=[], chosen=[], title="", caption="")
    with pytest.raises(ConfigError) as caught:
        draw_thumbnail(png, max_bytes=10)
    assert (caught.value.setting, caught.value.value) == ("max_bytes", 10)
