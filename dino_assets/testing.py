"""Test doubles for code that uses dino_assets: a store in memory, a tiny checkpoint, a writer.

The store is an ordinary ``ObjectStore`` that keeps its objects in memory. The checkpoint has random weights
and loads in transformers.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.store.objects import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from dino_assets.store.commits.protocol import LocalFile, Part, Spent

__all__ = ["RecordingWriter", "memory_store", "write_tiny_checkpoint"]


def memory_store() -> ObjectStore:
    """Make an empty store in memory, which exists until this process ends."""
    return ObjectStore.in_memory()


def write_tiny_checkpoint(folder: Path) -> Path:
    """Write a tiny DINOv3 checkpoint with the same random weights at every call: 16 dims, 2 layers, 80 KB.

    The folder is made if it is missing. Checkpoint files in it are replaced. Return the folder.
    """
    return write_demo_checkpoint(folder, dim=16, layers=2)


@dataclass
class RecordingWriter:
    """An ``OutputWriter`` that keeps everything a stage writes, to test the stage without a store."""

    batches: "list[pa.RecordBatch]" = field(default_factory=list)
    parts: "list[Part]" = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    local_files: "list[LocalFile]" = field(default_factory=list)
    all_facts: dict[str, Any] = field(default_factory=dict)
    all_spent: "list[Spent]" = field(default_factory=list)

    def rows(self, batch: "pa.RecordBatch") -> None:
        """Keep a batch of rows."""
        self.batches.append(batch)

    def part(self, part: "Part") -> None:
        """Keep the description of a part (a stored object of the output), without checking the store."""
        self.parts.append(part)

    def file(self, name: str, data: bytes) -> None:
        """Keep a small file."""
        self.files[name] = data

    def local_file(self, file: "LocalFile") -> None:
        """Keep the description of a local file, without reading it."""
        self.local_files.append(file)

    def facts(self, values: "Mapping[str, Any]") -> None:
        """Keep facts; later values replace earlier ones."""
        self.all_facts.update(values)

    def spent(self, spent: "Spent") -> None:
        """Keep a stage's report of the seconds that its work took."""
        self.all_spent.append(spent)
