"""Records of the commit protocol: what is asked for, what is stored, what is said about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, order=True)
class OutputId:
    """Names one output: an asset, for one drop or for all, in one embedding space or in none."""

    asset: str
    drop: str | None = None
    space: str | None = None

    def __str__(self) -> str:
        """Reads like ``images/flight-1``; the space follows an ``@``."""
        name = f"{self.asset}/{self.drop}" if self.drop else self.asset
        return f"{name}@{self.space}" if self.space else name


@dataclass(frozen=True)
class Part:
    """One immutable object, named by its content. ``name`` is set for files, ``rows`` for tables."""

    key: str
    sha256: str
    bytes: int
    rows: int = 0
    name: str | None = None


@dataclass(frozen=True)
class Recipe:
    """All that decides an output, known before it is computed: equal recipes, equal bytes."""

    output: OutputId
    code_version: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The one object that makes an output exist. Holds no time, host or run, so it can be replayed."""

    recipe: Recipe
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the table, over all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Stored bytes, over all parts."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class Receipt:
    """A finished shard of an output that is not committed yet: parts already put, found by ``shard``."""

    output: OutputId
    shard: str
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spent:
    """What a run took, summed over its threads, and what else an operator sees; never stored."""

    read_s: float = 0.0
    compute_s: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    write_s: float = 0.0  # of what the stage stored itself


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine to be stored as it is, under its own name."""

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
    """Where a stage pushes what it makes, in order. Nothing of it is visible before the manifest."""

    def rows(self, batch: "pa.RecordBatch") -> None:
        """Add rows of the draft's schema; they are stored in parts of a fixed size."""

    def part(self, part: Part) -> None:
        """Add a part that is in the store already.

        Raises:
            CommitRefusedError: it is not there.
        """

    def file(self, name: str, data: bytes) -> None:
        """Store a small file made in memory (a picture, a page) beside the table."""

    def local_file(self, file: LocalFile) -> None:
        """Store a file of this machine as it is."""

    def facts(self, values: Mapping[str, Any]) -> None:
        """Keep in the manifest what was learned while producing (counts, reasons).

        Raises:
            CommitRefusedError: values that JSON cannot hold.
        """

    def spent(self, spent: Spent) -> None:
        """Report what the run took."""


@dataclass(frozen=True)
class Turns:
    """That writers of ``name`` commit one after the other, and what each looks at when it is its turn.

    ``check`` raises where what was committed meanwhile makes the draft wrong.
    """

    name: str
    check: Callable[[], None]


@dataclass(frozen=True)
class Draft:
    """An output that is not committed: its recipe, and how to produce it if it is needed.

    ``produce`` pushes into a writer. It may raise CommitRefusedError at any point, even after its
    last row: nothing is visible before the end. With ``is_anew`` it is needed even if an output of an
    equal recipe is there: what its recipe does not say, such as an unmounted disk, was otherwise then.
    """

    recipe: Recipe
    produce: Callable[[OutputWriter], None]
    schema: "pa.Schema | None" = None
    is_anew: bool = False
    turns: Turns | None = None


@dataclass(frozen=True)
class Committed:
    """What a commit did. ``seconds`` passed on the clock; the others are summed over threads."""

    manifest: Manifest
    was_reused: bool
    seconds: float = 0.0
    read_s: float = 0.0
    compute_s: float = 0.0
    write_s: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
