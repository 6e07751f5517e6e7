"""Exported labels read by the programs' own libraries, which this installs: not part of the suite for their size."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dino_assets.labels.formats.records import Suggestion, Suggestions
from dino_assets.labels.records import Window
from dino_assets.labels.stage.exporting import export_labels
from dino_assets.labels.stage.versions import write_version
from dino_assets.labels.version_settings import VersionSettings
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.labelling import ROUND, make_label_world

pytestmark = pytest.mark.bench
PACKAGES = ("pycocotools", "datumaro", "label-studio-sdk", "mlcroissant", "datasets")
REPOSITORY = Path(__file__).parents[2]
LABELS = {"deer": 2, "rock": 1, "smoke": 1}


def find_packages(folder: Path) -> str:
    """Find the libraries where ``LABEL_PROGRAMS`` says, a folder of packages, or install them into a new one."""
    if given := os.environ.get("LABEL_PROGRAMS"):
        return given
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), *PACKAGES]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    return str(folder)


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each library counted in a round with every kind of label, and in a version of it."""
    root = tmp_path_factory.mktemp("programs")
    world = make_label_world(ObjectStore.in_memory(), root / "flight")
    inside, cut = world.chosen[1], world.chosen[3]
    world.answer(0, "smoke")
    world.answer(4, "rock", level="image", window=Window(0, 0, 640, 480), second=1)
    for number, window in (
        (1, Window(inside.x + 20, inside.y + 30, 50, 60)),
        (3, Window(cut.x - 30, cut.y + 10, 100, 40)),
    ):
        world.answer(number, "deer", level="box", window=window, second=number + 1)
    suggested = Suggestions({
        world.chosen[0].tile_id: Suggestion("smoke", 0.75),
        world.chosen[2].tile_id: Suggestion("fog"),
    })  # fmt: skip
    written = export_labels(
        world.store, ROUND, folder=root / "out", suggest=lambda *given: suggested, say=print
    )
    assert len(list(written)) > 5
    settings = VersionSettings("Deer and smoke", "CC-BY-4.0")
    write_version(world.store, root / "version", settings, open_source=world.open_source, say=print)
    paths = os.pathsep.join([str(REPOSITORY), find_packages(root / "packages")])
    command = ["-m", "dino_assets_tests.bench.label_programs", root / "out", root / "version"]
    process = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths, "HF_HOME": str(root / "hf")},
    )
    assert process.returncode == 0, process.stderr
    counted = json.loads(process.stdout)
    print(json.dumps(counted, indent=1))
    return counted


def test_coco__by_pycocotools(counts):
    assert counts["coco"] == {"pictures": 5, "labels": LABELS}


def test_cvat__by_datumaro(counts):
    expected = {"pictures": 5, "labels": LABELS, "kinds": {"label": 2, "bbox": 2}}
    assert counts["cvat"] == expected


def test_label_studio__by_its_sdk(counts):
    assert counts["label_studio"] == {"pictures": 5, "labels": LABELS, "suggested": 2}


def test_version__by_mlcroissant_and_datasets(counts):
    assert counts["croissant"] == {"labels": LABELS}
    assert counts["datasets"] == {"labels": LABELS, "pictures": 4}
