"""The report's page and picture: whole, safe, small, and the same every time."""

import io
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import numpy as np
import pytest
import shapely
from PIL import Image

from dino_assets.images.report import draw_footprints, draw_ground, make_drop_page
from dino_assets.images.report.findings import KINDS, Finding, find_problems
from dino_assets.images.report.ground_plan import measure_area, project_footprints
from dino_assets.images.report.shots import Shot
from dino_assets_tests.images.report.test_findings import SQUARE, START, flight, shot

VOID = {"meta", "link", "br", "img", "input", "hr", "col", "line", "rect", "circle", "path"}


class Reader(HTMLParser):
    """Text, attributes, and whether every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def make(shots: list[Shot], findings: list[Finding] | None = None, drop: str = "flight-1") -> str:
    if findings is None:
        findings = find_problems(shots, gaps=[], roll_overs=[])
    ground = draw_ground(shots)
    return make_drop_page(shots, findings, ground, drop=drop, facts={"other files": "3 (2 .srt)"})


def draw(shots: list[Shot], *, title: str = "t") -> bytes:
    return draw_footprints(draw_ground(shots), title=title, caption="a caption")


def thumb(seed: int = 0) -> bytes:
    sink = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (72, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(sink, "WEBP", quality=60)
    return sink.getvalue()


@pytest.mark.parametrize(
    "shots",
    [[], [shot(1)], flight(), [shot(1, corners=None, quality="none", latitude=None, taken=None)]],
)
def test_make_drop_page__any_number_of_pictures(shots: list[Shot]):
    reader = read(make(shots))
    text = "".join(reader.text)
    assert "Drop flight-1" in text
    assert "3 (2 .srt)" in text
    assert all(item.path in text for item in shots)


def test_make_drop_page__every_kind_of_finding_is_shown():
    shots = flight(_3=shot(3, thumb=thumb()))
    findings = [Finding(kind, "DJI_0003.JPG", None, f"why {kind}") for kind in KINDS]
    text = "".join(read(make(shots, findings)).text)
    assert all(f"why {kind}" in text for kind in KINDS)


def test_make_drop_page__needs_no_network():
    page = make(flight(_3=shot(3, thumb=thumb(), sharpness=0.0)))
    addresses = [v for n, v in read(page).attributes if n in ("src", "href", "srcset", "action")]
    assert all(value.startswith(("data:", "#")) for value in addresses)
    assert not re.search(r"url\((?!data:)|@import|fetch\(|XMLHttp", page)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>.jpg", 'x" onload="alert(1).jpg', "'><img src=x>.jpg", "&amp;.jpg",
        "line\nbreak.jpg", "caf\udce9.jpg", "{{title}}.jpg", "</svg></style>.jpg", "\\1 \\g<0>.jpg",
    ],
)  # fmt: skip
def test_make_drop_page__escapes_any_name(name: str):
    plain_page = read(make(flight(_3=shot(3, sharpness=0.0))))
    odd_page = read(
        make(flight(_3=shot(3, path=name, sharpness=0.0, detail=name, camera=name)), drop=name)
    )
    assert odd_page.tags == plain_page.tags
    assert [n for n, _ in odd_page.attributes] == [n for n, _ in plain_page.attributes]


def test_make_drop_page__same_input_same_page():
    shots = flight(_3=shot(3, thumb=thumb(), sharpness=0.0))
    assert make(shots) == make(list(shots))


def test_make_drop_page__many_pictures_stay_a_small_page():
    pictures = [thumb(n) for n in range(20)]
    shots = [
        # All lie in one place, so that each footprint is drawn large: a few have one.
        shot(
            n,
            thumb=pictures[n % 20],
            taken=START + timedelta(seconds=n),
            sharpness=0.0,
            corners=SQUARE if n % 20 == 0 else None,
        )
        for n in range(20_000)
    ]
    page = make(shots)
    assert len(page) < 10_000_000
    text = "".join(read(page).text)
    assert "dino-assets parts images flight-1" in text  # where the rest is


def test_make_drop_page__plot_across_the_antimeridian_is_small():
    west = ((179.9999, -17.0), (-179.9999, -17.0), (-179.9999, -17.0002), (179.9999, -17.0002))
    shots = [replace(item, corners=west, latitude=-17.0, longitude=180.0) for item in flight()]
    assert draw_ground(shots).bar in ("5 m", "10 m")  # not half the world
    assert re.search(r"north up, the bar is (5|10) m", make(shots))


@pytest.mark.parametrize("shots", [[], [shot(1, corners=None)], [shot(1, thumb=thumb())], flight()])
def test_draw_footprints__always_a_picture(shots: list[Shot]):
    data = draw(shots, title="flight <1>")
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) >= 200
    assert data == draw(list(shots), title="flight <1>")


def test_draw_footprints__moved_footprints_move_in_the_picture():
    picture = draw(flight())
    moved_shots = [
        replace(item, corners=tuple((x + index * 1e-3, y) for x, y in item.corners or ()))
        for index, item in enumerate(flight())
    ]
    assert picture != draw(moved_shots)


def test_draw_ground__outlines_match_the_drawing():
    picture = draw_ground(flight())
    pixels = np.asarray(picture.sheet).astype(int)
    for _, corners in picture.outlines:
        for x, y in corners.round().astype(int).tolist():
            assert pixels[y - 2 : y + 3, x - 2 : x + 3].min() < 200  # an edge is near
    assert [row for row, _ in picture.outlines] == list(range(len(flight())))


def test_draw_ground__red_dots_on_marked_files():
    shots = flight()
    x, y = draw_ground(shots).outlines[2][1].mean(axis=0).round().astype(int).tolist()
    red = (200, 32, 47)
    assert draw_ground(shots, {shots[2].path}).sheet.getpixel((x, y)) == red
    assert draw_ground(shots).sheet.getpixel((x, y)) != red


def test_draw_ground__oblique_footprints_are_dashed():
    picture = draw_ground([shot(1, quality="oblique")])
    assert picture.notes == ["dashed: oblique"]
    corners = picture.outlines[0][1].round().astype(int)
    edge = np.asarray(picture.sheet)[corners[0][1], corners[0][0] : corners[1][0]].min(axis=1)
    assert 0.3 < (edge < 235).mean() < 0.7  # half of an edge is drawn


def test_draw_ground__edited_footprints_are_dashed():
    shots = [shot(1, quality="edited-nadir"), shot(2, quality="edited-oblique")]
    assert draw_ground(shots).notes == ["dashed: edited, perhaps turned"]
    ground = draw_ground([*shots, shot(3, quality="oblique"), shot(4)])
    assert ground.notes == ["dashed: oblique, edited, perhaps turned"]


def test_make_drop_page__names_each_footprint_under_the_pointer():
    shots = flight(_3=shot(3, sharpness=0.0))
    parts = "".join(read(make(shots)).text)
    assert all(f"{item.path} · " in parts for item in shots)
    assert parts.count("· blurred") == 1


def test_make_drop_page__explains_added_apostrophes():
    findings = [Finding("gap", path, None, "x") for path in ("=1.JPG", "-2.JPG", "a.JPG")]
    note = "an apostrophe stands before the names of 2 rows"
    assert note in "".join(read(make(flight(), findings)).text)
    assert "apostrophe" not in "".join(read(make(flight(), findings[2:])).text)


@pytest.mark.parametrize("apart_m", [0, 10, 37, 80, 5_000, 200_000])
def test_measure_area__near_and_far_footprints(apart_m: float):
    """Six squares of 40 m in a row, against shapely's union."""
    corners = [
        np.array([(0, 40), (40, 40), (40, 0), (0, 0)]) + np.array((apart_m * n, apart_m * n * 0.3))
        for n in range(6)
    ]
    shots = [shot(n) for n in range(6)]
    ground = replace(project_footprints(shots), corners=np.array(corners))
    expected = shapely.union_all([shapely.Polygon(ring) for ring in corners]).area
    assert measure_area(shots, ground) == pytest.approx(expected, rel=0.03)
