"""UI, command line and Dagster's own command give the same bytes."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import dagster as dg
import pytest

from dino_assets.cli import main
from dino_assets.defs.assets.selections import SelectionsConfig
from dino_assets.defs.config import values_of
from dino_assets.selections.rounds import RoundSettings
from dino_assets.settings.described import make_record
from dino_assets.store.commits.catalogue import LINEAGE
from dino_assets_tests.conftest import REPOSITORY, link_engines
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.ui import LINEAR, serving_ui

DROP, CARD = "flight-1", "cards/flight-1"
INGEST = ["weights", "images", "tiles", "embeddings"]
BOTH = {"columns": ["cls", "mean"]}
METHOD = {"method": "linear"}
SECOND = {"round": 2, "budget": 7, "fps_ratio": 0.25, "all_windows": True}
THIRD = {
    "round": 3,
    "budget": 5,
    "strategy": "cluster",
    "seed": 7,
    "column": "mean",
    "n_clusters": 3,
    "all_windows": True,
}


@pytest.fixture
def make_project(
    tmp_path: Path, checkpoint_dir: Path, engine_cache: Path, write_photo
) -> Callable[[str], Path]:
    """Makes projects with equal content, in different folders and with different file times."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for file in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(REPOSITORY / file, folder)
        shutil.copytree(checkpoint_dir, folder / "models" / "tiny")
        (folder / ".env").write_text("DINO_MODEL_ID=models/tiny\n")
        for number in range(2):
            write_photo(folder / CARD / f"DJI_{number}.JPG", 1600, 1200, seed=number)
        link_engines(folder, engine_cache)
        return folder

    return make


def committed(project: Path, *assets: str) -> dict[str, str]:
    """Read the committed files of some assets: manifests as text, parts as hashes.

    Parts that no manifest names are left out: on a slow machine the sensor ``new_map`` makes a map, with other
    settings, before the test does.
    """
    store, contents = project / "data", {}
    for asset in assets:
        manifests = list((store / "manifests" / asset).rglob("*.json"))
        assert manifests, asset
        contents |= {str(path.relative_to(store)): path.read_text() for path in manifests}
        texts = "".join(path.read_text() for path in manifests)
        for path in (store / "parts" / asset).rglob("*.*"):
            if path.name in texts:
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                contents[str(path.relative_to(store))] = sha256
    # The recipe of `images` has the files' times, so that changes are noticed without reading.
    return {
        name: text for name, text in contents.items() if not name.startswith("manifests/images/")
    }


def select(config: dict) -> list[str]:
    """Run `dino-assets select` with the config of the asset."""
    flags = {name: f"--{name.removeprefix('n_').replace('_', '-')}" for name in config}
    words = (
        [flags[name]] if value is True else [flags[name], str(value)]
        for name, value in config.items()
    )
    return ["select", *(word for pair in words for word in pair)]


def run(project: Path, *command: str) -> str:
    """Run a command in a new process."""
    process = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_select__same_bytes_as_the_asset(make_project, monkeypatch, tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        by_dagster = make_project("by-dagster")
        monkeypatch.chdir(by_dagster)
        lineage = Lineage(instance)
        lineage.register(DROP, by_dagster / CARD)
        assert lineage.run(DROP, embeddings=BOTH, projections=METHOD).success
        by_both = shutil.copytree(by_dagster, tmp_path / "moved" / "by-both")
        for config in (SECOND, THIRD):
            assert lineage.run(only=["selections"], selections=config).success

    with dg.DagsterInstance.ephemeral() as instance:
        by_command = make_project("by/command")
        monkeypatch.chdir(by_command)
        lineage = Lineage(instance)
        lineage.register(DROP, by_command / CARD)
        assets = [*INGEST, "projections"]  # a round is drawn on the map
        assert lineage.run(DROP, only=assets, embeddings=BOTH, projections=METHOD).success
        assert main(["select"]) == 0

    for project in (by_command, by_both):
        monkeypatch.chdir(project)
        for config in (SECOND, THIRD):
            assert main(select(config)) == 0
        assert committed(project, *INGEST, "selections") == committed(
            by_dagster, *INGEST, "selections"
        )
    keys = committed(by_command, "selections")
    assert len([name for name in keys if name.startswith("manifests/")]) == 3


def test_select__needs_no_torch_and_dagster_only_for_the_event(make_project, monkeypatch):
    folder = make_project("project")
    monkeypatch.chdir(folder)
    with dg.DagsterInstance.ephemeral() as instance:
        lineage = Lineage(instance)
        lineage.register(DROP, folder / CARD)
        assert lineage.run(DROP, only=INGEST).success
    code = (
        "import sys; from dino_assets.cli import main; code = main(['select']);"
        "print(code, sorted({'dagster', 'torch', 'umap'} & sys.modules.keys()))"
    )
    for modules in (["dagster"], []):  # nothing the second time
        process = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
        )
        assert process.stdout.splitlines()[-1] == f"0 {modules}", process.stdout + process.stderr


def test_select__the_asset_has_the_same_defaults():
    config = SelectionsConfig()
    assert set(config.model_dump(exclude={"tile_px", "replace"})) == set(asdict(RoundSettings()))
    assert make_record(RoundSettings, values_of(config, RoundSettings)) == RoundSettings()


@pytest.mark.slow
def test_faces__ui_command_and_materialize_give_the_same_bytes(make_project, tmp_path):
    by_ui = make_project("by-ui")
    run_config = {"ops": {"register_named_drop": {"config": {"name": DROP, "source": CARD}}}}
    second = {"selections": {"config": SECOND}}
    with serving_ui(by_ui, tmp_path / "ui.log") as ui:
        for answer in (
            ui.launch_job("register_drop", config=run_config),
            ui.launch_job("ingest", drop=DROP),
            ui.launch_job("curate", config=LINEAR),
            ui.launch_job("curate", config={"ops": LINEAR["ops"] | second}),
        ):
            assert answer == "SUCCESS"

    by_materialize = make_project("by/materialize")
    materialize = ("dagster", "asset", "materialize", "-m", "dino_assets")
    register = ("dino_assets.cli", "drops", "register", DROP, "--from", CARD)
    run(by_materialize, *register)
    options = ("--partition", DROP, "--config-json", json.dumps(LINEAR))
    run(by_materialize, *materialize, "--select", "*", *options)
    by_command = shutil.copytree(by_materialize, tmp_path / "by" / "the" / "command")
    options = ("--config-json", json.dumps({"ops": second}))
    run(by_materialize, *materialize, "--select", "selections", *options)
    assert committed(by_ui, *LINEAGE) == committed(by_materialize, *LINEAGE)

    for kind in ("manifests", "parts"):
        shutil.rmtree(by_command / "data" / kind / "selections")
    run(by_command, "dino_assets.cli", "select")
    run(by_command, "dino_assets.cli", *select(SECOND))
    assets = (*INGEST, "selections")
    assert committed(by_ui, *assets) == committed(by_command, *assets)
