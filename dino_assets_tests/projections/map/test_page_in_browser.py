"""The page of a map in a browser: what a person sees and does."""

import numpy as np
import pytest

from dino_assets.projections.map.cards import Choice
from dino_assets.tiles.rows import TileOrigin
from dino_assets_tests.worlds.map_pages import NASTY, make_thumb, open_in_browser, page

pytestmark = pytest.mark.slow


def test_make_page__renders_and_shows_the_tile_of_the_address(tmp_path):
    rng = np.random.default_rng(0)
    text = page(
        rng.normal(size=(30, 2)),
        groups=[0, 1] * 15,
        group_names=["ridge", "river"],
        chosen={7: Choice(1, "first", "rank 1: first")},
    )
    document, _ = open_in_browser(text, tmp_path, hover="tile-7")
    body = document.body()
    assert (body["data-points"], body["data-drawn"]) == ("30", "30")
    assert body["data-hover"] == body["data-picture"] == "tile-7"
    assert document.texts("div", **{"class": "id"}) == ["tile-7"]
    assert document.texts("div", **{"class": "state yes"}) == ["rank 1: first"]
    assert {"ridge", "river"} <= set(document.texts("span", **{"class": "name"}))


def test_make_page__without_a_round_mentions_no_choices(tmp_path):
    document, _ = open_in_browser(page([[0, 0], [1, 1]]), tmp_path, hover="tile-1")
    assert document.body()["data-hover"] == "tile-1"
    assert document.texts("div", **{"class": "state", "hidden": ""}) == ["not chosen"]


def test_make_page__pointer_and_legend(tmp_path):
    # One tile is in the middle of what the buttons leave; a group of two is switched off first.
    script = """<script>
    const canvas = document.querySelector("#map"), box = canvas.getBoundingClientRect();
    document.querySelectorAll("#legend input")[1].click();
    const at = { clientX: box.left + box.width / 2, clientY: box.top + (box.height - 28) / 2 };
    canvas.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: -300 }));
    canvas.dispatchEvent(new PointerEvent("pointermove", at));
    </script>"""
    text = page([[0, 0], [-1, -1], [1, 1]], groups=[0, 1, 1], group_names=["a", "b"])
    assert text.count("</body>") == 1
    document, _ = open_in_browser(text.replace("</body>", script + "</body>"), tmp_path)
    assert document.body()["data-drawn"] == "1"
    assert document.body()["data-hover"] == document.body()["data-picture"] == "tile-0"


@pytest.mark.parametrize("row", [0, 1, 2])
def test_make_page__does_not_run_names_as_scripts(tmp_path, row):
    names = NASTY[:3]  # --dump-dom itself dies (SIGILL) of a lone surrogate
    text = page(
        np.zeros((3, 2)),
        tile_ids=names,
        groups=[0, 1, 2],
        group_names=names,
        origins=[TileOrigin(name, name, None, None) for name in names],
        chosen={row: Choice(row + 1, name, name) for row, name in enumerate(names)},
        title=NASTY[0],
        caption=NASTY[1],
    )
    document, _ = open_in_browser(text, tmp_path, hover=NASTY[row])
    assert document.body()["data-hover"] == NASTY[row]
    file = NASTY[row].rpartition("/")[2]
    assert document.texts("span", **{"class": "file"}) == [file.strip()]
    assert document.texts("div", **{"class": "state yes"}) == [NASTY[row]]
    assert "data-owned" not in document.body()


@pytest.mark.parametrize("count", [0, 1, 5])
def test_make_page__renders_without_extent(tmp_path, count):
    document, _ = open_in_browser(page(np.zeros((count, 2))), tmp_path)
    assert document.body()["data-drawn"] == str(count)


CARDS = {
    "groups": [0, 1, 1],
    "group_names": ["ridge", "river"],
    "origins": [
        TileOrigin("tile-0", "DCIM/100MEDIA/DJI_0018.JPG", 46.842894, -91.994617),
        TileOrigin("tile-1", "loose.jpg", None, None),
        None,
    ],
    "chosen": {
        1: Choice(1, "first", "rank 1, first"),
        0: Choice(2, "central", "rank 2, central", 7, make_thumb((9, 80, 9), side=400)),
    },
}
POINTS = [[0, 0], [1, 1], [2, 0]]


def test_make_page__the_card_of_a_chosen_tile(tmp_path):
    document, _ = open_in_browser(page(POINTS, **CARDS), tmp_path, hover="tile-0")
    assert document.texts("span", **{"class": "folder"}) == ["DCIM/100MEDIA/"]
    assert document.texts("span", **{"class": "file"}) == ["DJI_0018.JPG"]
    assert document.texts("div", **{"class": "place"}) == ["46.84289, -91.99462"]
    assert document.texts("div", **{"class": "cluster"}) == ["cluster 7"]
    assert document.texts("div", **{"class": "state yes"}) == ["rank 2, central"]
    # Twice as many pixels as the card is wide: sharp on a screen of two to one.
    assert document.body()["data-picture-px"] == "400"
    assert document.body()["data-ranks"] == "2"


@pytest.mark.parametrize(
    ("tile", "place", "is_known"), [("tile-1", "no place", True), ("tile-2", "", False)]
)
def test_make_page__the_card_omits_unknown_values(tmp_path, tile, place, is_known):
    document, _ = open_in_browser(page(POINTS, **CARDS), tmp_path, hover=tile)
    attributes = {} if is_known else {"hidden": ""}
    assert document.texts("div", **{"class": "place"} | attributes) == [place]
    assert document.texts("div", **{"class": "cluster", "hidden": ""}) == [""]
    assert document.body()["data-picture-px"] == "48"


def test_make_page__keys_and_clicks_in_the_list_show_tiles(tmp_path):
    # The drop of the second tile of the list is switched off, and the map is moved away.
    script = """<script>
    const press = (target, key) => target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    const picks = document.querySelectorAll(".pick"), boxes = document.querySelectorAll("#legend input");
    boxes[1].click();
    for (let step = 0; step < 50; step++) press(document.querySelector("#map"), "ArrowLeft");
    picks[0].focus();
    picks[0].click();
    press(picks[0], "ArrowDown");
    document.body.dataset.on = boxes[1].checked;
    document.body.dataset.focused = [...picks].indexOf(document.activeElement);
    const at = document.querySelector("#card").getBoundingClientRect();
    document.body.dataset.inside = at.left >= 0 && at.top >= 0 && at.right <= innerWidth && at.bottom <= innerHeight;
    </script>"""
    text = page(POINTS, **CARDS).replace("</body>", script + "</body>")
    document, _ = open_in_browser(text, tmp_path)
    body = document.body()
    assert body["data-hover"] == "tile-0"
    assert (body["data-on"], body["data-focused"], body["data-inside"]) == ("true", "1", "true")
    (attributes,) = [each for _, each, _ in document.elements if each.get("aria-current") == "true"]
    assert attributes["title"] == "DCIM/100MEDIA/DJI_0018.JPG"
    assert int(body["data-ranks"]) >= 1  # the tile is in view again
