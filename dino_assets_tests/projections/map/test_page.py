"""The page of a map: what it carries, and that it is nothing but data."""

import base64
import re

import numpy as np
import pytest

from dino_assets.drawing.lettering import LINE
from dino_assets.errors import ConfigError
from dino_assets.projections.map.cards import NO_PATH, NO_PLACE, Choice
from dino_assets.projections.map.page import pack_thumbs
from dino_assets.tiles.rows import TileOrigin
from dino_assets_tests.worlds.map_pages import (
    NASTY,
    Document,
    make_thumb,
    open_picture,
    page,
    page_data,
)


def unpack(text: str, kind: str) -> list:
    return np.frombuffer(base64.b64decode(text), kind).tolist()


def test_make_page__contains_its_input():
    chosen = {
        2: Choice(1, "first", "rank 1, first", picture=b"webp"),
        0: Choice(2, "central", "rank 2", 4),
    }
    points = [[0, 1], [2, -3.5], [4, 5]]
    rings = {"chosen": chosen, "earlier": {1: "round-0001"}}
    groups = {"groups": [1, 0, 1], "group_names": ["a", "b"], "colours": [3, 0]}
    data = page_data(page(points, **groups, **rings))
    assert data["ids"] == ["tile-0", "tile-1", "tile-2"]
    assert unpack(data["xy"], "<f4") == [0, 1, 2, -3.5, 4, 5]
    assert unpack(data["groups"], "<u2") == [1, 0, 1]
    assert (data["names"], data["counts"]) == (["a", "b"], [1, 2])
    assert (data["chosen"], data["ranks"]) == ([2, 0], [1, 2])
    assert data["reasons"] == ["first", "central"]
    assert data["notes"] == ["rank 1, first", "rank 2"]
    assert data["clusters"] == [None, 4]
    assert [base64.b64decode(each) for each in data["pictures"]] == [b"webp", b""]
    assert (data["earlier"], data["earlierNotes"]) == ([1], ["round-0001"])
    assert data["colours"] == ["#cc333f", "#1f77b4"]


def test_make_page__photographs_and_places():
    origins = [
        TileOrigin("tile-0", "DCIM/a.jpg", 47.61018, -122.33),
        None,
        TileOrigin("tile-2", "b.jpg", None, None),
        TileOrigin("tile-3", "DCIM/a.jpg", -90.0, 180.0),
        TileOrigin("tile-4", "b.jpg", 0.0, None),
    ]
    data = page_data(page(np.zeros((5, 2)), origins=origins))
    assert data["paths"] == ["DCIM/a.jpg", "b.jpg"]  # each once
    assert unpack(data["pathOf"], "<u4") == [0, NO_PATH, 1, 0, 1]
    assert unpack(data["places"], "<i4") == [
        *(4761018, -12233000),
        *(NO_PLACE, NO_PLACE),
        *(NO_PLACE, NO_PLACE),
        *(-9000000, 18000000),
        *(NO_PLACE, NO_PLACE),
    ]
    assert data["degrees"] == 1e-5


def test_make_page__loads_nothing_from_the_network():
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
        origins=[TileOrigin(name, name, None, None) for name in NASTY],
        chosen={row: Choice(row, name, name) for row, name in enumerate(NASTY)},
        title=" ".join(NASTY),
        caption=NASTY[0] + NASTY[1],
    )
    text.encode("utf-8")  # a lone surrogate would raise
    document = Document(text)
    assert len(document.texts("script")) == 2
    assert document.texts("img") == []
    data = page_data(text)
    assert data["ids"] == data["names"] == data["paths"] == NASTY
    assert data["reasons"] == data["notes"] == NASTY
    assert document.texts("h1") == [" ".join(NASTY).replace("\ud800", "?")]


def test_make_page__gives_equal_bytes():
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
        ({"origins": [None]}, "origins", 1),
        ({"groups": [0, 0], "group_names": ["a"], "colours": []}, "colours", 0),
        ({"chosen": {2: Choice(1, "", "")}}, "chosen", (2, 2)),
        ({"chosen": {}, "earlier": {2: ""}}, "earlier", (2, 2)),
    ],
)
def test_make_page__refuses_invalid_input(changes, setting, value):
    with pytest.raises(ConfigError) as caught:
        page([[0, 0], [1, 1]], **changes)
    assert (caught.value.setting, caught.value.value) == (setting, value)


def test_pack_thumbs__keeps_the_order():
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
