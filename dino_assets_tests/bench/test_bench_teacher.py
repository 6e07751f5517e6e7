"""The distillation teacher against the same loop in plain transformers, in the same run.

One thread on one CPU, CPU seconds, in turn round after round, so that what else the machine does moves
the ratios little. Pictures come as uint8 of 480 × 640 px and are resized in the loop. Memory is the
peak of a process that has one loop alone; writing the checkpoint is done before, in another one.
"""

import re
from pathlib import Path

import pytest

from dino_assets_tests.bench.encoder_workload import run_child
from dino_assets_tests.bench.teacher_loops import LOOPS, SIZES

pytestmark = pytest.mark.bench
SIDES = (224, 512)
FP32_LEAST, BF16_LEAST, HALF_AGAINST_FULL = 0.95, 0.95, 1.6
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def read_flags() -> list[str]:
    words = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
    return [flag for flag in FLAGS if flag in words]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teacher")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", SIZES)
def test_teacher__against_plain_transformers(folder: Path, size: str, side: int):
    options = {
        "size": size,
        "side": side,
        "batch": SIZES[size].batches[SIDES.index(side)],
        "weights": folder / size,
    }
    rates = run_child("teacher_loops", folder, job="rates", **options)
    memory = {
        loop: run_child("teacher_loops", folder, job="memory", loop=loop, **options)["peak_mb"]
        for loop in LOOPS
    }
    flags = read_flags()
    print(
        f"\n\nDINOv3 ViT-{size}/16 at {side} px, batches of {options['batch']}; {' '.join(flags)}"
    )
    for loop in LOOPS:
        ratio = rates["ratios"].get(loop, 1.0)
        print(
            f"{loop:14} {rates['images_per_cpu_s'][loop]:7.2f} images per CPU-s, {ratio:.2f} ×, "
            f"{memory[loop]} MB"
        )
    print(
        f"bf16 against transformers' bf16: {rates['bf16_ratio']} ×; float32 {rates['apart']:.1e} apart; "
        f"lowest cosine of bf16 {rates['bf16_cosine']}"
    )
    assert rates["apart"] <= 1e-5
    assert rates["ratios"]["teacher fp32"] >= FP32_LEAST
    assert rates["bf16_ratio"] >= BF16_LEAST
    if not {"avx512_bf16", "amx_bf16"} & set(flags):
        pytest.skip("this CPU has no bfloat16 products: its goal is not meant for it")
    assert rates["ratios"]["teacher bf16"] >= HALF_AGAINST_FULL
