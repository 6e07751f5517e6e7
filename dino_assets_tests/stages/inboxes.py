"""Inboxes for the tests of the stages: real pictures, real listings, counted reads."""

from collections.abc import Callable
from pathlib import Path

from dino_assets.records import Drop, SourceEntry
from dino_assets.stages.drops import register_drop
from dino_assets.stages.images import draft_images
from dino_assets.stages.sources import FolderSource, Source, open_source
from dino_assets.store.manifests import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.readers import CommittedTable, open_table
from dino_assets_tests.conftest import photo_bytes


class CountingSource:
    """A real folder that remembers what was read, and may change under the reader's hands."""

    is_list = False

    def __init__(self, folder: Path, *, on_read: Callable[[str], None] = lambda path: None) -> None:
        self.folder = FolderSource(folder, shown=folder.name)
        self.on_read = on_read
        self.was_read: list[str] = []

    def entries(self) -> list[SourceEntry]:
        return self.folder.entries()

    def read(self, path: str) -> bytes:
        self.was_read.append(path)
        data = self.folder.read(path)
        self.on_read(path)
        return data


def fill(folder: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    """Photographs by path; each has other pixels."""
    for seed, (path, (width, height)) in enumerate(sizes.items()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(photo_bytes(width, height, seed=seed))
    return folder


def make_drop(name: str, folder: Path) -> Drop:
    """A drop as registering would write it."""
    drop, _ = register_drop(ObjectStore.in_memory(), name, source=str(folder), root=folder)
    return drop


def commit_images(
    store: ObjectStore, name: str, folder: Path, *, source: Source | None = None
) -> CommittedTable:
    """List, read and commit a folder; gives the table back."""
    drop = make_drop(name, folder)
    inbox = source or open_source(drop.source, root=folder)
    commit(store, draft_images(drop, inbox, threads=2))
    return open_table(store, "images")
