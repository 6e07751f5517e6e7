"""Speed and worth of selections: farthest points against a product per pick, the default against random."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.selections.rounds import RoundSettings
from dino_assets_tests.bench.label_value import Case, compare, measure, read_cases
from dino_assets_tests.worlds.large_stores import DrawnVectors, write_embedded

FEATURES = Path(os.environ.get("DINO_BENCH_FEATURES", "../shared/features/aerial-1400.npz"))
REPOSITORY = Path(__file__).resolve().parents[2]
SEEDS = 20


def cpu_s(work: Callable[[], object]) -> float:
    start_s = time.process_time()
    work()
    return time.process_time() - start_s


def pick_by_products(points: np.ndarray, count: int) -> None:
    """What most programs do: one product of all rows and the last pick, in float32."""
    squares = np.einsum("ij,ij->i", points, points)
    squared, row = np.full(len(points), np.inf, np.float32), 0
    for _ in range(count):
        to_row = squares + squares[row] - 2 * (points @ points[row])
        np.minimum(squared, to_row, out=squared)
        row = int(squared.argmax())


@pytest.mark.bench
@pytest.mark.parametrize(("count", "least"), [(1000, 15), (5000, 20)])
def test_walk_farthest__speed_on_one_core(count: int, least: float):
    rng = np.random.default_rng(0)
    centres = 1.5 * rng.normal(size=(200, 768)).astype(np.float32)
    points = rng.normal(size=(100_000, 768)).astype(np.float32)
    points = scale_to_unit(points + centres[rng.integers(0, 200, len(points))])
    picks = 50
    with threadpool_limits(1):
        peer = cpu_s(lambda: pick_by_products(points, picks)) / picks * count
        ours = cpu_s(lambda: walk_farthest(points, count, chosen=np.empty(0, np.int64)))
    print(f"\n{count} of 100,000 × 768: {ours:.1f} CPU-s, a product per pick {peer:.1f}")
    print(f"{peer / ours:.1f} times as fast")
    assert peer / ours >= least


@pytest.mark.bench
def test_walk_farthest__of_a_large_store_on_one_core(tmp_path: Path):
    rows, count = 1_000_000, int(os.environ.get("FARTHEST_BENCH_PICKS", "10000"))
    vectors = DrawnVectors(384)
    write_embedded(tmp_path, drops=20, tiles_per_drop=rows // 20, vectors=vectors)
    module = "dino_assets_tests.bench.farthest_process"
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-m", module, str(tmp_path), str(count)],
        cwd=REPOSITORY,
        env=os.environ | threads,
        check=True,
        stdout=subprocess.PIPE,
    )
    ours = json.loads(process.stdout)
    points, picks = scale_to_unit(vectors.draw(rows, seed=3)), 10
    with threadpool_limits(1):
        peer = cpu_s(lambda: pick_by_products(points, picks)) / picks * count
    print(f"\n{count} of {rows:,} × 384: {ours}, a product per pick {peer:.1f} CPU-s")
    print(f"{peer / ours['cpu_s']:.1f} times as fast")
    assert ours["anonymous_mb"] <= 300
    assert peer / ours["cpu_s"] >= 30


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    file = REPOSITORY / FEATURES
    if not file.is_file():
        pytest.skip(f"{FEATURES} is missing: DINO_BENCH_FEATURES names it")
    return {case.name: case for case in read_cases(str(file))}


@pytest.mark.bench
@pytest.mark.parametrize(
    ("name", "budget", "least"),
    [
        ("balanced", 21, 5),
        ("balanced", 50, 5),
        ("long tail", 21, 5),
        ("long tail", 50, 5),
        ("digits", 50, 8),
    ],
)
def test_default_strategy__worth_over_random(cases, name: str, budget: int, least: float):
    default = RoundSettings().strategy
    random = measure(cases[name], "random", budget, SEEDS)
    gain, margin = compare(measure(cases[name], default, budget, SEEDS), random)
    print(f"\n{default}, {name}, {budget} labels: {gain:+.1f} ± {margin:.1f} points over random")
    assert gain >= least
    assert gain - margin > 0
