"""``dino-assets select`` and ``rounds``: other models, unreadable drops, lists of rounds."""

import json
import shutil

import pytest

from dino_assets.cli import main
from dino_assets.cli.terminal import name_command
from dino_assets.errors import (
    CommitRefusedError,
    ConfigError,
    CorruptObjectError,
    NotCommittedError,
    SourceError,
)
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.records import COPIES
from dino_assets.store.upkeep.verifying import verify
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets.weights.stage import OUTPUT
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(project, instance, short_trial, prepared: Prepared) -> Lineage:
    """Three embedded drops of 24 tiles each."""
    lineage = Lineage(instance)

    def prepare() -> None:
        lineage.photograph("abc")
        lineage.embed("a", "c")

    prepared.fill(prepare, instance=instance)
    return lineage


def test_select__warns_that_another_model_is_configured(lineage, monkeypatch, capsys):
    def choose(number: int) -> tuple[str, str]:
        capsys.readouterr()
        assert main(["select", "--round", str(number), "--budget", "3", "--all-windows"]) == 0
        printed = capsys.readouterr()
        return printed.out.splitlines()[0], printed.err

    model = lineage.settings.model
    first, errors = choose(1)
    assert first.endswith(f", by {model}")
    assert errors == ""
    monkeypatch.setenv("DINO_MODEL_ID", "models/dinvo2")
    line, errors = choose(2)
    assert line.endswith(f", by {model}")
    assert errors.startswith("WARNING: ")
    assert "the configured model is 'models/dinvo2', but" in errors
    assert f"are of {model!r}" in errors
    assert f": {name_command()} run NAME --select weights,images,tiles,embeddings;" in errors
    # The asset warns as well, in the run's log.
    assert (
        Lineage(lineage.instance)
        .run(only=["selections"], selections={"round": 3, "all_windows": True})
        .success
    )
    assert "the configured model is 'models/dinvo2', but" in capsys.readouterr().err
    # Another path to the same folder is the same model; a copy is another model.
    shutil.copytree(model, lineage.settings.root / "models" / "other")
    (lineage.settings.root / "models" / "linked").symlink_to(model)
    monkeypatch.setenv("DINO_MODEL_ID", "models/linked")
    assert choose(4)[1] == ""
    monkeypatch.setenv("DINO_MODEL_ID", "models/other")
    assert "the configured model is 'models/other', but" in choose(5)[1]


def test_select__left_out_drops_are_tried_again(lineage, capsys, refuse):
    inbox = lineage.settings.root / "inbox"

    def choose(*options: str) -> list[str]:
        capsys.readouterr()
        assert main(["select", "--budget", "4", *options]) == 0
        return capsys.readouterr().out.splitlines()

    (inbox / "b").rename(inbox / "away")
    (line,) = [line for line in choose() if line.startswith("left out b")]
    reason = line.removeprefix("left out b, which could not be read: ")
    lines = choose()
    assert f"left out b, which could not be read when the round was chosen: {reason}" in lines
    assert "b now: it still cannot be read" in lines
    (inbox / "away").rename(inbox / "b")
    lines = choose()
    assert "b now: all its files are present" in lines
    (advice,) = [line for line in lines if line.endswith(" --replace")]
    assert advice.startswith("round-0001 stays unchanged. ")
    # If a later round depends on it, the advice differs.
    assert choose("--round", "2")[0].startswith("round-0002: chosen, ")
    (advice,) = [line for line in choose() if line.startswith("round-0001 stays unchanged")]
    assert advice.endswith(f"{name_command()} select --round 3 --drop b")
    refuse(ConfigError, "select", "--budget", "4", "--replace")


def test_select__replace_includes_left_out_drops(lineage, capsys):
    inbox = lineage.settings.root / "inbox"
    (inbox / "b").rename(inbox / "away")
    assert main(["select", "--all-windows"]) == 0
    (inbox / "away").rename(inbox / "b")
    capsys.readouterr()
    assert main(["select", "--all-windows", "--replace"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("round-0001: chosen, 20 tiles of a pool of 72, from a, b, c, by ")
    assert not [line for line in lines if "left out" in line]
    assert not list(verify(lineage.store))


def test_select__from_less_than_half_of_the_pool(lineage, capsys, refuse):
    inbox = lineage.settings.root / "inbox"
    for name in "bc":
        (inbox / name).rename(inbox / f"{name}-away")
    keys_before = {info.key for info in lineage.store.list()}
    sentence = refuse(SourceError, "select", "--budget", "4")
    assert sentence.startswith("48 of the 72 tiles of the round's pool cannot be")
    assert "drop 'b': " in sentence
    assert "drop 'c': " in sentence
    assert {info.key for info in lineage.store.list()} == keys_before
    assert main(["select", "--budget", "4", "--all"]) == 0
    assert capsys.readouterr().out.startswith(
        "round-0001: chosen, 4 tiles of a pool of 24, from a,"
    )
    # It is unchanged, and the question is not repeated.
    assert main(["select", "--budget", "4"]) == 0


def test_rounds__lists_all(lineage, capsys):
    assert main(["rounds"]) == 0
    assert capsys.readouterr().out.startswith("no rounds yet. ")
    assert main(["select", "--budget", "4", "--drop", "a", "--strategy", "fps"]) == 0
    inbox, model = lineage.settings.root / "inbox", lineage.settings.model
    (inbox / "b").rename(inbox / "away")
    assert main(["select", "--round", "2", "--all-windows"]) == 0
    capsys.readouterr()
    assert main(["rounds"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"round-0001  4 tiles of 24  fps  {model}  512 px  a 4"
    assert lines[1].startswith("  note: The model has random weights")
    assert lines[2].startswith(f"round-0002  20 tiles of 48  herding+swaps  {model}  512 px  a ")
    assert lines[3] == "  left out, because they could not be read at that time: b"
    assert main(["rounds", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    (space,) = list_spaces(lineage.store, "selections")
    assert first == {
        "name": "round-0001",
        "round": 1,
        "space": space,
        "model": model,
        "side_px": 512,
        "tiles": 4,
        "pool": 24,
        "strategy": "fps",
        "tiles_by_drop": {"a": 4},
        "pool_drops": ["a"],
        "left_out": {},
        "caveat": CAVEAT,
        "error": "",
    }
    assert sum(second["tiles_by_drop"].values()) == 20
    assert second["pool_drops"] == ["a", "c"]
    assert second["left_out"].keys() == {"b"}


def test_rounds__replaced_weights_and_damaged_table(lineage, capsys):
    assert main(["select", "--budget", "4"]) == 0
    rounds = open_table(
        lineage.store, "selections", space=list_spaces(lineage.store, "selections")[0]
    )
    (table,) = [part for part in rounds.manifest("round-0001").parts if part.name is None]
    lineage.store.delete(table.key)
    lineage.store.delete(manifest_key(OUTPUT))
    capsys.readouterr()
    assert main(["rounds"]) == 1
    line, damage, *_ = capsys.readouterr().out.splitlines()
    assert "a model that is no longer in the store" in line
    assert damage.startswith("  damaged: the tiles of round-0001 cannot be read")


def test_rounds__emptied_round_is_restored_or_set_aside(lineage, capsys, refuse):
    assert main(["select", "--budget", "4"]) == 0
    (space,) = list_spaces(lineage.store, "selections")
    key = manifest_key(OutputId("selections", "round-0001", space))
    record_data = lineage.store.get(key)
    refuse(CommitRefusedError, "rounds", "--set-aside", "1")

    lineage.store.put(key, b"")
    advice = refuse(CorruptObjectError, "select", "--round", "2", "--budget", "4")
    assert "verify --repair" in advice
    refuse(CommitRefusedError, "rounds", "--set-aside", "1")
    assert main(["verify", "--repair"]) == 1
    assert "It was restored from its copy" in capsys.readouterr().out
    assert lineage.store.get(key) == record_data
    assert main(["select", "--round", "2", "--budget", "4"]) == 0

    last_key = manifest_key(OutputId("selections", "round-0002", space))
    lineage.store.put(last_key, b"")
    lineage.store.delete(COPIES + last_key)
    capsys.readouterr()
    assert main(["verify", "--repair"]) == 1
    command = f"rounds --set-aside round-0002 --space {space}"
    assert f" {command}`." in capsys.readouterr().out
    assert main(command.split()) == 0
    assert f"round-0002 in space {space}" in capsys.readouterr().out
    assert main(["verify"]) == 0
    assert main(["select", "--round", "2", "--budget", "4"]) == 0
    refuse(NotCommittedError, "rounds", "--set-aside", "7")
