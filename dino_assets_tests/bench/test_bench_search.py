"""Speed and memory of a search over a large store, against a scan by NumPy and by faiss.

The peers have all vectors in memory, scaled to length 1, and give rows of a matrix; ours gives tiles: their ids,
windows and thumbnails. ``SEARCH_BENCH_ROWS`` makes the store larger.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.large_stores import DrawnVectors, write_embedded

pytestmark = pytest.mark.bench
ROWS = int(os.environ.get("SEARCH_BENCH_ROWS", "1000000"))
DROPS, DIMS = 20, 384
MOST_ANONYMOUS_MB = 200
# A whole search, with tiles, windows and thumbnails, compared with one pass over all vectors in memory.
MOST_OF_READING = 6.0
MOST_OF_FIND = (
    2.0  # a prototype of 5 examples: learning, percentiles of all tiles, and the search itself
)
MOST_OF_NUMPY = 1.5  # 16 queries; NumPy's rows have length 1 already


def install_faiss(folder: Path) -> str:
    """Install faiss into a folder of its own; return the folder, or nothing where it cannot be installed."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "0"]
    command = [*pip, "install", "-q", "--no-deps", "--target", str(folder), "faiss-cpu"]
    process = subprocess.run(command, check=False, capture_output=True, timeout=300)
    return "" if process.returncode else str(folder)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    root = tmp_path_factory.mktemp("search")
    (root / "dagster.yaml").touch()
    vectors = DrawnVectors(DIMS)
    write_embedded(root, drops=DROPS, tiles_per_drop=ROWS // DROPS, vectors=vectors)
    np.save(root / "queries.npy", vectors.draw(16, seed=77))
    faiss_folder = install_faiss(root / "faiss")
    process = subprocess.run(
        [sys.executable, "-m", "dino_assets_tests.bench.search_process", str(root), faiss_folder],
        cwd=REPOSITORY,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures = json.loads(process.stdout)
    print(f"\n{ {name: round(value, 3) for name, value in figures.items()} }")
    return figures


def test_find__is_no_slower_than_a_scan(figures):
    assert figures["find_s"] <= MOST_OF_READING * figures["read_s"]
    assert figures["scan_16_s"] <= MOST_OF_NUMPY * figures["numpy_16_s"]


def test_like__costs_little_more_than_a_search(figures):
    assert figures["like_s"] <= MOST_OF_FIND * figures["find_s"]


def test_find__memory_does_not_grow_with_the_vectors(figures):
    assert figures["anonymous_mb"] <= MOST_ANONYMOUS_MB
