import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

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
from dino_assets.projections.map.page import make_page, pack_thumbs
from dino_assets.projections.map.picture import draw_map, place_points

NASTY = [
    "</script><script>document.body.dataset.owned=1</script>",
    '<img src=x onerror="document.body.dataset.owned=1">\'&amp;',
    "Füße – 山 – {{data}} – \\1 – <!--",
    "half a pair \ud800",
]


def open_picture(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


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
    wanted = 255 - np.array(colour)
    strength = paint.sum(axis=2) / wanted.sum()
    same = np.abs(paint - strength[..., None] * wanted).max(axis=2) < 6
    return np.argwhere(same & (strength > 0.3))


def make_thumb(colour, *, form="WEBP", side=48) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), tuple(colour)).save(buffer, form, quality=90)
    return buffer.getvalue()


def page(coordinates, **changes) -> str:
    count = len(coordinates)
    arguments = {
        "tile_ids": [f"tile-{row}" for row in range(count)],
        "groups": None,
        "group_names": [],
        "thumbs": [make_thumb((row * 40 % 256, 90, 60)) for row in range(count)],
        "title": "A map",
        "caption": "of tiles",
    }
    return make_page(coordinates, **(arguments | changes))


class Document(HTMLParser):
    """Elements of a page with their attributes, and the text under each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[list] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2] += data

    def texts(self, tag: str, **attributes) -> list[str]:
        return [
            text.strip()
            for name, found, text in self.elements
            if name == tag and attributes.items() <= found.items()
        ]

    def body(self) -> dict:
        return next(found for name, found, _ in self.elements if name == "body")


def page_data(text: str) -> dict:
    (data,) = Document(text).texts("script", id="data")
    return json.loads(data)


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
    coordinates = np.concatenate([np.tile([[x, 0.0]], (many, 1)) for x, many in heaps])
    inside = plotted(draw(coordinates))
    row = inside[find_colour(inside, PALETTE[0])[:, 0].mean().round().astype(int), :, 0]
    darkest = [part.min() for part in np.array_split(row, 4)]
    assert darkest == sorted(darkest, reverse=True)
    assert len(set(darkest)) == 4
    assert darkest[0] < 200  # one tile beside a thousand is still seen


def test_draw_map__heaps_mix_their_groups():
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


def test_draw_map__legend_names_groups_and_counts():
    one = draw([[0, 0], [1, 1]], groups=[0, 1], names=["ridge", "river"])
    other = draw([[0, 0], [1, 1]], groups=[0, 1], names=["ridge", "quarry"])
    right = plot_box(one)[2]
    columns = np.nonzero((one != other).any(axis=2))[1]
    assert columns.min() > right
    for colour in PALETTE[:2]:
        assert (one[:, right + 2 :] == colour).all(axis=2).sum() > 30
    more = draw([[0, 0], [1, 1], [1, 1]], groups=[0, 1, 1], names=["ridge", "river"])
    assert (one[:, right + 2 :] != more[:, right + 2 :]).any()


def test_draw_map__groups_in_the_colours_of_their_numbers():
    points = {"groups": [0, 1], "names": ["ridge", "river"]}
    other = draw([[0, 0], [1, 1]], **points, colours=[2, 0])
    assert len(find_colour(other, PALETTE[2])) > 100
    assert not len(find_colour(other, PALETTE[1]))
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


def test_draw_map__smallest():
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
        ({"width_px": 100}, "width_px", 100),
    ],
)
def test_draw_map__refuses(changes, setting, value):
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


# --- the page -------------------------------------------------------------------------------


def test_make_page__carries_what_it_was_given():
    rings = {"chosen": {2: "1 · fps", 0: "2 · fps"}, "earlier": {1: "round-0001"}}
    points = [[0, 1], [2, -3.5], [4, 5]]
    data = page_data(page(points, groups=[1, 0, 1], group_names=["a", "b"], **rings))
    assert data["ids"] == ["tile-0", "tile-1", "tile-2"]
    xy = np.frombuffer(base64.b64decode(data["xy"]), "<f4")
    assert xy.tolist() == [0, 1, 2, -3.5, 4, 5]
    assert np.frombuffer(base64.b64decode(data["groups"]), "<u2").tolist() == [1, 0, 1]
    assert (data["names"], data["counts"]) == (["a", "b"], [1, 2])
    assert (data["chosen"], data["notes"]) == ([2, 0], ["1 · fps", "2 · fps"])  # by rank
    assert (data["earlier"], data["earlierNotes"]) == ([1], ["round-0001"])
    assert data["colours"][0] == "#1f77b4"


def test_make_page__reaches_for_nothing_outside():
    text = page([[0, 0], [1, 1]])
    assert not re.search(r"https?:|\bsrc=|\bhref=|@import|url\(|fetch\(|XMLHttp", text)
    assert "default-src 'none'" in text
    assert "<noscript>" in text


def test_make_page__escapes_everything():
    text = page(
        np.zeros((4, 2)),
        tile_ids=NASTY,
        groups=[0, 1, 2, 3],
        group_names=NASTY,
        title=" ".join(NASTY),
        caption=NASTY[0] + NASTY[1],
    )
    text.encode("utf-8")  # a lone surrogate would raise
    document = Document(text)
    assert len(document.texts("script")) == 2
    assert document.texts("img") == []
    data = page_data(text)
    assert data["ids"] == data["names"] == NASTY
    assert document.texts("h1") == [" ".join(NASTY).replace("\ud800", "?")]


def test_make_page__is_replayable():
    rng = np.random.default_rng(0)
    coordinates = rng.normal(size=(40, 2)).astype(np.float32)
    assert page(coordinates) == page(coordinates.tolist())


def test_make_page__without_tiles():
    data = page_data(page(np.zeros((0, 2), np.float32)))
    assert (data["ids"], data["sheets"], data["chosen"]) == ([], [], [])


@pytest.mark.parametrize(
    ("changes", "setting", "value"),
    [
        ({"tile_ids": ["a"]}, "tile_ids", 1),
        ({"thumbs": []}, "thumbs", 0),
        ({"thumbs": [b"", b"no picture"]}, "thumbs", "tile-1"),
        ({"chosen": {2: ""}}, "chosen", (2, 2)),
        ({"chosen": {}, "earlier": {2: ""}}, "earlier", (2, 2)),
    ],
)
def test_make_page__refuses(changes, setting, value):
    with pytest.raises(ConfigError) as caught:
        page([[0, 0], [1, 1]], **changes)
    assert (caught.value.setting, caught.value.value) == (setting, value)


def test_pack_thumbs__decodes_back_in_order():
    # One more than a sheet holds; colours far apart, so that neighbours cannot be confused.
    colours = np.random.default_rng(0).integers(0, 5, (1025, 3)) * 60
    unique = {tuple(c): make_thumb(c) for c in colours.tolist()}
    thumbs = [unique[tuple(c)] for c in colours.tolist()]
    sheets = [open_picture(s) for s in pack_thumbs(thumbs, tile_ids=[""] * 1025)]
    assert [sheet.size for sheet in sheets] == [(1536, 1536), (1536, 48)]
    for index, colour in enumerate(colours):
        sheet, inside = divmod(index, 1024)
        row, column = divmod(inside, 32)
        box = (column * 48 + 8, row * 48 + 8, column * 48 + 40, row * 48 + 40)
        mean = np.asarray(sheets[sheet].convert("RGB").crop(box)).mean(axis=(0, 1))
        assert np.abs(mean - colour).max() < 25, index


def test_pack_thumbs__a_tile_without_picture_keeps_its_place():
    thumbs = [b"", make_thumb((250, 0, 0), form="PNG", side=96)]
    (sheet,) = pack_thumbs(thumbs, tile_ids=["a", "b"])
    picture = open_picture(sheet).convert("RGB")
    assert np.abs(np.array(picture.getpixel((24, 24))) - LINE).max() < 10
    assert np.abs(np.array(picture.getpixel((72, 24))) - (250, 0, 0)).max() < 12
    assert pack_thumbs([b"", b""], tile_ids=["a", "b"]) == []


# --- the page in a browser ------------------------------------------------------------------


def open_in_browser(text: str, folder: Path, *, hover: str = "") -> tuple[Document, str]:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no browser is installed: chromium is not on the PATH")
    file = folder / "map.html"
    file.write_text(text, "utf-8")
    address = file.as_uri() + (f"#hover={quote(hover, safe='')}" if hover else "")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-background-networking", f"--user-data-dir={folder / 'profile'}",
            "--window-size=1000,700", "--virtual-time-budget=3000", "--dump-dom", address,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return Document(done.stdout), done.stdout


@pytest.mark.slow
def test_make_page__renders_and_shows_the_tile_of_the_address(tmp_path):
    rng = np.random.default_rng(0)
    text = page(
        rng.normal(size=(30, 2)),
        groups=[0, 1] * 15,
        group_names=["ridge", "river"],
        chosen={7: "1 · fps"},
    )
    document, _ = open_in_browser(text, tmp_path, hover="tile-7")
    body = document.body()
    assert (body["data-points"], body["data-drawn"]) == ("30", "30")
    assert body["data-hover"] == body["data-picture"] == "tile-7"
    assert document.texts("div", **{"class": "id"}) == ["tile-7"]
    assert document.texts("div", **{"class": "state yes"}) == ["1 · fps"]
    assert {"ridge", "river"} <= set(document.texts("span", **{"class": "name"}))


@pytest.mark.slow
def test_make_page__says_nothing_of_choices_that_nobody_made(tmp_path):
    document, _ = open_in_browser(page([[0, 0], [1, 1]]), tmp_path, hover="tile-1")
    assert document.body()["data-hover"] == "tile-1"
    assert document.texts("div", **{"class": "state", "hidden": ""}) == ["not chosen"]


@pytest.mark.slow
def test_make_page__pointer_and_legend(tmp_path):
    # One tile is in the middle of what the buttons leave; a group of two is switched off first.
    act = """<script>
    const canvas = document.querySelector("#map"), box = canvas.getBoundingClientRect();
    document.querySelectorAll("#legend input")[1].click();
    const at = { clientX: box.left + box.width / 2, clientY: box.top + (box.height - 28) / 2 };
    canvas.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: -300 }));
    canvas.dispatchEvent(new PointerEvent("pointermove", at));
    </script>"""
    text = page([[0, 0], [-1, -1], [1, 1]], groups=[0, 1, 1], group_names=["a", "b"])
    assert text.count("</body>") == 1
    document, _ = open_in_browser(text.replace("</body>", act + "</body>"), tmp_path)
    assert document.body()["data-drawn"] == "1"
    assert document.body()["data-hover"] == document.body()["data-picture"] == "tile-0"


@pytest.mark.slow
@pytest.mark.parametrize("row", [0, 1, 2])
def test_make_page__runs_no_name_as_a_script(tmp_path, row):
    names = NASTY[:3]  # --dump-dom itself dies (SIGILL) of a lone surrogate
    text = page(
        np.zeros((3, 2)),
        tile_ids=names,
        groups=[0, 1, 2],
        group_names=names,
        title=NASTY[0],
        caption=NASTY[1],
    )
    document, _ = open_in_browser(text, tmp_path, hover=NASTY[row])
    assert document.body()["data-hover"] == NASTY[row]
    assert "data-owned" not in document.body()


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 5])
def test_make_page__renders_without_extent(tmp_path, count):
    document, _ = open_in_browser(page(np.zeros((count, 2))), tmp_path)
    assert document.body()["data-drawn"] == str(count)
