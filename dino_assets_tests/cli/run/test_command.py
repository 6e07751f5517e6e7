"""`dino-assets run`, in this process."""

import argparse
import re
import shlex
import shutil
from pathlib import Path

import dagster as dg
import pytest

from dino_assets.cli import main
from dino_assets.cli.run.command import read_selection
from dino_assets.cli.terminal import name_command
from dino_assets.defs.dead_runs import PARTITION_TAG
from dino_assets.defs.instance import open_instance
from dino_assets.demo.place import make_demo_folder, settings_of_demo
from dino_assets.errors import ConfigError, DropConflictError, SourceError, UnknownDropError
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.catalogue import LINEAGE
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import open_store

LINEAR = ("--config", "linear.json")
CARD = ("--select", "weights,images,tiles")

pytestmark = pytest.mark.usefixtures("short_trial")


def runs(project: Path) -> list[tuple[str, str, str]]:
    """List job, drop and status of all runs, oldest first."""
    with open_instance(project) as instance:
        return [
            (run.job_name, run.tags.get(PARTITION_TAG, ""), run.status.value)
            for run in reversed(instance.get_runs())
        ]


def test_run__a_new_drop_from_photographs_to_a_round(cards: Path, capsys):
    assert main(["run", "a", "--from", "cards/a", *LINEAR]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == f"a: registered, {cards / 'cards' / 'a'}"
    assert re.fullmatch(r"a: job ingest, run [0-9a-f]{8}", lines[1])
    for asset in LINEAGE:
        assert [line for line in lines if re.match(rf"  {asset} .*, [\d.]+ s\b", line)], asset
    assert any("forecast: " in line for line in lines)
    assert len(lines) < 22
    assert "random weights" in lines[-1]
    assert printed.err == ""
    assert runs(cards) == [("ingest", "a", "SUCCESS"), ("curate", "", "SUCCESS")]

    assert main(["run", "a", *LINEAR]) == 0
    second_output = capsys.readouterr().out
    assert "Nothing was computed: 6 outputs were reused." in second_output
    assert "registered" not in second_output


def test_run__printed_next_commands_work(cards: Path, write_photo, capsys):
    """Until no tile is left: 29 photographs of one tile, a round of 20, then a round of 9."""
    for number in range(1, 30):
        name = f"DJI_{number:04d}.JPG"  # the first one replaces a larger photograph
        write_photo(cards / "cards" / "a" / name, 640, 480, seed=number)
    assert main(["run", "a", "--from", "cards/a", *LINEAR]) == 0
    command = name_command() + " "

    def read_printed() -> list[str]:
        lines = capsys.readouterr().out.splitlines()
        return [line.partition(command)[2] for line in lines if command in line]

    printed = read_printed()
    assert [words.split()[0] for words in printed] == ["drops", "export", "export", "select", "ui"]
    assert printed[3] == "select --round 2 --budget 9"
    for words in printed[:-1]:
        assert main(shlex.split(words)) == 0
    assert (cards / "out" / "map" / "map.html").is_file()
    assert (cards / "out" / "round-1" / "contact-sheet.jpg").is_file()
    capsys.readouterr()
    assert main(["run", "a", *LINEAR]) == 0
    assert [words.split()[0] for words in read_printed()] == ["drops", "export", "export", "ui"]


def test_run__drop_that_arrived_after_the_rounds(cards: Path, capsys):
    """Committed rounds never change, so no round has its tiles: the command says so."""
    command = name_command()

    def run(name: str) -> list[str]:
        capsys.readouterr()
        assert main(["run", name, "--from", f"cards/{name}", *LINEAR]) == 0
        return capsys.readouterr().out.splitlines()

    assert not [line for line in run("a") if "no round has" in line]
    lines = run("b")
    chosen_line = f"chosen   {command} export selections round-000{{0}} --to out/round-{{0}}"
    assert chosen_line.format(1) in lines
    assert "         no round has a tile of b yet; this command chooses some:" in lines
    more_command = lines[lines.index(chosen_line.format(1)) + 2].removeprefix(
        f"more     {command} "
    )
    assert more_command == "select --round 2 --drop b"
    assert main(more_command.split()) == 0
    lines = run("b")
    assert chosen_line.format(2) in lines
    assert not [line for line in lines if "no round has" in line or line.startswith("more ")]


def test_run__several_drops_and_one_map_of_all(cards: Path, capsys):
    for name in ("a", "b"):
        assert main(["drops", "register", name, "--from", f"cards/{name}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"next: {name_command()} run b"
    assert main(["run", "b", "a", "b", *LINEAR]) == 0
    assert runs(cards) == [
        ("ingest", "b", "SUCCESS"),
        ("ingest", "a", "SUCCESS"),
        ("curate", "", "SUCCESS"),
    ]
    assert "all drops: job curate, run " in capsys.readouterr().out


def test_run__failed_drop_stops_only_the_round(cards: Path, capsys):
    for name in ("a", "bad"):
        assert main(["drops", "register", name, "--from", f"cards/{name}"]) == 0
    capsys.readouterr()
    assert main(["run", "bad", "a", *LINEAR]) == 1
    printed = capsys.readouterr()
    assert runs(cards) == [("ingest", "bad", "FAILURE"), ("ingest", "a", "SUCCESS")]
    errors = printed.err.splitlines()
    assert errors[0].startswith("bad failed. images_are_usable: 0 of 1 files are usable")
    command = name_command()
    assert f"look at  {command} drops report bad" in errors
    assert errors[-2:] == [
        f"again    {command} run bad a --config linear.json",
        f"details  {command} run bad a --config linear.json --debug",
    ]
    assert "Traceback" not in printed.out + printed.err
    with open_instance(cards) as instance:
        (failed_run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert any(line.endswith(f"/runs/{failed_run.run_id}") for line in errors)


def test_run__names_the_files_that_cannot_be_used(cards: Path, write_photo, capsys):
    for number in range(2, 5):
        photo = write_photo(cards / "cards" / "a" / f"DJI_000{number}.JPG", 1100, 700, seed=number)
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    assert main(["run", "a", "--from", "cards/a", "--select", "images"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    start = lines.index(
        "images_are_usable warns: 3 of 4 files are usable photographs, 1 quarantined"
    )
    assert lines[start + 1].startswith("DJI_0004.JPG: truncated")
    command = lines[start + 2].removeprefix(f"the report: {name_command()} ")
    assert main(shlex.split(command)) == 0
    assert "DJI_0004.JPG" in capsys.readouterr().out


def test_run__names_the_demo_ui_in_the_demo_folder(cards: Path, monkeypatch, capsys):
    demo = settings_of_demo(load_settings())
    make_demo_folder(demo)
    monkeypatch.chdir(demo.root)
    command = name_command()
    assert main(["run", "bad", "--from", "../cards/bad", "--select", "images"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert f"log      {command} demo --ui" in errors
    monkeypatch.chdir(cards)
    command = name_command()
    assert main(["run", "bad", "--from", "cards/bad", "--select", "images"]) == 1
    assert f"log      {command} ui" in capsys.readouterr().err.splitlines()


def test_run__failed_weights_end_all_runs(cards: Path, capsys, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", "./no-such-checkpoint")
    for name in ("a", "b"):
        assert main(["drops", "register", name, "--from", f"cards/{name}"]) == 0
    assert main(["run", "a", "b", *CARD]) == 1
    assert runs(cards) == [("ingest", "a", "FAILURE")]
    errors = capsys.readouterr().err
    assert "a failed. weights: CheckpointNotFoundError: " in errors
    assert "./no-such-checkpoint" in errors
    assert "Traceback" not in errors
    assert main(["run", "a", *CARD, "--debug"]) == 1
    assert re.search(r'File ".*", line \d+', capsys.readouterr().err)


def test_run__a_model_that_changed_is_refused_until_it_is_accepted(
    cards: Path, checkpoint_dir: Path, capsys, monkeypatch
):
    weights = Path(shutil.copytree(checkpoint_dir, cards / "mine")) / "model.safetensors"
    monkeypatch.setenv("DINO_MODEL_ID", "mine")
    assert main(["run", "a", "--from", "cards/a", *CARD]) == 0
    printed = capsys.readouterr().out
    assert 0 < printed.index("  weights ") < printed.index("  images ")  # before work could be lost
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert main(["run", "a", *CARD]) == 1
    assert (
        "weights: CheckpointChangedError: 'mine' has changed since it was stored"
        in capsys.readouterr().err
    )
    assert main(["doctor"]) == 1
    assert re.search(r"^FAIL checkpoint +'mine' has changed", capsys.readouterr().out, re.MULTILINE)
    # The old files are in the store, and the new ones can be accepted.
    assert main(["export", "weights", "--to", "before"]) == 0
    assert (cards / "before" / "model.safetensors").read_bytes() == data
    assert main(["run", "a", *CARD, "--accept-weights"]) == 0
    assert main(["run", "a", *CARD]) == 0
    capsys.readouterr()
    main(["doctor"])
    assert "FAIL checkpoint" not in capsys.readouterr().out


def test_run__a_folder_of_the_inbox_needs_no_source(cards: Path, capsys):
    (cards / "cards").rename(cards / "inbox")
    assert main(["run", "a", *CARD]) == 0
    assert f"a: registered, {cards / 'inbox' / 'a'}" in capsys.readouterr().out


def test_run__source_relative_to_the_working_directory(cards: Path, monkeypatch):
    monkeypatch.chdir(cards / "cards")
    assert main(["run", "a", "--from", "a", *CARD]) == 0
    assert runs(cards) == [("ingest", "a", "SUCCESS")]


def test_run__curate_without_a_drop(cards: Path):
    assert main(["run", "a", "--from", "cards/a", "--select", "ingest"]) == 0
    assert main(["run", "--select", "curate", *LINEAR]) == 0
    assert runs(cards) == [("ingest", "a", "SUCCESS"), ("curate", "", "SUCCESS")]


def test_run__registers_as_drops_register_does(cards: Path, refuse):
    sentence = refuse(UnknownDropError, "run", "nobody")
    assert "--from" in sentence
    refuse(SourceError, "run", "a", "--from", "cards/none")
    assert main(["run", "a", "--from", "cards/a", *CARD]) == 0
    refuse(DropConflictError, "run", "a", "--from", "cards/b", *CARD)
    refuse(DropConflictError, "run", "a", "--from", "cards/b", "--replace", *CARD)
    shutil.copytree(cards / "cards" / "a", cards / "moved")
    assert main(["run", "a", "--from", "moved", "--replace", *CARD]) == 0
    assert main(["drops", "retire", "a"]) == 0
    refuse(DropConflictError, "run", "a", *CARD)
    assert len(runs(cards)) == 2


def test_run__no_project_here(tmp_path: Path, refuse, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", "models/none")
    refuse(ConfigError, "run", "a", "--from", ".")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ["run"],
        ["run", "a", "--select", "curate"],
        ["run", "a", "--select", "imagse"],
        ["run", "a", "--select", ""],
        ["run", "a", "b", "--from", "cards/a"],
        ["run", "--from", "cards/a", "--select", "curate"],
        ["run", "a", "--from", "cards/a", "--config", "none.yaml"],
        ["run", "a", "--from", "cards/a", "--config", "broken.yaml"],
        ["run", "a", "--from", "cards/a", "--config", "list.yaml"],
        ["run", "a", "--from", "cards/a", "--config", "unknown.yaml"],
        ["run", "a", "--from", "cards/a", "--config", "value.yaml"],
        ["run", "a", "--from", "cards/a", "--select", "images", "--config", "linear.json"],
        ["run", "a", "--from", "cards/a", "--select", "images", "--accept-weights"],
    ],
)
def test_run__wrong_usage_is_exit_2_and_does_nothing(cards: Path, command: list[str], capsys):
    (cards / "broken.yaml").write_text("ops: {")
    (cards / "list.yaml").write_text("- ops")
    (cards / "unknown.yaml").write_text("ops: {selections: {config: {budgt: 3}}}")
    (cards / "value.yaml").write_text("ops: {selections: {config: {budget: many}}}")
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2
    assert "dino-assets run: error: " in capsys.readouterr().err
    assert not (cards / "data" / "drops").exists()


def test_run__the_config_of_several_runs(cards: Path):
    for name in ("a", "b"):
        assert main(["drops", "register", name, "--from", f"cards/{name}"]) == 0
    assert main(["run", "a", "b", *CARD]) == 0
    rows_before = open_table(open_store(load_settings().storage), "tiles").rows
    (cards / "small.yaml").write_text("ops: {tiles: {config: {tile_px: 224}}}")
    assert main(["run", "a", "b", *CARD, "--config", "small.yaml"]) == 0
    assert open_table(open_store(load_settings().storage), "tiles").rows > rows_before


def test_run__full_disk(cards: Path, small_disk: Path, monkeypatch, capsys):
    monkeypatch.setenv("DINO_STORAGE", str(small_disk / "data"))
    assert main(["drops", "register", "a", "--from", "cards/a"]) == 0
    (small_disk / "fill").write_bytes(bytes(2**20 - 2**15))
    assert main(["run", "a", *CARD]) == 1
    errors = capsys.readouterr().err
    assert "StoreFullError: " in errors
    assert "Traceback" not in errors
    (small_disk / "fill").unlink()
    assert main(["run", "a", *CARD]) == 0


def test_read_selection__in_lineage_order():
    assert read_selection("tiles,images") == ["images", "tiles"]
    assert read_selection("*") == read_selection("lineage") == list(LINEAGE)
    assert read_selection("ingest,curate") == list(LINEAGE)


@pytest.mark.parametrize("word", ["deployments", "deploy", "images,deploy"])
def test_read_selection__exports_are_refused(word):
    with pytest.raises(argparse.ArgumentTypeError, match="dino-assets export-model"):
        read_selection(word)
