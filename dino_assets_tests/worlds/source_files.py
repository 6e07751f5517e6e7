"""What the tests of sources share."""

import os
from pathlib import Path

from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.lists import ListSource

SECRET = b"must never be read"


def put(folder: Path, *paths: str) -> None:
    """Files that hold their own path."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode(errors="surrogateescape"))


def listing(source: FolderSource | ListSource | BucketSource) -> dict[str, str | None]:
    found = source.entries()
    assert [e.path for e in found] == sorted({e.path for e in found})
    return {entry.path: entry.refusal for entry in found}


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent.parent.parent / "secret.jpg")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_parent_by_link(path: Path) -> None:
    outside = path.parent.parent.parent / "outside"
    outside.mkdir()
    (outside / path.name).write_bytes(SECRET)
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(outside)


def count_open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def remove(path: Path) -> None:
    path.unlink()
