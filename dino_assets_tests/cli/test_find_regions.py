"""``dino-assets find --regions``: objects that are much smaller than a tile."""

import json

import numpy as np
import pytest
from PIL import Image

import dino_assets as da
from dino_assets.cli import main
from dino_assets.errors import ConfigError
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(project, instance, short_trial, prepared: Prepared) -> Lineage:
    """Two drops of 24 tiles; "a" and "b" have regions, "c" has none."""
    lineage = Lineage(instance)

    def prepare() -> None:
        lineage.photograph("abc")
        lineage.embed("a", "b", embeddings={"regions": "4x4"})
        lineage.embed("c")

    prepared.fill(prepare, instance=instance)
    return lineage


@pytest.fixture
def find(lineage, capsys):
    def run(*arguments: str) -> list[dict]:
        capsys.readouterr()
        names = ["--drop", "a", "--drop", "b", "--regions", "--json"]
        assert main(["find", *arguments, *names]) == 0
        return json.loads(capsys.readouterr().out)["tiles"]

    return run


def contains(outer: list[int], x: int, y: int, w: int, h: int) -> bool:
    left, top, width, height = outer
    return left <= x and top <= y and x + w <= left + width and y + h <= top + height


def test_find_regions__an_object_is_found_where_it_is(find, project):
    """The query is a region of a stored tile, embedded with that tile around it: the vectors are equal."""
    rows = da.open_project().table("tiles").read("a").to_pylist()
    tile = rows[9]
    x, y, w, h = (
        tile["x"] + tile["w"] // 4,
        tile["y"] + tile["h"] // 2,
        tile["w"] // 4,
        tile["h"] // 4,
    )
    # Around this window lies another tile than the stored one, so the vectors are only nearly equal.
    photo = project / "inbox" / "a" / "DJI_0001.JPG"
    first, *_ = find(f"{photo}:{x},{y},{w},{h}", "-k", "5")
    assert first["drop"] == "a"
    assert first["region"] is not None
    left, top, width, height = first["region"]
    assert contains([first[name] for name in "xywh"], left, top, width, height)
    assert max(left, x) < min(left + width, x + w)
    assert max(top, y) < min(top + height, y + h)


def test_find_regions__each_tile_once_by_its_best_region(find, project):
    vectors = da.open_project().table("embeddings").read("a")
    regions = np.stack(vectors["regions"].to_numpy(zero_copy_only=False)).astype(np.float32)
    regions = regions.reshape(len(regions), 16, -1)
    query = regions[3, 7]
    np.save(project / "query.npy", query)
    tiles = find("query.npy", "-k", "100", "--all-windows")
    assert len({tile["tile_id"] for tile in tiles}) == len(tiles) == 48
    assert tiles[0]["tile_id"] == vectors["tile_id"][3].as_py()
    assert tiles[0]["cosine"] == pytest.approx(1, abs=1e-6)
    cosines = regions @ query / np.linalg.norm(regions, axis=2) / np.linalg.norm(query)
    best = dict(zip(vectors["tile_id"].to_pylist(), cosines.max(axis=1), strict=True))
    for tile in (tile for tile in tiles if tile["drop"] == "a"):
        assert tile["cosine"] == pytest.approx(best[tile["tile_id"]], abs=1e-5)


def test_find_regions__the_sheet_frames_the_region(find, lineage, project):
    tile_id, *_ = da.open_project().vectors("a").tile_ids
    find(tile_id, "-k", "2", "--sheet", "out/framed.png")
    assert main(["find", tile_id, "-k", "2", "--sheet", "out/plain.png"]) == 0
    sheets = [np.asarray(Image.open(project / "out" / f"{n}.png")) for n in ("framed", "plain")]
    yellow = [(sheet[..., :2] > 190).all(axis=2) & (sheet[..., 2] < 140) for sheet in sheets]
    assert yellow[0].sum() > 100
    assert yellow[1].sum() < 20


def test_find_regions__of_a_tile(find, lineage):
    tile_id, *_ = da.open_project().vectors("a").tile_ids
    tiles = find(tile_id, "-k", "3")
    assert len(tiles) == 3
    assert all(tile["tile_id"] != tile_id for tile in tiles)


def test_find_regions__refusals(lineage, refuse):
    tile_id, *_ = da.open_project().vectors("a").tile_ids
    refuse(ConfigError, "find", tile_id, "--regions")  # "c" has none
    assert main(["find", tile_id, "--regions", "--drop", "a"]) == 0
