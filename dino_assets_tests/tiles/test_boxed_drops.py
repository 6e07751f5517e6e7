"""Tiles of a drop with boxes: what is stored, what is made again, and what the check says."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from dino_assets.drops.boxes.reading import parse_boxes
from dino_assets.drops.registering import register_drop
from dino_assets.drops.stored_boxes import BoxRequest
from dino_assets.errors import DropUnusableError
from dino_assets.store.commits.protocol import Committed, Draft, OutputId, Recipe
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import BOX_VERSION, make_grid
from dino_assets.tiles.rows import GRID_SCHEMA, SCHEMA, read_tile_rows
from dino_assets.tiles.stage import draft_tiles, grid_of, judge_tiles
from dino_assets_tests.worlds.inboxes import commit_images, fill
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.raising import raising

GRID = make_grid(224, patch_px=16)
Boxes = dict[str, list[tuple[float, float, float, float, float]]]
BOXES: Boxes = {
    "cam1/a.jpg": [(10, 10, 50, 50, 0.9), (300, 200, 60, 30, 0.2)],
    "cam1/b.jpg": [(12, 11, 50, 50, 0.8)],
}


def make_json(boxes: Boxes) -> bytes:
    images = [{"id": file, "file_name": file, "width": 400, "height": 300} for file in boxes]
    annotations = [
        {"image_id": file, "category_id": 1, "bbox": list(edges), "score": score}
        for file, of_file in boxes.items()
        for *edges, score in of_file
    ]
    categories = [{"id": 1, "name": "smoke"}]
    return json.dumps(
        {"images": images, "annotations": annotations, "categories": categories}
    ).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "card", {f"cam1/{name}.jpg": (400, 300) for name in "abc"})


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def register(store: ObjectStore, folder: Path, boxes: Boxes = BOXES, **request: object) -> None:
    file = parse_boxes(make_json(boxes), name="boxes")
    changes = BoxRequest(**{"file": file, **request})
    register_drop(store, "d", source=str(folder), root=folder, boxes=changes)


def make_tiles(store: ObjectStore, images: CommittedTable) -> Committed:
    return commit(store, draft_tiles(images, "d", GRID))


def test_draft_tiles__one_tile_per_box(store: ObjectStore, folder: Path):
    register(store, folder)
    images = commit_images(store, "d", folder)
    committed = make_tiles(store, images)
    manifest = committed.manifest
    assert grid_of(manifest).version == BOX_VERSION
    tiles = open_table(store, "tiles")
    rows = list(read_tile_rows(tiles.read("d")))
    assert [row.tile_id for row in rows] == sorted(row.tile_id for row in rows)
    windows = sorted((row.path, row.x, row.y, row.w, row.span_px) for row in rows)
    assert windows == [
        ("cam1/a.jpg", 5, 5, 60, 60), ("cam1/a.jpg", 294, 179, 72, 72), ("cam1/b.jpg", 7, 6, 60, 60),
    ]  # fmt: skip
    assert {row.box.box_class for row in rows if row.box} == {"smoke"}
    assert len({row.box.box_group for row in rows if row.box}) == 2
    facts = manifest.facts
    assert (facts["boxes"], facts["images"], facts["without_box"]) == (3, 3, 1)
    assert (facts["recurring"], facts["recurring_groups"]) == (2, 1)
    verdict = judge_tiles(images, tiles, "d")
    assert verdict.passed
    assert not verdict.warns
    assert verdict.sentence == "3 tiles of 3 boxes; 2 at a place that recurs; 1 image without a box"


def test_draft_tiles__a_rerun_needs_no_outside_file(memory: ObjectStore, folder: Path):
    register(memory, folder)
    images = commit_images(memory, "d", folder)
    first = make_tiles(memory, images)
    assert not first.was_reused
    assert make_tiles(memory, images).was_reused


def test_draft_tiles__other_boxes_are_a_new_input(memory: ObjectStore, folder: Path):
    register(memory, folder)
    images = commit_images(memory, "d", folder)
    before = make_tiles(memory, images).manifest
    ids = set(open_table(memory, "tiles").read("d")["tile_id"].to_pylist())
    register(memory, folder, BOXES | {"cam1/c.jpg": [(100, 100, 20, 20, 0.9)]})
    after = make_tiles(memory, images).manifest
    assert before.recipe.inputs["images"] == after.recipe.inputs["images"]
    assert before.recipe.inputs["boxes"] != after.recipe.inputs["boxes"]
    new_ids = set(open_table(memory, "tiles").read("d")["tile_id"].to_pylist())
    assert ids < new_ids
    assert len(new_ids - ids) == 1


def test_draft_tiles__least_score_and_back_to_a_grid(memory: ObjectStore, folder: Path):
    images = commit_images(memory, "d", folder)
    by_grid = make_tiles(memory, images).manifest
    assert open_table(memory, "tiles").read("d").schema.names == GRID_SCHEMA.names
    register(memory, folder, least_score=0.5)
    assert make_tiles(memory, images).manifest.facts["below_least_score"] == 1
    assert open_table(memory, "tiles").read("d").schema.names == SCHEMA.names
    register(memory, folder, file=None, is_removal=True)
    assert make_tiles(memory, images).manifest == by_grid


def test_draft_tiles__no_box_is_left(memory: ObjectStore, folder: Path):
    register(memory, folder, {"cam9/x.jpg": [(1, 2, 3, 4, 0.5)]})
    images = commit_images(memory, "d", folder)
    with raising(DropUnusableError, drop="d", reason="no-box"):
        make_tiles(memory, images)


def test_judge_tiles__names_faults(memory: ObjectStore, folder: Path):
    boxes = BOXES | {"cam9/x.jpg": [(1, 2, 3, 4, 0.5)], "cam1/c.jpg": [(900, 0, 9, 9, 0.5)]}
    register(memory, folder, boxes)
    (folder / "cam1" / "broken.jpg").write_text("no picture")
    images = commit_images(memory, "d", folder)
    facts = make_tiles(memory, images).manifest.facts
    assert facts["box_faults"] == {"no-such-picture": 1, "outside": 1}
    verdict = judge_tiles(images, open_table(memory, "tiles"), "d")
    assert verdict.passed
    assert verdict.warns
    assert "1 no-such-picture (such as cam9/x.jpg)" in verdict.sentence


@pytest.mark.parametrize("fault", ["lost", "outside", "twice"])
def test_judge_tiles__planted_fault(memory: ObjectStore, folder: Path, fault: str):
    register(memory, folder)
    images = commit_images(memory, "d", folder)
    manifest = make_tiles(memory, images).manifest
    rows = open_table(memory, "tiles").read("d").to_pylist()
    if fault == "lost":
        rows = rows[1:]
    elif fault == "outside":
        rows[0]["x"] = 390
    else:
        rows[0]["tile_id"] = rows[1]["tile_id"]
    recipe = Recipe(OutputId("tiles", "d"), "planted", manifest.recipe.config)
    planted = [pa.RecordBatch.from_pylist(rows, SCHEMA), manifest.facts]
    commit(memory, Draft(recipe, pushing(planted), SCHEMA))
    assert not judge_tiles(images, open_table(memory, "tiles"), "d").passed
