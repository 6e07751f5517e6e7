"""A program that embeds drop ``d`` of a folder's store, to be killed on the way."""

import sys
from dataclasses import replace
from pathlib import Path

from dino_assets.drops.sources.folders import FolderSource
from dino_assets.settings.records import StorageSettings
from dino_assets.store.objects import open_store
from dino_assets_tests.worlds.embedding_bench import COMPUTE, Bench


def main(root: Path, checkpoint: Path, cache: Path, processes: int) -> None:
    """Expects the folders ``store`` and ``card`` in the root."""
    bench = Bench(open_store(StorageSettings(url="store", root=root)), checkpoint, cache)
    source = FolderSource(root / "card", shown="card")
    bench.commit(source=source, compute=replace(COMPUTE, processes=processes))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), processes=int(sys.argv[4]))
