"""Rounds with unreadable drops: unmounted, changed, or tiled again."""

import os
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.defs.conftest import Lineage, checks, failure
from dino_assets_tests.defs.test_chosen_drops import drops_of
from dino_assets_tests.defs.test_rounds import chosen, pick
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(lineage: Lineage, prepared: Prepared) -> Lineage:
    """Three embedded drops with one photograph each."""

    def prepare() -> None:
        lineage.photograph("abc")
        lineage.embed("a", "c")

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def photo(lineage: Lineage, drop: str) -> Path:
    return lineage.settings.root / "inbox" / drop / "DJI_0001.JPG"


def unmount(lineage: Lineage, drop: str) -> None:
    folder = photo(lineage, drop).parent
    folder.rename(folder.with_name(f"{drop}-away"))


def mount(lineage: Lineage, drop: str) -> None:
    folder = photo(lineage, drop).parent
    folder.with_name(f"{drop}-away").rename(folder)


def flip_a_byte(path: Path) -> None:
    """Change a file without changing its size or time."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("harm", ["unmounted", "empty", "changed", "flipped"])
def test_round__leaves_out_one_drop_and_says_why(lineage: Lineage, capsys, harm: str):
    path = photo(lineage, "b")
    if harm == "unmounted":
        unmount(lineage, "b")
    elif harm == "empty":  # an empty folder to mount into
        path.unlink()
    elif harm == "changed":
        path.write_bytes(photo(lineage, "a").read_bytes())
    else:
        flip_a_byte(path)
    assert pick(lineage, budget=20).success
    manifest = chosen(lineage, 1)
    assert drops_of(lineage, 1) == {"a", "c"}
    assert (manifest.rows, manifest.facts["pool"]) == (20, 48)
    (reason,) = manifest.facts["left_out"].values()
    assert manifest.facts["left_out"].keys() == {"b"}
    assert ("inbox/b" if harm == "unmounted" else "DJI_0001.JPG") in reason
    # The same round from the command line, with the same message.
    assert main(["select", "--budget", "20", "--all-windows"]) == 0
    lines = capsys.readouterr().out.splitlines()
    model = lineage.settings.model
    assert lines[0] == f"round-0001: reused, 20 tiles of a pool of 48, from a, c, by {model}"
    assert f"left out b, which could not be read when the round was chosen: {reason}" in lines
    assert not [line for line in lines if line.startswith("registered but not embedded")]


def test_round__left_out_drops_are_logged_and_checked(lineage: Lineage, caplog):
    unmount(lineage, "b")
    assert pick(lineage).success
    (reason,) = chosen(lineage, 1).facts["left_out"].values()
    # Dagster shows it in the run's log: `managed_python_loggers` of dagster.yaml.
    messages = [
        r.getMessage() for r in caplog.records if r.name.startswith("dino_assets.selections")
    ]
    assert messages == [f"left out drop 'b', which cannot be read: {reason}"]
    result = lineage.run("a", projections={"method": "linear"}, selections={"budget": 4})
    assert checks(result)["selections_are_sound"].description.endswith(
        "4 tiles of a pool of 48; b left out, unreadable when it was chosen"
    )
    assert lineage.metadata("selections")["left_out"] == {"b": reason}


def test_round__readable_drops_have_no_warning(lineage: Lineage):
    assert pick(lineage).success
    assert "left_out" not in chosen(lineage, 1).facts
    # Chosen tiles are not chosen again, and the unreadable drop is in the next round's pool.
    unmount(lineage, "a")
    assert pick(lineage, round=2).success
    mount(lineage, "a")
    assert pick(lineage, round=3, budget=36).success
    assert drops_of(lineage, 3) == {"a", "b", "c"}


def test_round__drop_tiled_again_and_not_embedded(lineage: Lineage, write_photo):
    write_photo(photo(lineage, "b"), 1600, 1200, seed=77)
    lineage.register("b", photo(lineage, "b").parent)
    assert lineage.run("b", only=["images", "tiles"]).success
    assert pick(lineage, budget=20).success
    assert "Materialise `embeddings`" in chosen(lineage, 1).facts["left_out"]["b"]


def test_round__budget_is_compared_with_the_readable_pool(lineage: Lineage):
    unmount(lineage, "b")
    keys_before = {info.key for info in lineage.store.list()}
    # Half of the 72 tiles of all drops, but more than half of what can be read.
    text = failure(pick(lineage, budget=36), "selections")
    assert "more than half of the pool: the pool has 48 tiles, without b, which cannot" in text
    assert {info.key for info in lineage.store.list()} == keys_before


def test_round__nothing_can_be_read(lineage: Lineage):
    for drop in "abc":
        photo(lineage, drop).unlink()
    text = failure(pick(lineage), "selections")
    assert "SourceError: the round cannot be chosen" in text
    assert "drop 'a': cannot read 'DJI_0001.JPG'" in text
    assert not list(lineage.store.list("manifests/selections"))
    text = failure(pick(lineage, drops=["b"]), "selections")
    assert "drop 'b': cannot read 'DJI_0001.JPG'" in text


def test_round__keeps_its_pictures_when_drops_disappear(lineage: Lineage, tmp_path):
    assert pick(lineage).success
    manifest_before = chosen(lineage, 1)
    for drop in "abc":
        unmount(lineage, drop)
    assert main(["export", "selections", "round-0001", "--to", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out" / "tiles").iterdir())) == 4
    assert (tmp_path / "out" / "contact-sheet.jpg").is_file()
    assert pick(lineage).success
    assert chosen(lineage, 1) == manifest_before
    assert not list(verify(lineage.store))


def test_round__chosen_again_without_the_left_out_drops(lineage: Lineage):
    unmount(lineage, "b")
    assert pick(lineage, budget=20).success
    manifest_before = chosen(lineage, 1)
    table = next(part for part in manifest_before.parts if part.name is None)
    lineage.store.delete(table.key)
    # Its drops are missing: it is not chosen from other drops instead.
    for drop in "ac":
        unmount(lineage, drop)
    mount(lineage, "b")
    result = pick(lineage, budget=20)
    assert "drop 'a': " in failure(result, "selections")
    assert chosen(lineage, 1) == manifest_before
    for drop in "ac":
        mount(lineage, drop)
    assert pick(lineage, budget=20).success
    assert chosen(lineage, 1) == manifest_before
    assert not list(verify(lineage.store))
