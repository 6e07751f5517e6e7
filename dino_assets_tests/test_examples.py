"""The examples as scripts, and the published usage of the teacher with other imports."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dino_assets import DinoV3Config, DinoV3Teacher
from dino_assets.drawing.photographs import draw_photo
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.networks import write_sample

LOSSES = re.compile(r"held-out loss: ([0-9.]+) before, ([0-9.]+) after")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten drawn photographs, and a file that is not a picture."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(10):
        (folder / f"{seed}.JPG").write_bytes(draw_photo(seed, width=320, height=240))
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def run_distill(*arguments: object) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "examples" / "distill.py"
    command = [sys.executable, str(script), *map(str, arguments)]
    # While other tests run, two threads wait for each other longer than they compute.
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)


@pytest.mark.parametrize("mask", [[], pytest.param(["--masked"], marks=pytest.mark.slow)])
def test_distill__halves_the_loss_on_held_out_pictures(tmp_path: Path, photos: Path, mask):
    """The teacher has patch 14, so the student's grid is resized to the teacher's."""
    root = write_sample(tmp_path / "teacher", "dinov2").folder
    process = run_distill(
        "--root", root, "--photos", photos, "--side", 84, "--steps", 40, "--device", "cpu", *mask
    )
    assert process.returncode == 0, process.stderr
    loss_before, loss_after = map(float, LOSSES.search(process.stdout).groups())
    assert loss_after <= loss_before / 2
    assert process.stdout.splitlines()[-1].endswith("unchanged")
    assert "10, 2 of them held out" in process.stdout
    assert "broken.jpg" in process.stderr


@pytest.mark.slow
def test_distill__refuses_missing_teacher_and_photographs(
    tmp_path: Path, photos: Path, checkpoint_dir: Path
):
    process = run_distill("--root", tmp_path / "nowhere", "--photos", photos)
    assert (process.returncode, "nowhere" in process.stderr) == (1, True)
    assert "Traceback" not in process.stderr
    process = run_distill("--root", checkpoint_dir, "--photos", tmp_path, "--device", "cpu")
    assert (process.returncode, "0 photographs" in process.stderr) == (1, True)


def test_distill__help_and_wrong_usage():
    process = run_distill("--help")
    assert process.returncode == 0
    assert all(word in process.stdout for word in ("--root", "--photos", "--masked", "Exit codes"))
    assert run_distill().returncode == 2


@dataclass
class TrainerConfig:
    dino_root: Path


class DinoOBBTrainer:
    """The published integration of the teacher, with its loss in a form that torch accepts."""

    def __init__(self, config: TrainerConfig, device: torch.device) -> None:
        self.teacher = DinoV3Teacher(DinoV3Config(root=config.dino_root), device)
        self.teacher.eval()  # Frozen

    def compute_distillation_loss(self, images, student_features):
        with torch.no_grad():
            teacher_features = self.teacher.extract_feature_map(images)

        # Align and compute loss
        student_rows = student_features.flatten(2).transpose(1, 2).flatten(0, 1)
        teacher_rows = teacher_features.flatten(2).transpose(1, 2).flatten(0, 1)
        return F.cosine_embedding_loss(
            student_rows, teacher_rows, target=torch.ones(len(student_rows))
        )


def test_teacher__in_a_distilling_trainer(checkpoint_dir: Path):
    torch.manual_seed(0)
    trainer = DinoOBBTrainer(TrainerConfig(checkpoint_dir), torch.device("cpu"))
    student = nn.Conv2d(3, 16, 16, stride=16)
    images = torch.randn(2, 3, 512, 512)
    loss = trainer.compute_distillation_loss(images, student(images))
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=0.5)
    assert student.weight.grad.abs().sum() > 0


def test_teacher__torch_refuses_a_cosine_loss_of_three_dimensions():
    """Torch refuses the published form of the loss, which is why the trainer above flattens it."""
    features = torch.randn(2, 9, 16)
    with pytest.raises(RuntimeError, match="multi-target not supported"):
        F.cosine_embedding_loss(features, features, target=torch.ones(2, 9))


def test_teacher__published_usage(checkpoint_dir: Path):
    cfg = DinoV3Config(root=checkpoint_dir)
    teacher = DinoV3Teacher(cfg, torch.device("cpu"))
    images = torch.randn(4, 3, 512, 512).to("cpu")
    with torch.no_grad():
        cls_features = teacher.extract_features(images)
        feature_map = teacher.extract_feature_map(images)
    assert cls_features.shape == (4, 16)
    assert feature_map.shape == (4, 16, 32, 32)
