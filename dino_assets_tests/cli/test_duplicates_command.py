"""``dino-assets duplicates``: tiles that repeat an earlier one, and the three causes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dino_assets as da
from dino_assets.cli import main
from dino_assets.errors import ConfigError, NotCommittedError
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(project, write_photo, instance, short_trial, prepared: Prepared) -> Lineage:
    """Three drops: a photograph, a copy of it beside another one, and one that turned it around."""
    lineage = Lineage(instance)

    def prepare() -> None:
        inbox = project / "inbox"
        photo = write_photo(inbox / "a" / "DJI_0001.JPG", 1600, 1200, seed=1)
        write_photo(inbox / "b" / "DJI_0001.JPG", 1600, 1200, seed=2)
        (inbox / "b" / "DJI_0009.JPG").write_bytes(photo.read_bytes())
        (inbox / "c").mkdir()
        with Image.open(photo) as picture:
            picture.save(inbox / "c" / "saved_again.jpg", quality=95)
        for name in "abc":
            lineage.register(name, inbox / name)
        lineage.embed("a", "c")

    prepared.fill(prepare, instance=instance)
    return lineage


@pytest.fixture
def list_duplicates(lineage, capsys):
    """Runs the command; returns what it prints as JSON."""

    def run(*arguments: str) -> dict:
        capsys.readouterr()
        assert main(["duplicates", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_duplicates__three_causes(list_duplicates):
    listed = list_duplicates("--cosine", "0.9999999")
    causes = {(row["drop"], row["cause"]) for row in listed["repeated"]}
    assert ("b", "same file") in causes
    assert ("a", "same file") not in causes  # of a copy, the first drop's tiles are the first ones
    copies = [row for row in listed["repeated"] if row["cause"] == "same file"]
    assert {(row["drop"], row["first_drop"]) for row in copies} == {("b", "a")}
    assert all(row["tile_id"] == row["first_tile_id"] for row in copies)
    assert len(copies) == listed["causes"]["same file"] == 24


def test_duplicates__saved_again_is_elsewhere_and_windows_are_ground(list_duplicates):
    """With random weights nearly all tiles are alike, so every cause occurs."""
    listed = list_duplicates("--cosine", "0.9")
    assert CAVEAT in listed["caveat"]
    assert listed["tiles"] == 24 * 4
    ids = {(row["drop"], row["tile_id"]): row for row in listed["repeated"]}
    assert len(ids) == len(listed["repeated"]) == sum(listed["causes"].values())
    for row in listed["repeated"]:
        if row["cause"] == "same ground":  # these pictures have no GPS
            assert row["image_id"] == row["first_image_id"]
        if row["drop"] == "c" and row["first_drop"] == "a":
            assert row["cause"] == "elsewhere"
    assert {row["cause"] for row in listed["repeated"]} == {"same ground", "elsewhere"} | (
        {"same file"} if listed["causes"]["same file"] else set()
    )


def test_duplicates__are_what_the_cosines_say(list_duplicates):
    listed = list_duplicates("--cosine", "0.99")
    vectors = da.open_project().vectors()
    units = vectors.matrix.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    places = {
        each: row for row, each in enumerate(zip(vectors.drops, vectors.tile_ids, strict=True))
    }
    repeated = set()
    for row in listed["repeated"]:
        one, other = (
            places[row["drop"], row["tile_id"]],
            places[row["first_drop"], row["first_tile_id"]],
        )
        assert row["cosine"] == pytest.approx(units[one] @ units[other], abs=1e-6)
        assert other < one
        repeated.add(one)
    firsts = [row for row in range(len(units)) if row not in repeated]
    between = units[firsts] @ units[firsts].T
    np.fill_diagonal(between, 0)
    assert between.max() < 0.99
    sizes = np.bincount([row["group"] for row in listed["repeated"]])[1:]
    assert len(sizes) == listed["groups"]
    assert (np.diff(sizes) <= 0).all()


def test_duplicates__of_one_drop(list_duplicates):
    listed = list_duplicates("--drop", "b", "--cosine", "1.0")
    assert listed["tiles"] == 48
    assert listed["causes"]["same file"] == 0


def test_duplicates__table_sheet_and_summary(lineage, capsys):
    words = ["duplicates", "--cosine", "0.95", "--to", "d.csv", "--sheet", "out/d.jpg"]
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    (summary,) = [line for line in printed if " repeat an earlier one, in " in line]
    with Path("d.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert summary.startswith(f"{len(rows)} of 96 tiles ")
    assert {"group", "drop", "tile_id", "first_tile_id", "cosine", "cause"} <= rows[0].keys()
    with Image.open("out/d.jpg") as sheet:
        assert min(sheet.size) > 150


@pytest.mark.parametrize("cosine", ["0", "1.5", "-1", "nan"])
def test_duplicates__cosine_out_of_range(lineage, cosine: str):
    with pytest.raises(ConfigError) as caught:
        da.open_project().duplicates(float(cosine))
    assert caught.value.setting == "cosine"


def test_duplicates__nothing_is_embedded(lineage, capsys):
    for info in list(lineage.store.list("manifests/embeddings")):
        lineage.store.delete(info.key)
    assert main(["duplicates"]) == 1
    with pytest.raises(NotCommittedError):
        da.open_project().duplicates()
