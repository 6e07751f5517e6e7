"""Our ONNX graph against raw ``torch.onnx.export`` of transformers' model, in the runtimes that read it.

The same weights, tile, operator set and dynamic batch; one tile a call, one thread on one CPU, CPU
seconds, in turn round after round, the least of each. Ratios above 1: ours is faster.
"""

from pathlib import Path

import pytest

from dino_assets_tests.bench.encoder_workload import run_child
from dino_assets_tests.bench.export_rounds import MODELS
from dino_assets_tests.bench.test_bench_teacher import read_flags

pytestmark = pytest.mark.bench
# Two minima of the same graph differ by as much in one run; those of DINOv3 are nearly the same graph.
NOISE = 0.02
TOLERANCE = 1e-4  # of float32


@pytest.mark.parametrize("model", MODELS)
def test_export__against_raw_export_of_transformers(tmp_path: Path, model: str):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    figures = run_child("export_rounds", tmp_path, model=model)
    print(f"\n\n{model} at {MODELS[model][1]} px, one tile a call; {' '.join(read_flags())}")
    for runtime, row in figures.items():
        print(
            f"{runtime:22} ours {row['ours'] * 1e3:6.0f} CPU-ms, raw {row['plain'] * 1e3:6.0f}: "
            f"{row['ratio']:.2f} ×; {row['apart']:.1e} apart"
        )
    assert all(row["apart"] <= TOLERANCE for name, row in figures.items() if "float32" in name)
    slower = {name: row["ratio"] for name, row in figures.items() if row["ratio"] < 1 - NOISE}
    assert not slower
