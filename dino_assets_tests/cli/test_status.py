"""`dino-assets status`, and `dino-assets` alone."""

import json
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets.cli.status import ProjectStatus, read_status
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.store.commits.listing import list_spaces
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.labels.giving import put_labels
from dino_assets_tests.worlds.ui import LINEAR

MAP = LINEAR["ops"]["projections"]["config"]


@pytest.fixture
def lineage(project, ready_engines, instance, short_trial, prepared) -> Lineage:
    """Two registered drops of 24 tiles each; one is embedded."""
    lineage = Lineage(instance)

    def prepare() -> None:
        lineage.photograph("ab")
        lineage.embed("a")

    prepared.fill(prepare, instance=instance)
    return lineage


def status_of(lineage: Lineage) -> ProjectStatus:
    return read_status(lineage.store, lineage.settings)


def test_status__counts_and_names_the_next_step(lineage: Lineage):
    status = status_of(lineage)
    assert (status.drops, status.unfinished) == (2, ("b",))
    assert (status.tiles, status.embedded, status.mapped, status.rounds) == (24, 24, 0, 0)
    assert status.next.endswith(" run b")


def test_status__after_the_round_it_is_handed_on(lineage: Lineage):
    assert lineage.run("b", projections=MAP, selections={"budget": 5}).success
    status = status_of(lineage)
    assert status.unfinished == ()
    assert (status.mapped, status.rounds, status.selected) == (48, 1, 5)
    assert " studio " in status.next


def test_status__after_answers_labels_are_made_and_then_the_next_round(lineage: Lineage):
    assert lineage.run("b", projections=MAP, selections={"budget": 5}).success
    put_labels(lineage.store, {"t1": "smoke"})
    status = status_of(lineage)
    assert (status.labels, status.unmerged) == (0, 1)
    assert status.next.endswith(" run --select learn")
    assert main(["run", "--select", "learn"]) == 0
    status = status_of(lineage)
    assert (status.labels, status.unmerged) == (1, 0)
    assert status.next.endswith(" select --round 2")


def test_status__a_map_and_a_round_come_after_the_drops(lineage: Lineage):
    assert main(["drops", "retire", "b"]) == 0
    status = status_of(lineage)
    assert (status.drops, status.unfinished) == (1, ())
    assert status.next.endswith(" run --select curate")


def test_status__counts_the_rounds_of_the_drops_own_space(lineage: Lineage):
    assert main(["drops", "retire", "b"]) == 0
    results = {"projections": MAP, "selections": {"budget": 5}}
    assert lineage.run("a", **results).success
    float32 = {"compute": ComputeResource(precision="fp32")}
    assert lineage.run(
        "a", resources=float32, projections=MAP, selections={"budget": 3, "all_windows": True}
    ).success
    spaces = list_spaces(lineage.store, "selections")
    assert len(spaces) == 2
    status = status_of(lineage)
    assert (status.rounds, status.last_round) == (1, "round-0001")


def test_status__a_damaged_record_is_named(lineage: Lineage):
    lineage.store.put("drops/b.json", b"{")
    status = status_of(lineage)
    assert status.unreadable == ("b",)
    assert status.drops == 1


def test_status__as_json(lineage: Lineage, capsys):
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unfinished"] == ["b"]


def test_main__without_a_command_shows_the_status(lineage: Lineage, capsys):
    assert main([]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {"project", "store", "model", "drops", "map", "rounds", "next", "help"} <= set(lines)
    assert "b" in lines["drops"]


def test_main__without_a_command_and_before_anything(project: Path, monkeypatch, capsys):
    monkeypatch.setenv("DINO_STORAGE", "elsewhere")
    assert main([]) == 0
    assert " run NAME --from FOLDER" in capsys.readouterr().out
    assert not (project / "elsewhere").exists()


def test_main__without_a_command_outside_a_project(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert "--help" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
