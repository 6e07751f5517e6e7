"""The demo lives in a folder of its own: own work begins as if there had been none."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from dino_assets.cli import main
from dino_assets.demo.flights.draw import draw_flights
from dino_assets.demo.place import environment_of_demo, is_demo, make_demo_folder, settings_of_demo
from dino_assets.demo.running import run_demo
from dino_assets.errors import ConfigError
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.manifests import list_manifests
from dino_assets.store.objects import open_store
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.raising import raising

run_small_demo = partial(run_demo, draw=partial(draw_flights, scale=0.3))


@pytest.fixture
def clone(project: Path, monkeypatch) -> Path:
    """An empty clone: nothing is set, nothing is there."""
    monkeypatch.delenv("DINO_MODEL_ID")
    return project


def read_files(folder: Path) -> dict[Path, bytes]:
    """Read a person's files below a folder, without Dagster's own files."""
    files = (path for path in folder.rglob("*") if path.is_file())
    inside = {path.relative_to(folder): path for path in files}
    return {
        name: path.read_bytes()
        for name, path in inside.items()
        if name.parts[0] not in (".dagster", "demo")
    }


def examine(capsys) -> list[str]:
    capsys.readouterr()
    main(["doctor"])
    # Free space changes by itself.
    return [line for line in capsys.readouterr().out.splitlines() if " disk " not in line]


def test_demo__leaves_the_project_unchanged(clone: Path, capsys):
    findings, files = examine(capsys), read_files(clone)
    assert any("0 drops, 0 runs" in line for line in findings)
    assert run_small_demo(load_settings(), lambda line: None)
    assert examine(capsys) == findings
    assert read_files(clone) == files
    assert main(["drops", "list"]) == 0
    assert capsys.readouterr().out.startswith("no drops yet")
    assert not list_manifests(open_store(load_settings().storage), "weights", None)


def test_demo__independent_of_own_work_and_settings(
    clone: Path, write_photo, tmp_path: Path, monkeypatch, capsys
):
    write_photo(clone / "inbox" / "ridge-north" / "DJI_0001.JPG")  # as one of the demo's is called
    other_folder = tmp_path / "elsewhere"
    other_folder.mkdir()
    (clone / "dagster.yaml").rename(other_folder / "dagster.yaml")
    (clone / "dagster.yaml").write_text((other_folder / "dagster.yaml").read_text())
    (clone / ".env").write_text("DINO_INBOX=inbox\nDINO_DEVICE=cpu\n")
    monkeypatch.setenv("DINO_MODEL_ID", "facebook/dinov2-base")
    monkeypatch.setenv("DINO_MODEL_REVISION", "main")
    monkeypatch.setenv("DINO_STORAGE", "my-data")
    monkeypatch.setenv("DAGSTER_HOME", str(other_folder))
    assert main(["drops", "register", "ridge-north"]) == 0
    findings, files = examine(capsys), read_files(clone)
    assert any(f"dagster.yaml of {other_folder}" in line and "1 drop" in line for line in findings)
    assert run_small_demo(load_settings(), lambda line: None)
    assert examine(capsys) == findings
    assert read_files(clone) == files
    (weights,) = list_manifests(
        open_store(settings_of_demo(load_settings()).storage), "weights", None
    )
    assert weights.recipe.config == {"model": "models/demo"}


@pytest.mark.parametrize("what", ["a folder", "a file"])
def test_make_demo_folder__refuses_an_occupied_folder(clone: Path, what: str):
    demo = settings_of_demo(load_settings())
    if what == "a file":
        demo.root.write_text("mine")
    else:
        (demo.root / "photos").mkdir(parents=True)
        (demo.root / "dagster.yaml").write_text("# mine\n")
    contents_before = read_files(clone / "demo") if what == "a folder" else demo.root.read_text()
    with raising(ConfigError, setting="folder", value=str(demo.root), reason="occupied"):
        run_small_demo(load_settings(), print)
    assert contents_before == (
        read_files(clone / "demo") if what == "a folder" else demo.root.read_text()
    )


def test_make_demo_folder__in_a_project_only(clone: Path, tmp_path: Path, monkeypatch):
    (clone / "dagster.yaml").unlink()
    with raising(ConfigError, reason="no-instance"):
        make_demo_folder(settings_of_demo(load_settings()))
    assert not (clone / "demo").exists()


def test_make_demo_folder__marks_and_repairs_its_folder(clone: Path):
    demo = settings_of_demo(load_settings())
    assert demo.root == clone / "demo"
    demo.root.mkdir()  # as a killed call leaves it
    make_demo_folder(demo)
    assert is_demo(demo.root)
    (demo.root / "workspace.yaml").unlink()
    with (demo.root / "dagster.yaml").open("a") as file:
        file.write("# of another version\n")
    make_demo_folder(demo)
    for name in ("dagster.yaml", "workspace.yaml"):
        config = yaml.safe_load((demo.root / name).read_text())
        # The demo shows what the project does: one set-up, in two places.
        assert config == yaml.safe_load((REPOSITORY / name).read_text())
        assert "another version" not in (demo.root / name).read_text()
    assert settings_of_demo(load_settings(demo.root)) == demo
    assert not is_demo(clone)


def test_environment_of_demo__overrides_all_settings(clone: Path, monkeypatch):
    demo = settings_of_demo(load_settings())
    make_demo_folder(demo)
    for name, value in {
        "DINO_MODEL_ID": "facebook/dinov2-base",
        "DINO_MODEL_REVISION": "main",
        "DINO_STORAGE": "s3://mine",
        "DINO_INBOX": "s3://mine/inbox",
        "DINO_IMAGE_ROOTS": "/mine",
        "MINIO_ENDPOINT": "http://127.0.0.1:9",
        "DAGSTER_HOME": "/mine",
    }.items():
        monkeypatch.setenv(name, value)
    script = (
        "from dino_assets.settings.environment import dagster_home, load_settings\n"
        "print(load_settings(), dagster_home())"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=demo.root,
        env=environment_of_demo(demo),
    )
    assert process.stdout == f"{demo} {demo.root}\n", process.stderr


def test_gitignore__the_demo_is_left_out_and_its_package_is_not():
    def is_ignored(path: str) -> bool:
        command = ["git", "check-ignore", "--quiet", "--no-index", path]
        return subprocess.run(command, cwd=REPOSITORY).returncode == 0

    assert is_ignored("demo/data/parts/x.parquet")
    assert not is_ignored("dino_assets/demo/new.py")
