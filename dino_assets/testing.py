"""Test doubles for code that uses dino_assets: a store in memory, a tiny checkpoint, a writer.

None of them is a mock: the store is the ordinary class, only in memory, and the checkpoint loads in
transformers.
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
    """Write a DINOv3-shaped checkpoint with seeded random weights: 16 dims, 2 layers, 80 KB.

    Raises:
        ConfigError: the folder contains other files.
    """
    return write_demo_checkpoint(folder, dim=16, layers=2)


@dataclass
class RecordingWriter:
    """An ``OutputWriter`` that keeps what a stage pushes, to test the stage without a store."""

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
        """Keep the description of a part, without checking that it is stored."""
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
        """Keep the reported seconds."""
        self.all_spent.append(spent)
