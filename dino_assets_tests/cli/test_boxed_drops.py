"""Drops with a detector's boxes: registered, run to a round, searched, exported and verified by commands."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dino_assets.cli import main
from dino_assets.drops.finished import find_done_drops, list_stamps
from dino_assets.drops.registry import read_drop
from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.errors import ConfigError, InvalidBoxesError
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage.drafting import pick_round
from dino_assets.selections.stage.ground import EVERY_TILE, read_ground
from dino_assets.selections.stage.judging import judge_selections
from dino_assets.selections.stage.paid import SHEET
from dino_assets.store.commits.manifests import dump_manifest, manifest_key
from dino_assets.store.commits.reading import open_table
from dino_assets_tests.defs.conftest import Lineage, checks
from dino_assets_tests.worlds.camera_traps import (
    DrawnBox,
    draw_camera_traps,
    write_megadetector,
)
from dino_assets_tests.worlds.prepared import Prepared

ROUND = {"budget": 9, "strategy": "cluster", "n_clusters": 9}


@pytest.fixture
def drawn(tmp_path: Path) -> list[DrawnBox]:
    """The boxes of two drawn cameras; the pictures are in the inbox's folder `traps`."""
    return draw_camera_traps(tmp_path / "unused", frames=16)


@pytest.fixture
def lineage(
    project: Path, instance, short_trial, ready_engines, prepared: Prepared, capsys
) -> Lineage:
    """The cameras' drop with its whole lineage, to a round of nine tiles."""
    lineage = Lineage(instance)

    def prepare() -> None:
        folder = project / "inbox" / "traps"
        file = write_megadetector(project / "md.json", draw_camera_traps(folder, frames=16))
        assert main(["drops", "register", "traps", "--boxes", str(file)]) == 0
        file.unlink()  # what follows needs no outside file
        instance.add_dynamic_partitions("drops", ["traps"])
        result = lineage.run("traps", projections={"method": "linear"}, selections=ROUND)
        assert result.success
        assert checks(result)["tiles_cover_images"].passed

    prepared.fill(prepare, instance=instance)
    capsys.readouterr()
    return lineage


def match(lineage: Lineage, drawn: list[DrawnBox]) -> dict[str, DrawnBox]:
    """Find the drawn box of each tile, by the picture and the edges."""
    of_edges = {(box.path, *box.edges): box for box in drawn}
    rows = open_table(lineage.store, "tiles").read("traps").to_pylist()
    tiles = {
        row["tile_id"]: of_edges[row["path"], *(round(row[f"box_{name}"]) for name in "xywh")]
        for row in rows
    }
    assert len(tiles) == len(drawn)
    return tiles


def test_boxes__groups_of_recurring_boxes_are_exact(lineage: Lineage, drawn: list[DrawnBox]):
    tiles = match(lineage, drawn)
    rows = open_table(lineage.store, "tiles").read("traps").to_pylist()
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row["box_group"], set()).add(row["tile_id"])
    artefacts: dict[str, set[str]] = {}
    for tile_id, box in tiles.items():
        artefacts.setdefault(box.artefact, set()).add(tile_id)
    animals = artefacts.pop("")
    recurring = [group for group in groups.values() if len(group) > 1]
    assert sorted(map(sorted, recurring)) == sorted(map(sorted, artefacts.values()))
    assert {len(group) for group in recurring} == {16}
    assert animals == {tile for group in groups.values() if len(group) == 1 for tile in group}


@pytest.mark.parametrize("seed", range(3))
def test_boxes__a_round_shows_more_classes_than_clusters_alone(
    lineage: Lineage, drawn: list[DrawnBox], seed: int
):
    boxes = match(lineage, drawn)
    (info,) = lineage.store.list("manifests/embeddings")
    embeddings = open_table(lineage.store, "embeddings", space=info.key.split("/")[2])
    pool = read_pool(embeddings, "cls")
    shown: dict[str, set[str]] = {}
    for name, ground in (
        ("clusters", EVERY_TILE),
        ("groups", read_ground(open_table(lineage.store, "tiles"), pool, ())),
    ):
        settings = RoundSettings(**ROUND, seed=seed, all_windows=ground is EVERY_TILE)
        picked = pick_round(pool, settings, set(), left_out={}, ground=ground)
        rows = [boxes[pool.tile_ids[row]] for row in picked.selection.indices]
        assert len(rows) == ROUND["budget"]
        shown[name] = {box.animal or box.artefact for box in rows}
        artefacts = Counter(box.artefact for box in rows if box.artefact)
        if name == "groups":
            assert max(artefacts.values(), default=0) <= 1
        print(f"{ROUND['budget']} labels by {name}: {len(shown[name])} of 9 classes, {artefacts}")
    assert len(shown["groups"]) > len(shown["clusters"])


def test_boxes__commands_work_on_the_drop(lineage: Lineage, capsys, tmp_path: Path):
    rows = open_table(lineage.store, "tiles").read("traps").to_pylist()
    (largest, _), *_ = Counter(row["box_group"] for row in rows).most_common()
    assert main(["find", largest, "-k", "8", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["tiles"]
    group_of = {row["tile_id"]: row["box_group"] for row in rows}
    assert len(hits) == 8
    assert len({group_of[hit["tile_id"]] for hit in hits}) == 8

    out = tmp_path / "out"
    assert main(["export", "selections", "round-0001", "--to", str(out)]) == 0
    with (out / "chosen.csv").open() as file:
        exported = list(csv.DictReader(file))
    assert {row["box_class"] for row in exported} == {"animal"}
    assert {float(row["box_score"]) for row in exported} <= {0.4, 0.9}
    assert all((out / row["file"]).is_file() for row in exported)
    with Image.open(out / SHEET) as sheet:
        assert sheet.width > 200

    capsys.readouterr()
    assert main(["verify"]) == 0
    assert main(["verify", "round-0001", "--recompute"]) == 0
    assert "broken" not in capsys.readouterr().out
    assert main(["duplicates", "--json"]) == 0
    assert main(["status"]) == 0
    assert main(["doctor"]) == 0
    assert "1 with boxes of a detector" in capsys.readouterr().out


def test_boxes__limits_of_a_camera_and_of_a_class(lineage: Lineage):
    common = ["--budget", "6", "--all-windows"]
    assert main(["select", "--round", "2", *common, "--most-per-camera", "3"]) == 0
    assert main(["select", "--round", "3", *common, "--most-per-class", "2"]) == 0
    (info, *_) = lineage.store.list("manifests/selections")
    rounds = open_table(lineage.store, "selections", space=info.key.split("/")[2])
    paths = rounds.read("round-0002", ["path"])["path"].to_pylist()
    assert Counter(path.split("/")[0] for path in paths) == {"north": 3, "south": 3}
    assert rounds.read("round-0003").num_rows == 2  # the detector says "animal" of all
    manifest = rounds.manifest("round-0003")
    assert manifest.facts["shortfall"]
    recipe = replace(manifest.recipe, config={**manifest.recipe.config, "most_per_class": 1})
    lineage.store.put(manifest_key(recipe.output), dump_manifest(replace(manifest, recipe=recipe)))
    embeddings = open_table(lineage.store, "embeddings", space=rounds.space)
    tiles = open_table(lineage.store, "tiles")
    altered = open_table(lineage.store, "selections", space=rounds.space)
    verdict = judge_selections(altered, embeddings, tiles, "round-0003")
    assert (verdict.passed, verdict.sentence) == (
        False,
        "2 tiles of animal, but only 1 are allowed",
    )


def find_states(capsys) -> dict[str, str]:
    capsys.readouterr()
    assert main(["drops", "list", "--json"]) == 0
    (drop,) = json.loads(capsys.readouterr().out)
    return {name: asset["state"] for name, asset in drop["assets"].items()}


def is_finished(lineage: Lineage) -> bool:
    source = read_drop(lineage.store, "traps").source
    done_drops = find_done_drops(
        lineage.store, list_stamps(lineage.store), {"traps": source}, remembered={}
    )
    return done_drops.finished == {"traps"}


def test_boxes__other_boxes_make_the_tiles_old(lineage: Lineage, capsys, tmp_path: Path):
    assert find_states(capsys) == dict.fromkeys(("images", "tiles", "embeddings"), "made")
    assert is_finished(lineage)
    assert main(["drops", "list"]) == 0
    assert "(boxes)" in capsys.readouterr().out
    assert main(["drops", "register", "traps", "--least-score", "0.8"]) == 0
    printed = capsys.readouterr().out
    assert "boxes: 72 boxes in 32 pictures (megadetector), boxes with a score below 0.8" in printed
    assert find_states(capsys)["tiles"] == "old"
    assert not is_finished(lineage)
    lineage.embed("traps")
    assert lineage.metadata("images", "traps")["was_reused"] is True
    assert open_table(lineage.store, "tiles").rows == 8
    # Their vectors are copied from the drop's earlier ones, so no picture is embedded again.
    assert lineage.metadata("embeddings", "traps")["shards_were"]["shards_copied"] == 1
    assert is_finished(lineage)
    assert main(["drops", "register", "traps", "--no-boxes"]) == 0
    assert find_states(capsys)["tiles"] == "old"


def test_drops_register__refuses_boxes(project: Path, write_photo, refuse):
    write_photo(project / "inbox" / "a" / "IMG_0001.JPG")
    (project / "broken.json").write_text("{")
    refuse(InvalidBoxesError, "drops", "register", "a", "--boxes", "broken.json")
    refuse(InvalidBoxesError, "drops", "register", "a", "--boxes", "missing.json")
    refuse(ConfigError, "drops", "register", "a", "--least-score", "0.5")
