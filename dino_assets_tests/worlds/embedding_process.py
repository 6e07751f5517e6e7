"""A program that embeds drop ``d`` of a folder's store, to be killed on the way."""

import sys
import time
from dataclasses import replace
from pathlib import Path

from dino_assets.drops.sources.folders import FolderSource
from dino_assets.settings.records import StorageSettings
from dino_assets.store.objects import open_store
from dino_assets_tests.worlds.embedding_bench import COMPUTE, Bench

STALLS_AFTER = 4  # photographs, one of them for the forecast


class StallingSource(FolderSource):
    """Four photographs for each process, then a read that does not end: time to be killed."""

    reads = 0

    def read(self, path: str) -> bytes:
        self.reads += 1
        if self.reads > STALLS_AFTER:
            time.sleep(600)
        return super().read(path)


def main(root: Path, checkpoint: Path, cache: Path, processes: int) -> None:
    """Expects the folders ``store`` and ``card`` in the root."""
    bench = Bench(open_store(StorageSettings(url="store", root=root)), checkpoint, cache)
    source = StallingSource(root / "card", shown="card")
    bench.commit(source=source, compute=replace(COMPUTE, processes=processes))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), processes=int(sys.argv[4]))
