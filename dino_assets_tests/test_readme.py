"""The README's commands are run as they stand."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import torch

from dino_assets.cli import main
from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.doctor import examine
from dino_assets.selections.stage.listing import list_rounds
from dino_assets.settings.environment import load_settings
from dino_assets.store.objects import open_store
from dino_assets.weights.catalogue import DEFAULT_TEACHER
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.hub_server import hub_for_test
from dino_assets_tests.worlds.networks import write_sample
from dino_assets_tests.worlds.servers import HOST, free_port, running

README = (REPOSITORY / "README.md").read_text()
BASH = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
READ_TABLE, FETCH, EXTRACT = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path, write_photo, monkeypatch) -> Path:
    """What a newcomer has after `make demo` (test_demo.py runs it), and some photographs."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in (
        "dagster.yaml",
        "workspace.yaml",
        "Makefile",
        "pyproject.toml",
        "requirements.lock",
    ):
        shutil.copy(REPOSITORY / name, folder)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    write_demo_checkpoint(folder / "models" / "demo")
    (folder / ".env").write_text("DINO_MODEL_ID=models/demo\n")
    for number in range(2):
        write_photo(
            folder / "path" / "to" / "photos" / f"DJI_{number:04d}.JPG", 1600, 1200, seed=number
        )
    monkeypatch.chdir(folder)
    return folder


def test_readme__first_result(clone: Path):
    demo, script = BASH
    assert demo == "make demo\nmake demo-ui\n"
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^my-flight +images 2 +tiles 48 ", done.stdout, re.MULTILINE)
    parts = [line for line in done.stdout.splitlines() if "/parts/tiles/" in line]
    assert len(parts) == 1
    assert Path(parts[0]).is_file()
    assert (clone / "out" / "map" / "map.html").is_file()
    assert (clone / "out" / "round-1" / "round-map.html").is_file()
    ran = subprocess.run([sys.executable, "-c", READ_TABLE], capture_output=True, text=True)
    assert ran.stdout.strip() == "('my-flight',) 48", ran.stderr
    # Only the round that `run` chose: a second one is a decision of its own.
    store = open_store(load_settings().storage)
    assert [each.name for each in list_rounds(store)] == ["round-0001"]


def test_readme__a_model_in_a_folder(clone: Path):
    (line,) = re.findall(r"`(echo [^`]* >> \.env)`", README)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert load_settings().model == "/path/to/folder"


@pytest.mark.slow
def test_readme__dagsters_own_commands(clone: Path):
    """They have a history where the README and doctor say to set one variable."""
    home = re.search(r"`export (DAGSTER_HOME)=\$PWD`", README)[1]
    (line,) = [each for each in examine(load_settings()) if each.subject == "instance"]
    assert line.sentence.endswith(f"export {home}={clone}")
    named = re.findall(r"`dagster ((?:sensor|schedule|run) [^`]*)`", README)
    assert len(named) >= 2
    for command in named:
        done = subprocess.run(
            [sys.executable, "-m", "dagster", *command.split()],
            capture_output=True,
            text=True,
            env={**os.environ, home: str(clone)},
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_readme__weights(clone: Path, checkpoint_dir: Path, tmp_path: Path, monkeypatch):
    shutil.copy(REPOSITORY / "config.json", clone)
    with hub_for_test(monkeypatch, tmp_path) as hub:
        hub.add(DEFAULT_TEACHER, {path.name: path for path in checkpoint_dir.iterdir()})
        # Only said, not done: make would set the linked .venv up anew, for this clone.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        plan = subprocess.run(
            ["make", "-n", "fetch-dinov3"], capture_output=True, text=True, env=environment
        )
        command = plan.stdout.splitlines()[-1]
        assert command.strip() == ".venv/bin/dinov3-fetcher --config 'config.json'"
        made = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
        assert made.stdout.splitlines()[-1] == str(clone / "dinov3")
        hub.asked.clear()
        ran = subprocess.run([sys.executable, "-c", FETCH], capture_output=True, text=True)
        assert ran.stdout.strip() == "True", ran.stderr
        assert len(hub.asked) == 1  # what a branch costs; make put the files there


def test_readme__any_pictures(clone: Path, tmp_path: Path, monkeypatch):
    sample = write_sample(tmp_path / "base", "dinov2")
    command = re.search(r"^dino-assets (embed .*)$", README, re.MULTILINE)[1]
    with hub_for_test(monkeypatch, tmp_path) as hub:
        hub.add("facebook/dinov2-base", {p.name: p for p in sample.folder.iterdir()})
        ran = subprocess.run([sys.executable, "-c", EXTRACT], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        saved = torch.load("out/photos.pt", weights_only=True)
        assert saved["image_ids"] == ["DJI_0000.JPG", "DJI_0001.JPG"]
        assert saved["model_name"] == "dinov2-base"
        assert main(command.split()) == 0
    table = pq.read_table("out/photos.parquet")
    assert table["image_id"].to_pylist() == saved["image_ids"]


def test_readme__as_a_service(clone: Path, write_photo):
    """The curl line against the command, and the answer as it is shown."""
    write_photo(clone / "photo.jpg", 2048, 1536, quality=30)
    command = re.search(r"`(dino-assets serve)`", README)[1].split()
    line = re.search(r"^(curl -F file=@photo.jpg .*)$", README, re.MULTILINE)[1]
    port = free_port()
    url = f"http://{HOST}:{port}"
    program = [sys.executable, "-m", "dino_assets.cli", *command[1:], "--port", str(port)]
    with running(program, url=f"{url}/health", log=clone / "log") as process:
        while httpx.get(f"{url}/ready").status_code != 200:
            assert process.poll() is None
        asked = line.replace("http://127.0.0.1:8000", url)
        answer = json.loads(subprocess.run(asked.split(), capture_output=True, check=True).stdout)
        shown = json.loads(re.search(r"```json\n(.*?)```", README, re.DOTALL)[1])
        assert "random weights" in answer.pop("caveat")  # of the test's own model
        assert list(answer) == list(shown)
        assert list(answer["metadata"]) == list(shown["metadata"])
        assert answer["metadata"]["original_size"] == shown["metadata"]["original_size"]
        assert (clone / answer["embedding_uri"]).is_file()


def test_readme__names_only_what_exists():
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    )
    assert set(re.findall(r"`make ([a-z0-9-]+)`", README)) <= targets
    assert {
        "help",
        "install",
        "demo",
        "fetch-dinov3",
        "check",
        "test",
        "test-all",
        "bench",
        "ui",
        "clean",
    } <= targets
    helped = subprocess.run(
        [sys.executable, "-m", "dino_assets.cli", "--help"], capture_output=True, text=True
    ).stdout
    for command in set(re.findall(r"dino-assets ([a-z]+)", README)):
        assert command in helped, command
    for path in re.findall(r"\]\(([^)h][^)]*)\)", README):
        assert (REPOSITORY / path).exists(), path


def test_readme__configuration_is_what_settings_read():
    from dino_assets.settings.environment import Environment

    table = README.split("## Configuration")[1].split("##")[0]
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", table))
    known = set(Environment.model_fields)
    missing = known - named
    assert not missing
    assert {name for name in named if not name.startswith("HF_")} <= known
