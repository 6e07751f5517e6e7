"""``dino-assets labels``: a round goes out, labels come in, a version is frozen."""

import json
from pathlib import Path

import pandas
import pytest

from dino_assets.cli import main
from dino_assets.drops.registering import register_drop
from dino_assets.errors import (
    ConfigError,
    InvalidLabelsError,
    NotCommittedError,
    TargetError,
)
from dino_assets.labels.stage.drafting import draft_labels
from dino_assets.labels.stage.version_drafting import draft_label_versions
from dino_assets.labels.version_settings import VersionSettings
from dino_assets.probes.records import PredictedTile
from dino_assets.probes.stage.predicting import SCHEMA
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.columns import make_batch
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import open_store
from dino_assets_tests.worlds.labelling import DROP, SPACE, LabelWorld, make_label_world
from dino_assets_tests.worlds.outputs import pushing


@pytest.fixture
def world(project: Path) -> LabelWorld:
    """A project with a flight and a round of five tiles."""
    store = open_store(load_settings().storage)
    world = make_label_world(store, project / "card")
    register_drop(store, DROP, source=str(world.folder), root=project)
    return world


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["labels", *words]) == 0
    return capsys.readouterr().out


def test_labels__out_and_back(world: LabelWorld, project: Path, capsys):
    paths = run(capsys, "export", "1", "--to", "out/r", "--class", "fog").splitlines()
    assert len(list((project / "out" / "r" / "images").iterdir())) == 5
    assert all(Path(path).is_file() for path in paths)
    (project / "back.csv").write_text(
        f"file,class\n{world.chosen[0].tile_id}.jpg,fog\n{world.chosen[1].tile_id}.jpg,\nx.jpg,fog\n"
    )
    printed = run(capsys, "import", "back.csv", "--by", "anna").splitlines()
    assert printed[0].startswith("back.csv (csv): 1 label by anna")
    assert any("no-such-picture" in line for line in printed)
    report = json.loads(run(capsys, "import", "back.csv", "--by", "anna", "--json"))
    assert (report["new"], report["answers"], report["unlabelled"]) == (0, 1, 1)
    assert [row["picture"] for row in report["unmatched"]] == ["x.jpg"]
    run(capsys, "export", "round-0001", "--to", "out/csv", "--format", "csv")
    names = {path.name for path in (project / "out" / "csv").iterdir()}
    assert names == {"images", "labels.csv", "README.txt"}


def test_labels__status_lists_conflicts_and_imports(world: LabelWorld, project: Path, capsys):
    assert "no labels yet" in run(capsys, "status")
    for name in ("fog", "smoke"):
        (project / f"{name}.csv").write_text(f"file,class\n{world.chosen[0].tile_id}.jpg,{name}\n")
        run(capsys, "import", f"{name}.csv", "--by", f"team-{name}", "--round", "1")
    status = json.loads(run(capsys, "status", "--json"))
    assert (status["labels"], len(status["conflicts"]), len(status["imports"])) == (0, 1, 2)
    assert status["conflicts"][0]["classes"] == {"fog": ["team-fog"], "smoke": ["team-smoke"]}
    assert "conflict: " in run(capsys, "status")


def test_labels__status_lists_versions(world: LabelWorld, project: Path, capsys):
    world.answer(0, "smoke")
    commit(world.store, draft_labels(world.store))
    draft = draft_label_versions(
        world.store,
        VersionSettings("Smoke", "CC0-1.0"),
        open_source=world.open_source,
        cache=project / "cache",
        say=print,
    )
    name = commit(world.store, draft).manifest.recipe.output.drop
    (version,) = json.loads(run(capsys, "status", "--json"))["versions"]
    assert version == {"version": name, "title": "Smoke", "licence": "CC0-1.0", "labels": 1}
    assert f"version {name}: Smoke, CC0-1.0" in run(capsys, "status")


def test_labels__export_has_what_the_probe_suggests(world: LabelWorld, project: Path, capsys):
    tile = world.chosen[1]
    predicted = PredictedTile(
        tile.drop,
        tile.tile_id,
        tile.image_id,
        "fog",
        0.75,
        (0.25, 0.75),
        0.5,
        0.5,
        0.1,
        None,
        False,
        None,
    )
    recipe = Recipe(OutputId("probes", space=SPACE), "1")
    commit(world.store, Draft(recipe, pushing([make_batch([predicted], SCHEMA)]), SCHEMA))
    tables = {}
    for name, words in (("with", ()), ("without", ("--no-suggestions",))):
        run(capsys, "export", "1", "--to", f"out/{name}", "--format", "csv", *words)
        tables[name] = pandas.read_csv(project / "out" / name / "labels.csv").set_index("tile_id")
    assert tables["with"].loc[tile.tile_id, "suggestion"] == "fog"
    assert tables["with"].loc[tile.tile_id, "suggestion_score"] == 0.75
    assert tables["with"]["suggestion"].count() == 1
    assert tables["without"]["suggestion"].count() == 0
    run(capsys, "export", "1", "--to", "out/again")
    refused = main(["labels", "import", "out/again/label-studio.json", "--by", "anna"])
    assert refused != 0  # a suggestion is no label


def test_labels__names_in_a_file_are_no_commands_for_the_terminal(world, project: Path, capsys):
    (project / "\033[2Ja.csv").write_text("file,class\n\033[31mlost.jpg,fog\n")
    printed = run(capsys, "import", "\033[2Ja.csv") + run(capsys, "status")
    assert "lost.jpg" in printed
    assert "\033" not in printed


def test_labels__freeze(world: LabelWorld, project: Path, capsys, refuse):
    refuse(NotCommittedError, "labels", "freeze", "--to", "out/v", "--licence", "CC0-1.0")
    world.answer(0, "smoke")
    printed = run(capsys, "freeze", "--to", "out/v", "--licence", "CC0-1.0", "--title", "Smoke")
    assert "1 label" in printed
    assert (project / "out" / "v" / "croissant.json").is_file()
    refuse(TargetError, "labels", "freeze", "--to", "out/v", "--licence", "CC0-1.0")


def test_labels__refusals(world: LabelWorld, project: Path, refuse):
    refuse(NotCommittedError, "labels", "export", "2", "--to", "out")
    refuse(ConfigError, "labels", "export", "1", "--to", "card/out")
    refuse(ConfigError, "labels", "export", "1", "--to", "out", "--class", "a\nb")
    refuse(InvalidLabelsError, "labels", "import", "lost.json")
    (project / "a.csv").write_text("file,class\na.jpg,fog\n")
    refuse(NotCommittedError, "labels", "import", "a.csv", "--round", "9")
