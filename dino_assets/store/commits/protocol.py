"""Records of the commit protocol: output ids, recipes, drafts, parts, manifests, receipts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, order=True)
class OutputId:
    """Identity of one output: an asset, for one drop or for all, in one embedding space or in none."""

    asset: str
    drop: str | None = None
    space: str | None = None

    def __str__(self) -> str:
        """Format the id like ``images/flight-1``, or with its space ``embeddings/flight-1@SPACE``."""
        name = f"{self.asset}/{self.drop}" if self.drop else self.asset
        return f"{name}@{self.space}" if self.space else name


@dataclass(frozen=True)
class Part:
    """One immutable stored object, named by its content: a file with a ``name``, or ``rows`` of a table."""

    key: str
    sha256: str
    bytes: int
    rows: int = 0
    name: str | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an output, known before it is computed. Equal recipes give equal bytes."""

    output: OutputId
    code_version: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The stored object that makes an output exist.

    It names no time, host or run, so that a repeated run writes the same bytes.
    """

    recipe: Recipe
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of rows of the table, over all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """The number of stored bytes, over all parts."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class Receipt:
    """A finished shard of an output that is not committed yet; its parts are already stored."""

    output: OutputId
    shard: str
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spent:
    """What a stage reports about its work: seconds, summed over threads, and metadata for the UI.

    None of it is stored with the output.
    """

    read_s: float = 0.0
    compute_s: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    write_s: float = 0.0  # for parts that the stage stored itself, not through the writer


@dataclass(frozen=True)
class LocalFile:
    """A local file to be stored unchanged, under its own name."""

    path: Path
    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class NamedBytes:
    """A small file made in memory (a picture, a page), stored beside a table under its own name."""

    name: str
    data: bytes = field(repr=False)


class OutputWriter(Protocol):
    """The object that takes a stage's results, in order; readers see none before the manifest exists."""

    def rows(self, batch: "pa.RecordBatch") -> None:
        """Add rows with the draft's schema; they are stored in parts of a fixed size."""

    def part(self, part: Part) -> None:
        """Add a part that is in the store already.

        Raises:
            CommitRefusedError: it is not in the store.
        """

    def file(self, name: str, data: bytes) -> None:
        """Store a small file made in memory (a picture, a page) beside the table."""

    def local_file(self, file: LocalFile) -> None:
        """Store a local file unchanged."""

    def facts(self, values: Mapping[str, Any]) -> None:
        """Add facts to the manifest, such as counts and reasons that were found while producing.

        Raises:
            CommitRefusedError: JSON cannot hold the values.
        """

    def spent(self, spent: Spent) -> None:
        """Report how long the stage read, computed and wrote."""


@dataclass(frozen=True)
class Turns:
    """A lock by which drafts are committed one after the other, and a last check of the draft.

    Drafts with the same ``name`` wait for one another. ``check`` runs while the lock is held. It raises if
    an output that was committed in the meantime makes this draft wrong.
    """

    name: str
    check: Callable[[], None]


@dataclass(frozen=True)
class Draft:
    """An output that is not committed yet: its recipe, and how to produce it if necessary.

    ``produce`` gives the results to a writer. It may raise CommitRefusedError at any point, even after the
    last row; then nothing is committed. With ``is_anew``, the output is produced even if one with an equal
    recipe is committed. This is for changes outside the recipe, such as a disk that is mounted again.
    """

    recipe: Recipe
    produce: Callable[[OutputWriter], None]
    schema: "pa.Schema | None" = None
    is_anew: bool = False
    turns: Turns | None = None


@dataclass(frozen=True)
class Committed:
    """The result of a commit. ``seconds`` is elapsed time; the other times are summed over threads."""

    manifest: Manifest
    was_reused: bool
    seconds: float = 0.0
    read_s: float = 0.0
    compute_s: float = 0.0
    write_s: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
