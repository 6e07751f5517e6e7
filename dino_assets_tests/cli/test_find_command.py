"""``dino-assets find``: tiles similar to a tile, a picture, a window or a vector."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import dino_assets as da
from dino_assets.cli import main
from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(project, instance, short_trial, prepared: Prepared) -> Lineage:
    """Two drops of 24 tiles each, one of them with a copy of the other's photograph."""
    lineage = Lineage(instance)

    def prepare() -> None:
        lineage.photograph("ab")
        copy = project / "inbox" / "b" / "DJI_0009.JPG"
        copy.write_bytes((project / "inbox" / "a" / "DJI_0001.JPG").read_bytes())
        lineage.embed("a", "b")

    prepared.fill(prepare, instance=instance)
    return lineage


@pytest.fixture
def find(lineage, capsys):
    """Runs the command; returns its tiles."""

    def run(*arguments: str) -> list[dict]:
        capsys.readouterr()
        assert main(["find", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["tiles"]

    return run


@pytest.fixture
def tile_ids(lineage) -> tuple[str, ...]:
    return da.open_project().vectors("a").tile_ids


def overlaps(one: dict, other: dict) -> bool:
    return one["image_id"] == other["image_id"] and all(
        one[edge] < other[edge] + other[side] and other[edge] < one[edge] + one[side]
        for edge, side in (("x", "w"), ("y", "h"))
    )


def test_find__a_tile_in_the_order_of_cosines(find, tile_ids):
    tiles = find(tile_ids[0], "-k", "100", "--all-windows")
    vectors = da.open_project().vectors()
    units = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    cosines = dict(zip(vectors.tile_ids, units @ units[0], strict=True))  # a copy has one id
    del cosines[tile_ids[0]]
    assert {tile["tile_id"] for tile in tiles} == set(cosines)
    for tile in tiles:
        assert tile["cosine"] == pytest.approx(cosines[tile["tile_id"]], abs=1e-5)
    assert [tile["cosine"] for tile in tiles] == sorted((t["cosine"] for t in tiles), reverse=True)
    assert [tile["rank"] for tile in tiles] == list(range(1, len(tiles) + 1))


def test_find__one_tile_of_windows_that_overlap(find, tile_ids):
    tiles = find(tile_ids[0], "-k", "100")
    pairs = [(a, b) for a in tiles for b in tiles if a["rank"] < b["rank"]]
    assert not any(overlaps(one, other) for one, other in pairs)
    assert 4 <= len(tiles) < 40


def test_find__a_picture_of_a_tile_is_that_tile(find, project, tile_ids):
    """Cut out of the photograph and saved without loss, it is embedded to the stored vector."""
    (row,) = [
        row
        for row in da.open_project().table("tiles").read("a").to_pylist()
        if row["tile_id"] == tile_ids[5]
    ]
    x, y, w, h = (row[name] for name in "xywh")
    photo = project / "inbox" / "a" / "DJI_0001.JPG"
    (by_window, *_) = find(f"{photo}:{x},{y},{w},{h}", "-k", "3")
    with Image.open(photo) as picture:
        picture.crop((x, y, x + w, y + h)).save(project / "crop.png")
    (by_file, *_) = find("crop.png", "-k", "3")
    for tile in (by_window, by_file):
        assert tile["tile_id"] == tile_ids[5]
        assert tile["cosine"] == pytest.approx(1, abs=1e-5)


def test_find__unlike_leaves_out_what_is_nearer_to_another_query(find, project, tile_ids):
    vectors = da.open_project().vectors("a").matrix
    np.save(project / "query.npy", vectors[0])
    every = find("query.npy", "-k", "100", "--all-windows")
    assert every[0]["tile_id"] == tile_ids[0]
    kept = find("query.npy", "-k", "100", "--all-windows", "--not", tile_ids[7])
    assert 0 < len(kept) < len(every)
    assert tile_ids[0] in {tile["tile_id"] for tile in kept}
    assert tile_ids[7] not in {tile["tile_id"] for tile in kept}


def test_find__reads_the_stored_tables_once(find, project, tile_ids):
    first = find(tile_ids[0], "-k", "100")
    stored = [
        project / "data" / part.key
        for asset in ("embeddings", "tiles")
        for manifest in da.open_project().table(asset).manifests
        for part in manifest.parts
    ]
    assert stored
    for path in stored:
        path.unlink()
    assert find(tile_ids[0], "-k", "100") == first


def test_find__only_some_drops_and_a_sheet(find, project, capsys, tile_ids):
    assert {tile["drop"] for tile in find(tile_ids[0], "--drop", "b")} == {"b"}
    assert main(["find", tile_ids[0], "-k", "3", "--sheet", "out/similar.jpg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "1"
    assert CAVEAT in lines[-1]  # the tests' model has random weights
    with Image.open(project / "out" / "similar.jpg") as sheet:
        assert sheet.format == "JPEG"


def test_find__refusals(lineage, project, refuse):
    refuse(ConfigError, "find", "no-such-tile")
    refuse(ConfigError, "find", "no-such-tile", "-k", "0")
    np.save(project / "short.npy", np.ones(5, np.float32))
    refuse(InvalidVectorsError, "find", "short.npy")
    (project / "text.npy").write_text("no numbers")
    refuse(InvalidVectorsError, "find", "text.npy")
    tile_id, *_ = da.open_project().vectors("a").tile_ids
    np.save(project / "nan.npy", np.full(16, np.nan, np.float32))
    refuse(InvalidVectorsError, "find", "nan.npy")
    refuse(InvalidVectorsError, "find", tile_id, "--not", "nan.npy")
    photo = str(project / "inbox" / "a" / "DJI_0001.JPG")
    refuse(ConfigError, "find", f"{photo}:1500,0,512,512")
    refuse(ConfigError, "find", f"{photo}:1,2,3")


def test_find__a_picture_of_another_space_is_refused(lineage, project):
    opened = da.open_project()
    table = opened.table("embeddings")
    moved = replace(table, space="fedcba9876543210")
    from dino_assets.api.finding import read_query

    with pytest.raises(ConfigError) as caught:
        read_query(opened, moved, str(project / "inbox" / "a" / "DJI_0001.JPG"), "cls")
    assert caught.value.setting == "query"
