"""A card's files: written, listed, and one beside them that no source may read."""

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
    entries = source.entries()
    assert [e.path for e in entries] == sorted({e.path for e in entries})
    return {entry.path: entry.refusal for entry in entries}


def count_open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))
