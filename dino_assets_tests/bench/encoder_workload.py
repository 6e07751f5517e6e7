"""What the bench of the encoder computes with: seeded checkpoints, photographs, and how much work a tile is."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dino_assets.drawing.photographs import draw_photo
from dino_assets.tiles.grid import cut_windows, make_grid
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.records import Checkpoint

PROJECT = Path(__file__).resolve().parents[2]
FLIGHT = PROJECT.parent / "shared" / "flight"
WIDTH, HEIGHT = 4000, 2250  # of the photographs there
OWN = "the network's own products"  # among the rates of a case
REPORT = PROJECT / "out" / "bench" / "encoder.json"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Case:
    """One model at one side, and how much of it is measured per round."""

    name: str
    family: str
    dim: int
    heads: int
    patch_px: int
    side_px: int
    tiles: int  # per round; a multiple of the batch that our engines choose
    pipeline_batches: tuple[int, ...]
    goal: float  # times as fast as the pipeline


CASES = {
    "v2s": Case("DINOv2 S/14 @518", "dinov2", 384, 6, 14, 518, 2, (1,), 2.1),
    "v2b": Case("DINOv2 B/14 @518", "dinov2", 768, 12, 14, 518, 1, (1,), 2.1),
    "v3s": Case("DINOv3 S/16 @224", "dinov3", 384, 6, 16, 224, 14, (1, 8), 2.4),
}


def write_checkpoint(folder: Path, case: Case) -> None:
    """The published shape with seeded random weights, in the Hugging Face layout."""
    import torch
    from transformers import Dinov2Config, Dinov2Model, DINOv3ViTConfig, DINOv3ViTModel

    shape = {"hidden_size": case.dim, "num_hidden_layers": 12, "num_attention_heads": case.heads}
    shape |= {"patch_size": case.patch_px}
    torch.manual_seed(0)
    if case.family == "dinov2":
        model = Dinov2Model(Dinov2Config(image_size=518, **shape))
    else:
        shape |= {"intermediate_size": 4 * case.dim, "num_register_tokens": 4}
        model = DINOv3ViTModel(DINOv3ViTConfig(image_size=case.side_px, **shape))
    model.save_pretrained(folder)
    # do_resize and do_center_crop are off: the tile has the side already, so the pipeline embeds its
    # very pixels, and spends no time on a resize that changes nothing.
    processor = {
        "image_processor_type": "BitImageProcessor",
        "do_resize": False,
        "do_center_crop": False,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def find_or_write_checkpoint(folder: Path, case: Case) -> Checkpoint:
    """The case's checkpoint, written when it is not there."""
    if not (folder / "preprocessor_config.json").is_file():
        write_checkpoint(folder, case)
    return read_checkpoint(folder, model=case.name)


def find_or_draw_photographs(folder: Path) -> list[Path]:
    """The six photographs of a real flight where they are; else as many drawn ones of their size."""
    photographs = sorted(FLIGHT.glob("*.JPG"))
    if photographs:
        return photographs
    for seed in range(6):
        (folder / f"{seed}.jpg").write_bytes(draw_photo(seed, width=WIDTH, height=HEIGHT))
    return sorted(folder.glob("*.jpg"))


def all_windows(side_px: int) -> np.ndarray:
    """The grid of one photograph."""
    return cut_windows(WIDTH, HEIGHT, make_grid(side_px))


def choose_windows(side_px: int, count: int, *, number: int) -> np.ndarray:
    """``count`` windows of a photograph, spread over it, others in every round."""
    windows = all_windows(side_px)
    return windows[(np.arange(count) * (len(windows) // count) + 7 * number) % len(windows)]


def count_flops(checkpoint: Checkpoint, side_px: int, *, is_cls_alone: bool) -> float:
    """Multiplications and additions of one tile's matrix products, attention's among them.

    Softmax, norms and activations are not counted. With ``is_cls_alone`` the last block is what is
    computed of it: keys and values of all tokens, everything else of one.
    """
    dim, patches = checkpoint.dim, (side_px // checkpoint.patch_px) ** 2
    tokens = 1 + checkpoint.registers + patches
    square = 2 * dim * dim  # one token through one D × D matrix; the MLP's two are four each
    block = tokens * square * 12 + 4 * tokens * tokens * dim
    last_block = tokens * square * 2 + square * 10 + 4 * tokens * dim if is_cls_alone else block
    return float(
        2 * patches * 3 * checkpoint.patch_px**2 * dim
        + (checkpoint.layers - 1) * block
        + last_block
    )


@dataclass(frozen=True)
class Spent:
    """CPU seconds of this process, wall seconds."""

    cpu_s: float
    wall_s: float


class Timer:
    """``with Timer() as timer: …``, then ``timer.spent``."""

    def __enter__(self) -> "Timer":
        self._from = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.spent = Spent(time.process_time() - self._from[0], time.perf_counter() - self._from[1])


def run_child(module: str, folder: Path, **arguments: object) -> dict:
    """Run a module of the bench as a process of its own; what it found."""
    file = folder / "found.json"
    file.unlink(missing_ok=True)
    argument = json.dumps(arguments | {"folder": str(folder), "file": str(file)}, default=str)
    process = subprocess.run(
        [sys.executable, "-m", f"dino_assets_tests.bench.{module}", argument],
        cwd=PROJECT,
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return json.loads(file.read_text())


def read_arguments() -> dict:
    """What ``run_child`` gave; one CPU and one thread, unless more are asked for."""
    import torch

    arguments = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    if arguments.get("cpus", 1) == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return arguments


def busy_cpu_s() -> float:
    """CPU seconds that all processes of this machine have used, and what its host has taken from it."""
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
