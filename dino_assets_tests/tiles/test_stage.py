from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dino_assets.errors import CommitRefusedError, ConfigError, DropUnusableError, NotCommittedError
from dino_assets.images.rows import SCHEMA as IMAGES_SCHEMA
from dino_assets.store.commits.manifests import content_hash, manifest_key
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles import grid as tiling
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.rows import GRID_SCHEMA
from dino_assets.tiles.stage import draft_tiles, judge_tiles
from dino_assets.verdicts import Verdict
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.inboxes import (
    commit_images,
    drone_photo,
    fill,
    fill_bytes,
    write_mosaic,
)
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.raising import raising

GRID = make_grid(512, patch_px=16)


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def fake_images(
    store: ObjectStore, sizes: list[tuple[int, int]], *, quarantined: int = 0
) -> CommittedTable:
    """Commit an ``images`` table of pictures that are too large to draw in a test."""
    rows: list[dict[str, object]] = [
        {"drop": "d", "path": f"{n}.jpg", "bytes": 1, "is_usable": True, "image_id": f"{n:016x}{0:048x}",
         "width": width, "height": height, "is_mosaic": False, "place_quality": "none"}
        for n, (width, height) in enumerate(sizes)
    ]  # fmt: skip
    rows += [
        {"drop": "d", "path": f"bad-{n}.jpg", "bytes": 0, "is_usable": False, "reason": "empty"}
        for n in range(quarantined)
    ]

    def produce():
        yield pa.RecordBatch.from_pylist(rows, IMAGES_SCHEMA)
        yield {"usable": len(sizes), "quarantined": quarantined}

    config = {"rows": str(rows)}
    commit(
        store, Draft(Recipe(OutputId("images", "d"), "1", config), pushing(produce), IMAGES_SCHEMA)
    )
    return open_table(store, "images")


def tile_rows(store: ObjectStore, images: CommittedTable, grid=GRID) -> list[dict[str, object]]:
    commit(store, draft_tiles(images, "d", grid))
    return open_table(store, "tiles").read("d").to_pylist()


# --- rows -----------------------------------------------------------------------------------


def test_draft_tiles__real_pictures(store: ObjectStore, tmp_path: Path):
    sizes = {"small.jpg": (640, 480), "wide.jpg": (1100, 600), "strip.jpg": (1300, 20)}
    images = commit_images(store, "d", fill(tmp_path / "f", sizes))
    rows = tile_rows(store, images)
    by_path = {path: [r for r in rows if r["path"] == path] for path in sizes}
    (row,) = by_path["small.jpg"]
    assert [row[name] for name in ("x", "y", "w", "h", "side_px")] == [0, 0, 640, 480, 512]
    assert (row["is_whole"], row["is_padded"], row["span_px"]) == (True, False, 0)
    assert row["tile_id"] == f"{row['image_id'][:16]}-x00000y00000w00640h00480-g1"
    # 1100: 0 256 512 588; 600: 0 88
    assert [(r["x"], r["y"]) for r in by_path["wide.jpg"]] == [
        (x, y) for x in (0, 256, 512, 588) for y in (0, 88)
    ]
    assert not any(r["is_padded"] or r["is_whole"] for r in by_path["wide.jpg"])
    assert [(r["w"], r["h"], r["is_padded"]) for r in by_path["strip.jpg"]] == [(512, 20, True)] * 5
    order = [(r["image_id"], r["tile_id"]) for r in rows]
    assert order == sorted(order)
    assert dict(open_table(store, "tiles").manifest("d").facts) == {
        "images": 3, "padded": 5, "thermal_left_out": 0,
    }  # fmt: skip


def test_draft_tiles__known_cameras(memory: ObjectStore):
    images = fake_images(memory, [(4000, 2250), (5472, 3648), (2048, 1536), (640, 480)])
    rows = tile_rows(memory, images, make_grid(518, patch_px=14))
    counts = [sum(r["path"] == f"{n}.jpg" for r in rows) for n in range(4)]
    assert counts == [120, 294, 35, 1]


def test_draft_tiles__same_picture_twice_is_cut_once(memory: ObjectStore, tmp_path: Path):
    for path in ("b.jpg", "100MEDIA/a.jpg", "z/c.jpg"):
        (tmp_path / "f" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / path).write_bytes(photo_bytes(1100, 600))
    images = commit_images(memory, "d", tmp_path / "f")
    assert len(images.read("d")) == 3
    rows = tile_rows(memory, images)
    assert {row["path"] for row in rows} == {"100MEDIA/a.jpg"}
    assert len(rows) == 8
    assert judge_tiles(images, open_table(memory, "tiles"), "d").passed


def test_draft_tiles__quarantined_rows_get_no_tiles(memory: ObjectStore):
    rows = tile_rows(memory, fake_images(memory, [(20, 10)], quarantined=2))
    assert [row["path"] for row in rows] == ["0.jpg"]


# --- promises -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usable", "quarantined", "sentence"),
    [
        (
            0,
            0,
            "0 of 0 files are usable photographs, 0 quarantined: expected at least one usable photograph",
        ),
        (
            0,
            2,
            "0 of 2 files are usable photographs, 2 quarantined: expected at least one usable photograph",
        ),
        (
            4,
            3,
            "4 of 7 files are usable photographs, 3 quarantined: more than the 2 allowed. Copy the bad files again, or remove them",
        ),
        (
            94,
            6,
            "94 of 100 files are usable photographs, 6 quarantined: more than the 5 allowed. Copy the bad files again, or remove them",
        ),
    ],
)
def test_draft_tiles__unusable_drop(
    memory: ObjectStore, usable: int, quarantined: int, sentence: str
):
    images = fake_images(memory, [(20, 10)] * usable, quarantined=quarantined)
    with pytest.raises(DropUnusableError) as caught:
        draft_tiles(images, "d", GRID)
    assert str(caught.value).startswith(f"drop 'd': {sentence}.")


@pytest.mark.parametrize(("usable", "quarantined"), [(1, 2), (95, 5)])
def test_draft_tiles__drop_at_the_threshold(memory: ObjectStore, usable: int, quarantined: int):
    images = fake_images(memory, [(20, 10)] * usable, quarantined=quarantined)
    assert len(tile_rows(memory, images)) == usable


def test_draft_tiles__images_are_not_committed(memory: ObjectStore):
    with pytest.raises(NotCommittedError, match="images/d is not in store"):
        draft_tiles(open_table(memory, "images"), "d", GRID)


def test_draft_tiles__refuses_a_count_that_differs_from_the_formula(
    memory: ObjectStore, monkeypatch: pytest.MonkeyPatch
):
    images = fake_images(memory, [(1100, 600)])
    original = tiling.cut_windows
    monkeypatch.setattr(tiling, "cut_windows", lambda w, h, grid: original(w, h, grid)[:-1])
    with pytest.raises(CommitRefusedError) as caught:
        commit(memory, draft_tiles(images, "d", GRID))
    assert caught.value.first == "0.jpg"
    assert not memory.exists(manifest_key(OutputId("tiles", "d")))


# --- reuse ----------------------------------------------------------------------------------


def test_draft_tiles__reuse(store: ObjectStore, tmp_path: Path):
    folder = fill(tmp_path / "f", {"a.jpg": (1100, 600)})
    images = commit_images(store, "d", folder)
    assert not commit(store, draft_tiles(images, "d", GRID)).was_reused
    assert commit(store, draft_tiles(open_table(store, "images"), "d", GRID)).was_reused
    for field, value in (("side_px", 518), ("overlap", 0.25), ("whole_max_px", 9), ("version", 2)):
        commit(store, draft_tiles(images, "d", GRID))
        other_grid = replace(GRID, **{field: value})
        assert not commit(store, draft_tiles(images, "d", other_grid)).was_reused


def test_draft_tiles__new_time_stamps_reuse_the_tiles(memory: ObjectStore, tmp_path: Path):
    import os

    folder = fill(tmp_path / "f", {"a.jpg": (1100, 600)})
    images = commit_images(memory, "d", folder)
    commit(memory, draft_tiles(images, "d", GRID))
    os.utime(folder / "a.jpg", ns=(1, 1))
    touched_images = commit_images(memory, "d", folder)
    assert touched_images.manifest("d").recipe != images.manifest("d").recipe
    assert content_hash(touched_images.manifest("d")) == content_hash(images.manifest("d"))
    assert commit(memory, draft_tiles(touched_images, "d", GRID)).was_reused
    (folder / "b.jpg").write_bytes(photo_bytes(seed=7))
    changed_images = commit_images(memory, "d", folder)
    assert not commit(memory, draft_tiles(changed_images, "d", GRID)).was_reused


# --- judge_tiles ----------------------------------------------------------------------------


def judge(
    sizes: list[tuple[int, int]], windows: list[tuple[int, int, int, int, int]]
) -> tuple[bool, str]:
    """Judge tiles (image number, x, y, w, h) of images of these sizes."""
    store = ObjectStore.in_memory()
    images = fake_images(store, sizes)
    table = pa.RecordBatch.from_pylist(
        [
            {"tile_id": f"{n}-{x}-{y}-{w}-{h}", "image_id": f"{n:016x}{0:048x}", "path": f"{n}.jpg",
             "x": x, "y": y, "w": w, "h": h, "side_px": 4, "span_px": 4, "is_whole": False, "is_padded": False,
             "is_mosaic": False}
            for n, x, y, w, h in windows
        ],
        GRID_SCHEMA,
    )  # fmt: skip

    def produce():
        yield table

    commit(store, Draft(Recipe(OutputId("tiles", "d"), "1"), pushing(produce), GRID_SCHEMA))
    verdict = judge_tiles(images, open_table(store, "tiles"), "d")
    assert verdict.subject == "d"
    return verdict.passed, verdict.sentence


GOOD_WINDOWS = [(0, 0, 0, 4, 3), (0, 2, 0, 4, 3), (1, 0, 0, 5, 5)]


def test_judge_tiles__valid_table():
    assert judge([(6, 3), (5, 5)], GOOD_WINDOWS) == (True, "3 tiles cover 2 images")
    assert judge([(6, 3), (5, 5)], GOOD_WINDOWS[::-1]) == (True, "3 tiles cover 2 images")


@pytest.mark.parametrize(
    ("windows", "sentence"),
    [
        ([*GOOD_WINDOWS, GOOD_WINDOWS[0]], "1 tile ids occur twice"),
        (GOOD_WINDOWS[1:], "image 0000000000000000: 6 pixels have no tile"),
        (GOOD_WINDOWS[:2], "image 0000000000000001: 25 pixels have no tile"),
        ([], "image 0000000000000000: 18 pixels have no tile"),
        (
            [(0, 0, 0, 4, 3), (0, 3, 0, 4, 3), GOOD_WINDOWS[2]],
            "image 0000000000000000: a tile is outside its 6×3 pixels",
        ),
        (
            [*GOOD_WINDOWS[:2], (1, 0, 0, 5, 6)],
            "image 0000000000000001: a tile is outside its 5×5 pixels",
        ),
        (
            [*GOOD_WINDOWS[:2], (1, -1, 0, 6, 5)],
            "image 0000000000000001: a tile is outside its 5×5 pixels",
        ),
        ([(0, 0, 0, 4, 3), (0, 2, 0, 4, 2), GOOD_WINDOWS[2]], "2 pixels have no tile"),
        ([*GOOD_WINDOWS, (2, 0, 0, 1, 1)], "1 images have tiles but are not usable in `images`"),
    ],
)
def test_judge_tiles__planted_fault(windows: list[tuple[int, int, int, int, int]], sentence: str):
    passed, verdict = judge([(6, 3), (5, 5)], windows)
    assert not passed
    assert sentence in verdict


def test_judge_tiles__committed_drops_pass(memory: ObjectStore):
    rng = np.random.default_rng(0)
    sizes = [(int(w), int(h)) for w, h in rng.integers(1, 3000, (40, 2))]
    images = fake_images(memory, [*sizes, (30_000, 200), (5472, 3648)])
    commit(memory, draft_tiles(images, "d", GRID))
    verdict = judge_tiles(images, open_table(memory, "tiles"), "d")
    assert verdict.passed
    assert verdict.sentence.endswith("tiles cover 42 images")


# --- thermal pictures, metres, mosaics ------------------------------------------------------

ALTITUDE = 'drone-dji:AbsoluteAltitude="+600.00"'
INFRARED = (ALTITUDE, f'drone-dji:ImageSource="InfraredCamera" {ALTITUDE}')


def test_draft_tiles__thermal_pictures_are_left_out(memory: ObjectStore, tmp_path: Path):
    files = {"a.jpg": drone_photo(), "b.jpg": drone_photo(seed=1, xmp=INFRARED)}
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", files))
    assert {row["path"] for row in tile_rows(memory, images)} == {"a.jpg"}
    tiles = open_table(memory, "tiles")
    assert tiles.manifest("d").facts["thermal_left_out"] == 1
    assert judge_tiles(images, tiles, "d") == Verdict(
        "d", True, "1 tile covers 1 image; 1 thermal picture left out"
    )
    commit(memory, draft_tiles(images, "d", GRID, with_thermal=True))
    tiles = open_table(memory, "tiles")
    assert {row["path"] for row in tiles.read("d").to_pylist()} == {"a.jpg", "b.jpg"}
    assert judge_tiles(images, tiles, "d").sentence == "2 tiles cover 2 images"


def test_draft_tiles__only_thermal_pictures(memory: ObjectStore, tmp_path: Path):
    files = {"b.jpg": drone_photo(xmp=INFRARED)}
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", files))
    with raising(DropUnusableError, drop="d", reason="thermal"):
        commit(memory, draft_tiles(images, "d", GRID))
    assert not memory.exists(manifest_key(OutputId("tiles", "d")))


def test_draft_tiles__metres_give_equal_ground_at_two_heights(memory: ObjectStore, tmp_path: Path):
    files = {
        f"{height}.jpg": drone_photo(seed=height, size=(1600, 1200), altitude_m=height)
        for height in (30, 120)
    }
    files["lost.jpg"] = photo_bytes(1600, 1200)
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", files))
    rows = tile_rows(memory, images, make_grid(512, side_m=10))
    by_path = {path: [r for r in rows if r["path"] == path] for path in files}
    for path in ("30.jpg", "120.jpg"):
        for row in by_path[path]:
            assert row["w"] * row["gsd_m"] == pytest.approx(10, rel=0.01)
            assert (row["w"], row["side_px"]) == (row["span_px"], 512)
    assert by_path["30.jpg"][0]["span_px"] == pytest.approx(
        4 * by_path["120.jpg"][0]["span_px"], rel=0.02
    )
    # Its scale is unknown: it is cut in pixels, and the verdict says so.
    assert {(r["w"], r["span_px"]) for r in by_path["lost.jpg"]} == {(512, 512)}
    verdict = judge_tiles(images, open_table(memory, "tiles"), "d")
    assert (verdict.passed, verdict.warns) == (True, True)
    assert "1 image of unknown scale cut in pixels" in verdict.sentence


def test_draft_tiles__oblique_picture_has_several_scales(memory: ObjectStore, tmp_path: Path):
    pitch = 'drone-dji:GimbalPitchDegree="-90.00"'
    files = {"a.jpg": drone_photo(size=(1600, 1200), xmp=(pitch, pitch.replace("90", "75")))}
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", files))
    rows = tile_rows(memory, images, make_grid(512, side_m=10))
    assert {(row["place_quality"], row["span_px"]) for row in rows} == {("oblique", 512)}
    gsd_m = [row["gsd_m"] for row in rows]
    assert max(gsd_m) > 1.05 * min(gsd_m)  # each has its own
    assert open_table(memory, "tiles").manifest("d").facts["cut_in_pixels"] == 1


def test_draft_tiles__tiles_above_the_horizon_have_no_place(memory: ObjectStore, tmp_path: Path):
    pitch = 'drone-dji:GimbalPitchDegree="-90.00"'
    files = {"a.jpg": drone_photo(size=(1600, 1200), xmp=(pitch, pitch.replace("-90", "-10")))}
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", files))
    rows = tile_rows(memory, images)
    assert {(row["place_quality"], row["geometry"], row["gsd_m"]) for row in rows} == {
        ("none", None, None)
    }


def test_draft_tiles__places_of_a_rotated_picture(memory: ObjectStore, tmp_path: Path):
    """The stored picture is rotated: its lower left tile is the upper left one of the upright frame."""
    files = {
        f"{orientation}.jpg": drone_photo(
            size=(1536, 1024), orientation=orientation, seed=orientation
        )
        for orientation in (1, 6)
    }
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", files))
    rows = tile_rows(memory, images, make_grid(512, overlap=0.0))
    places = {
        (r["path"], r["x"], r["y"]): (r["center_longitude"], r["center_latitude"]) for r in rows
    }
    assert places["6.jpg", 0, 0] == pytest.approx(places["1.jpg", 0, 512], abs=1e-9)
    assert places["6.jpg", 512, 1024] == pytest.approx(places["1.jpg", 1024, 0], abs=1e-9)


def test_draft_tiles__refuses_metres_of_a_few_pixels(memory: ObjectStore, tmp_path: Path):
    files = {"a.jpg": drone_photo(size=(1600, 1200), altitude_m=120)}
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", files))
    with pytest.raises(ConfigError) as caught:
        commit(memory, draft_tiles(images, "d", make_grid(512, side_m=0.5)))
    assert (caught.value.setting, caught.value.value) == ("tile_m", 0.5)


def test_draft_tiles__one_wrong_height_does_not_stop_the_drop(memory: ObjectStore, tmp_path: Path):
    files = {
        "a.jpg": drone_photo(size=(1600, 1200)),
        "b.jpg": drone_photo(seed=1, size=(1600, 1200), altitude_m=9000),
    }
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", files))
    rows = tile_rows(memory, images, make_grid(512, side_m=10))
    assert {row["span_px"] for row in rows if row["path"] == "b.jpg"} == {512}
    assert {row["span_px"] for row in rows if row["path"] == "a.jpg"} != {512}
    assert open_table(memory, "tiles").manifest("d").facts["cut_in_pixels"] == 1


def test_draft_tiles__refuses_too_large_tiles_of_a_mosaic(memory: ObjectStore, tmp_path: Path):
    write_mosaic(tmp_path / "f" / "ortho.tif", side_px=9000, nodata_from=600)
    images = commit_images(memory, "d", tmp_path / "f")
    with pytest.raises(ConfigError, match=r"a mosaic.*at most tile_m=41") as caught:
        commit(memory, draft_tiles(images, "d", make_grid(512, side_m=449)))
    assert (caught.value.setting, caught.value.value) == ("tile_m", 449)


def test_draft_tiles__leaves_out_tiles_without_data_of_a_mosaic(
    memory: ObjectStore, tmp_path: Path
):
    write_mosaic(tmp_path / "f" / "ortho.tif", side_px=1280, nodata_from=640)
    images = commit_images(memory, "d", tmp_path / "f")
    rows = tile_rows(memory, images, make_grid(256, overlap=0.0))
    # 5 × 5 tiles; only columns 0, 256 and 512 begin before 640.
    assert sorted({row["x"] for row in rows}) == [0, 256, 512]
    assert len(rows) == 15
    assert {row["place_quality"] for row in rows} == {"ortho"}
    tiles = open_table(memory, "tiles")
    assert tiles.manifest("d").facts["nodata_left_out"] == 10
    verdict = judge_tiles(images, tiles, "d")
    assert verdict.sentence == "15 tiles cover 1 image; 10 tiles without data left out"


def test_judge_tiles__mosaic_with_a_missing_tile(memory: ObjectStore, tmp_path: Path):
    write_mosaic(tmp_path / "f" / "ortho.tif", side_px=1280, nodata_from=640)
    images = commit_images(memory, "d", tmp_path / "f")
    commit(memory, draft_tiles(images, "d", make_grid(256, overlap=0.0)))
    table = open_table(memory, "tiles").read("d")
    recipe = Recipe(OutputId("tiles", "d"), "planted")
    commit(memory, Draft(recipe, pushing(table.slice(1).to_batches()), GRID_SCHEMA))
    verdict = judge_tiles(images, open_table(memory, "tiles"), "d")
    assert not verdict.passed
    assert "65,536 pixels have no tile" in verdict.sentence
