"""Rows of files matched with tiles and photographs: by id, by hash, by name; and each reason why not."""

from dataclasses import replace

import pytest

from dino_assets.labels.formats.records import FileRow
from dino_assets.labels.matching import (
    Matchable,
    MatchedLabels,
    StoredPhotograph,
    StoredTile,
    match_rows,
)
from dino_assets.labels.records import Window
from dino_assets_tests.worlds.labelling import make_crop

CROP = make_crop(1, window=Window(512, 256, 256, 256))
TILE = StoredTile(CROP.tile_id, CROP.image_id, "ridge", "p1.jpg", CROP.frame, "s/round-0001")
A = StoredPhotograph(CROP.image_id, "ridge", "100MEDIA/p1.jpg", 4000, 3000)
B = StoredPhotograph("b" * 64, "ridge", "100MEDIA/p2.jpg", 640, 480)
STORED = Matchable({TILE.tile_id: TILE}, {"001_ridge_p1": [TILE.tile_id]}, [A, B])
WHOLE = Window(0, 0, 640, 480)


def match(*rows: FileRow, stored: Matchable = STORED) -> MatchedLabels:
    return match_rows(rows, stored)


def row(picture: str, class_name: str = "fog", **fields) -> FileRow:
    return FileRow("line 1", picture, class_name, **fields)


def find(picture: str, stored: Matchable = STORED, **fields) -> tuple[str, Window, str]:
    (matched,) = match(row(picture, **fields), stored=stored).rows
    return matched.target.level, matched.target.window, matched.target.image_id


def reason(picture: str, stored: Matchable = STORED, **fields) -> str:
    (rejected,) = match(row(picture, **fields), stored=stored).rejected
    return rejected.reason


@pytest.mark.parametrize(
    "picture",
    [
        f"{CROP.tile_id}.jpg",
        f"/srv/data/3f2a1b0c-0001_{CROP.tile_id}_copy.png",
        f"C:\\label\\{CROP.tile_id}.jpg",
        "tiles/001_ridge_p1.jpg",
    ],
)
def test_match__tile_by_its_picture(picture: str):
    assert find(picture) == ("tile", TILE.frame.window, A.image_id)


def test_match__tile_by_its_own_column():
    (matched,) = match(row("", tile_id=CROP.tile_id)).rows
    assert (matched.target.tile_id, matched.round) == (CROP.tile_id, "s/round-0001")


@pytest.mark.parametrize(
    ("picture", "fields"),
    [
        ("p2.jpg", {}),
        ("100MEDIA/p2.jpg", {}),
        ("card/ridge/100MEDIA/p2.jpg", {}),
        ("100MEDIA\\p2.jpg", {}),
        ("p2", {"is_stem": True}),
        (f"{'b' * 64}.jpg", {}),
        ("renamed.jpg", {"image_id": "b" * 64}),
    ],
)
def test_match__photograph(picture: str, fields: dict):
    assert find(picture, **fields) == ("image", WHOLE, B.image_id)


def test_match__box_in_a_tile_is_moved_to_the_photograph():
    name = f"{CROP.tile_id}.jpg"
    assert find(name, box=(10, 20, 30, 40)) == ("box", Window(522, 276, 30, 40), A.image_id)
    relative = find(name, box=(0.5, 0.5, 0.25, 0.25), is_relative=True)
    assert relative == ("box", Window(640, 384, 64, 64), A.image_id)
    larger = find(name, box=(20, 40, 60, 80), frame=(512, 512))
    assert larger == ("box", Window(522, 276, 30, 40), A.image_id)


def test_match__box_as_large_as_the_picture_is_its_class():
    assert find(f"{CROP.tile_id}.jpg", box=(0, 0, 255.5, 256))[0] == "tile"
    assert find("p2.jpg", box=(0, 0, 1, 1), is_relative=True)[0] == "image"
    assert find("p2.jpg", box=(0, 0, 640, 400))[0] == "box"


def test_match__box_that_the_tile_cuts_becomes_whole_again():
    whole = Window(480, 300, 100, 50)
    stored = replace(STORED, boxes={A.image_id: [whole]})
    name = f"{CROP.tile_id}.jpg"
    assert find(name, stored, box=(0, 44, 68, 50))[1] == whole
    assert find(name, stored, box=(0, 44, 90, 50))[1] == Window(512, 300, 90, 50)


@pytest.mark.parametrize(
    ("picture", "fields", "expected"),
    [
        ("0" * 16 + "-x00000y00000w00256h00256-g1.jpg", {}, "no-such-tile"),
        ("p9.jpg", {}, "no-such-picture"),
        ("c" * 64 + ".jpg", {}, "no-such-picture"),
        ("p2.jpg", {"class_name": ""}, "class-name"),
        ("p2.jpg", {"class_name": "a\nb"}, "class-name"),
        ("p2.jpg", {"class_name": "x" * 81}, "class-name"),
        ("p2.jpg", {"box": (700, 1, 5, 5)}, "outside"),
        (f"{CROP.tile_id}.jpg", {"box": (1, 1, 5, 5), "frame": (640, 480)}, "other-size"),
        ("p2.jpg", {"box": (1, 1, 5, 5), "frame": (480, 640)}, "other-size"),
    ],
)
def test_match__reasons(picture: str, fields: dict, expected: str):
    assert reason(picture, **fields) == expected


def test_match__name_of_several_photographs():
    other = StoredPhotograph("d" * 64, "river", "100MEDIA/p2.jpg", 640, 480)
    stored = replace(STORED, photographs=[A, B, other])
    assert reason("p2.jpg", stored) == "several-pictures"
    assert find("river/100MEDIA/p2.jpg", stored)[2] == other.image_id
    copy = StoredPhotograph(B.image_id, "river", "p2.jpg", 640, 480)
    stored = replace(STORED, photographs=[A, B, copy])
    assert find("p2.jpg", stored)[2] == B.image_id
    assert find("river/p2.jpg", stored)[2] == B.image_id
    stored = replace(STORED, names={"001": [CROP.tile_id, "another"]})
    assert reason("001.jpg", stored) == "several-pictures"


def test_match__one_target_with_two_classes_is_refused_and_one_said_twice_counts_once():
    matched = match(row("p2.jpg"), row("100MEDIA/p2.jpg", "smoke"), row(f"{CROP.tile_id}.jpg"))
    assert {each.reason for each in matched.rejected} == {"several-pictures"}
    matched = match(row("p2.jpg"), row("p2.jpg", "smoke"), row(f"{CROP.tile_id}.jpg"))
    assert [each.reason for each in matched.rejected] == ["several-classes"] * 2
    assert len(matched.rows) == 1
    matched = match(row("p2.jpg"), row("p2.jpg"))
    assert (len(matched.rows), matched.repeated, matched.rejected) == (1, 1, ())


def test_match__box_of_an_own_table_is_in_the_photograph():
    fields = {"tile_id": CROP.tile_id, "level": "box", "window": Window(10, 20, 30, 40)}
    assert find("", **fields) == ("box", Window(10, 20, 30, 40), A.image_id)
    fields = {"image_id": B.image_id, "level": "box", "window": Window(630, 20, 30, 40)}
    assert find("", **fields) == ("box", Window(630, 20, 10, 40), B.image_id)
    assert find("", tile_id=CROP.tile_id, level="image")[0] == "image"
