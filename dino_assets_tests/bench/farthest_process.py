"""Farthest points of a large store: ``python -m …bench.farthest_process ROOT COUNT``.

The copies are made in the same run, so their cost counts. Prints JSON.
"""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

from dino_assets.embeddings.rows import to_matrix
from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.rows import JoinedArrays, Rows
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.mapped import MappedParts
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import open_store
from dino_assets_tests.bench.search_process import read_anonymous_mb
from dino_assets_tests.worlds.histories import SPACE


def open_embeddings(root: Path) -> CommittedTable:
    store = open_store(StorageSettings(url="data", root=root))
    table = open_table(store, "embeddings", space=SPACE)
    return CommittedTable(
        store, table.asset, SPACE, table.manifests, copies=MappedParts(root / "copies")
    )


class PeakWatch:
    """The most anonymous memory that was seen, every 50 ms."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, read_anonymous_mb())
            time.sleep(0.05)


def main() -> None:
    watch = PeakWatch()
    root, count = Path(sys.argv[1]), int(sys.argv[2])
    start_s = time.process_time()
    parts = [to_matrix(part["cls"]) for _, part in open_embeddings(root).parts(["cls"])]
    copied_s = time.process_time() - start_s
    walk = walk_farthest(Rows(JoinedArrays(parts), unit=True), count, chosen=np.empty(0, np.int64))
    figures = {
        "cpu_s": round(time.process_time() - start_s, 1),
        "copied_s": round(copied_s, 1),
        "anonymous_mb": round(watch.peak_mb),
        "last": float(walk.distances[-1]),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
