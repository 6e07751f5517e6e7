"""What the documentation's commands find: a project after the README's first steps, and a Hub on this machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dino_assets.api.project import open_project
from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.labels.records import Target, Window
from dino_assets.labels.stage.answers import put_answers
from dino_assets.weights.catalogue import DEFAULT_TEACHER
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.labels.giving import give
from dino_assets_tests.worlds.hub_server import HubServer
from dino_assets_tests.worlds.networks import write_sample

FILES = (
    "dagster.yaml",
    "workspace.yaml",
    "Makefile",
    "pyproject.toml",
    "requirements.lock",
    "config.json",
)
# Short names in the pages, each a small network of that family here.
MODELS = {
    "facebook/dinov2-base": "dinov2",
    "facebook/dinov2-small": "dinov2",
    "facebook/dinov3-vits16-pretrain-lvd1689m": "dinov3_vit",
    DEFAULT_TEACHER: "dinov3_vit",
}


def make_clone(folder: Path, photos: Mapping[str, bytes]) -> None:
    """Write what a newcomer has after ``make demo``, a model in a folder, and some photographs."""
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder)
    shutil.copytree(REPOSITORY / "examples", folder / "examples")
    (folder / ".venv").symlink_to(Path(sys.prefix))
    write_demo_checkpoint(folder / "models" / "demo")
    (folder / ".env").write_text("DINO_MODEL_ID=models/demo\n")
    (folder / "out").mkdir()
    write_sample(folder / "path" / "to" / "checkpoint", "dinov2")
    for path, data in photos.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def fill_hub(hub: HubServer, place: Path) -> None:
    """Publish the models that the pages name, as small networks."""
    for repository, family in MODELS.items():
        sample = write_sample(place / repository.replace("/", "--"), family)
        hub.add(repository, {path.name: path for path in sample.folder.iterdir()})


def label_tiles(folder: Path, *, photographs: int | None = None) -> None:
    """Answer for every tile of a project, or of the first few photographs, as somebody does in the studio."""
    project = open_project(folder)
    rows = project.table("tiles").read("my-flight", ["tile_id", "image_id", "path", *"xywh"])
    labelled = set(sorted(set(rows["path"].to_pylist()))[:photographs])
    answers = [
        give(
            Target(
                "tile",
                "my-flight",
                row["image_id"],
                row["path"],
                Window(row["x"], row["y"], row["w"], row["h"]),
                row["tile_id"],
            ),
            ("smoke", "clear")[number % 2],
            after_s=number,
            seconds=2.0,
        )
        for number, row in enumerate(rows.to_pylist())
        if row["path"] in labelled
    ]
    put_answers(project.store, answers)


def run_script(
    script: str, folder: Path, *, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run commands as somebody types them in a folder, with its ``.venv`` activated."""
    paths = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {}), "PATH": paths},
    )
