"""Commands outside a project: refused with advice, and nothing is created there."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

import dino_assets.definitions  # noqa: F401 - Dagster warns at its first import, see defs/partitions.py
from dino_assets.cli import main, make_parser
from dino_assets_tests.conftest import photo_bytes

COMMANDS = [
    ["drops", "list"],
    ["drops", "list", "--json"],
    ["drops", "register", "a", "--from", "card"],
    ["drops", "tag", "a", "fire"],
    ["drops", "retire", "a"],
    ["drops", "restore", "a"],
    ["drops", "report", "a"],
    ["run", "a", "--from", "card"],
    ["run", "--select", "curate"],
    ["select"],
    ["rounds"],
    ["labels", "export", "1", "--to", "out"],
    ["labels", "import", "card"],
    ["labels", "status"],
    ["labels", "status", "--json"],
    ["labels", "freeze", "--to", "out", "--licence", "CC0-1.0"],
    ["status"],
    ["status", "--json"],
    ["rounds", "--json"],
    ["probe", "train"],
    ["probe", "predict", "a", "--npz", "out/predictions.npz"],
    ["find", "card/a.jpg", "--sheet", "out/sheet.jpg"],
    ["like", "card/a.jpg", "--name", "smoke", "--sheet", "out/sheet.jpg"],
    ["like", "--list"],
    ["like", "--remove", "smoke"],
    ["heat-map", "a", "--to", "out/heat"],
    ["duplicates", "--sheet", "out/sheet.jpg"],
    ["curve"],
    ["curve", "--json"],
    ["slices"],
    ["verify", "round-0001", "--recompute"],
    ["parts", "tiles", "a"],
    ["export", "projections", "--to", "out"],
    ["export", "selections", "round-0001", "--to", "out"],
    ["footprints", "tiles", "a", "--to", "a.gpkg"],
    ["footprints", "selections", "round-0001", "--to", "a.gpkg"],
    ["verify"],
    ["verify", "--repair"],
    ["collect"],
    ["collect", "--dry-run"],
    ["doctor"],
    ["ui"],
    ["studio"],
    ["serve"],
    ["demo"],
]
# These need no project: they write only the named files.
ANYWHERE = {
    "attention",
    "bench-serve",
    "check-model",
    "completion",
    "embed",
    "fetch",
    "import",
    "samples checkpoint",
    "tiles preview",
    "export-model",
}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is no project, with a card's files in it."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    folder = tmp_path / "elsewhere"
    (folder / "card").mkdir(parents=True)
    (folder / "card" / "a.jpg").write_bytes(photo_bytes(1200, 900))
    monkeypatch.chdir(folder)
    return folder


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_main__creates_nothing_outside_a_project(elsewhere, capsys, command: list[str]):
    paths_before = everything_in(elsewhere)
    assert main(command) == 1
    printed = capsys.readouterr()
    assert everything_in(elsewhere) == paths_before
    assert "Run this in the project's folder" in printed.out + printed.err
    assert "Traceback" not in printed.err


def test_tiles_preview__needs_no_project(elsewhere):
    paths_before = everything_in(elsewhere)
    assert main(["tiles", "preview", "card/a.jpg"]) == 0
    assert everything_in(elsewhere) - paths_before == {"out", "out/a.jpg.tiles.png"}


def test_attention__needs_no_project(elsewhere, checkpoint_dir):
    paths_before = everything_in(elsewhere)
    assert main(["attention", "card/a.jpg", "--model", str(checkpoint_dir)]) == 0
    assert everything_in(elsewhere) - paths_before == {"out", "out/a.jpg.attention.png"}


def test_commands__all_are_covered_by_this_file():
    names = {
        " ".join(c[:2]) if c[0] in ("drops", "labels", "probe", "tiles") else c[0] for c in COMMANDS
    }
    assert set(list_commands(make_parser())) == names | ANYWHERE


def list_commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[str]:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield name
    for group in groups:
        for word, subparser in group.choices.items():
            yield from list_commands(subparser, f"{name} {word}".strip())
