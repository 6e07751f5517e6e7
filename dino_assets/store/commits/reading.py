"""Committed tables, opened without their rows: manifests are read at once, rows on request.

Arrow is imported when the first rows are read, because commands that list or register drops need only the
manifests.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dino_assets.compute.threads import map_ahead
from dino_assets.errors import NotCommittedError
from dino_assets.store.commits.manifests import list_manifests, manifest_key, read_manifests
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest, OutputId, Part
from dino_assets.store.objects import ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa

    from dino_assets.store.commits.mapped import MappedParts

_READERS = 16


@dataclass(frozen=True)
class CommittedTable:
    """The committed outputs of one asset in one space, sorted by drop.

    ``unmade`` names the requested drops that are not committed. The object holds only manifests. Rows are
    read and verified part by part, so a reader needs memory for one part, not for the whole table. With
    ``copies`` a part is read from the store once, and then from a copy that is mapped into memory.
    """

    store: ObjectStore
    asset: str
    space: str | None
    manifests: tuple[Manifest, ...]
    unmade: tuple[str, ...] = ()
    copies: "MappedParts | None" = None

    @cached_property
    def drops(self) -> tuple[str, ...]:
        """The drops that are committed."""
        return tuple(drop for drop in self._by_drop if drop)

    @cached_property
    def _by_drop(self) -> dict[str | None, Manifest]:
        return {manifest.recipe.output.drop: manifest for manifest in self.manifests}

    @property
    def rows(self) -> int:
        """The number of rows over all drops."""
        return sum(manifest.rows for manifest in self.manifests)

    def manifest(self, drop: str | None) -> Manifest:
        """Return the manifest of one drop.

        Raises:
            NotCommittedError: the asset is not committed for that drop.
        """
        if drop in self._by_drop:
            return self._by_drop[drop]
        output = OutputId(self.asset, drop, self.space)
        raise NotCommittedError(
            f"{output} is not in store {self.store.url!r}. Materialise it first, in Dagster's UI or by a "
            "command such as `dino-assets run`.",
            output=str(output),
        )

    def parts(
        self, columns: list[str] | None = None, *, ahead_bytes: int = 0
    ) -> "Iterator[tuple[Manifest, pa.Table]]":
        """Yield the rows as one verified table per stored part, each with the manifest of its drop.

        A part is read when it is needed. With ``ahead_bytes``, up to that many bytes of further parts are
        read before, several at the same time: every request to a bucket waits.
        """
        jobs = [(m, part) for m in self.manifests for part in _table_parts(m)]
        largest = max((part.bytes for _, part in jobs), default=0)
        threads = min(_READERS, ahead_bytes // max(2 * largest, 1))

        def read(job: tuple[Manifest, Part]) -> "tuple[Manifest, Part, bytes | pa.Table]":
            return *job, self._fetch(job[1], columns)

        with ExitStack() as reading:
            parts: Iterator[tuple[Manifest, Part, bytes | pa.Table]] = map(read, jobs)
            if threads > 1:
                parts = reading.enter_context(closing(map_ahead(read, jobs, threads=threads)))
            for manifest, part, data in parts:
                yield manifest, self._open(part, data, columns)

    def _fetch(self, part: Part, columns: list[str] | None) -> "bytes | pa.Table":
        """Open the copy of a part, or read its bytes from the store."""
        copy = None if self.copies is None else self.copies.find(part, columns)
        return read_part(self.store, part) if copy is None else copy

    def _open(self, part: Part, data: "bytes | pa.Table", columns: list[str] | None) -> "pa.Table":
        """Decode the bytes of a part, and make a copy of its table if there are to be copies."""
        from dino_assets.store.commits import tables

        if not isinstance(data, bytes):
            return data
        if self.copies is not None:
            return self.copies.add(part, columns, data)
        return tables.decode(data, columns)

    def read(self, drop: str | None = None, columns: list[str] | None = None) -> "pa.Table":
        """Read one drop's rows into memory; without ``drop``, read the rows of a table of all drops.

        Raises:
            NotCommittedError: the output is not committed, or it has files but no table.
            CorruptObjectError: a part is not what was committed.
        """
        import pyarrow as pa

        manifest = self.manifest(drop)
        parts = _table_parts(manifest)
        if not parts:
            output = str(manifest.recipe.output)
            raise NotCommittedError(
                f"{output} has no table, only files. Write them to a folder with `dino-assets export`.",
                output=output,
                reason="no-table",
            )
        return pa.concat_tables(
            self._open(part, self._fetch(part, columns), columns) for part in parts
        )


@dataclass(frozen=True)
class SpacedTable:
    """An asset with outputs in several embedding spaces; ``in_space`` opens the table of one."""

    store: ObjectStore
    asset: str
    drops: tuple[str, ...] | None = None
    registered: tuple[str, ...] = ()

    def in_space(self, space: str) -> CommittedTable:
        """Open what is committed in one space; ``unmade`` names the drops that have no output there."""
        return open_table(
            self.store, self.asset, space=space, drops=self.drops, registered=self.registered
        )


def _table_parts(manifest: Manifest) -> list[Part]:
    # A part with a name is a file beside the table.
    return [part for part in manifest.parts if part.name is None]


def open_table(
    store: ObjectStore,
    asset: str,
    *,
    space: str | None = None,
    drops: Iterable[str] | None = None,
    registered: Iterable[str] = (),
) -> CommittedTable:
    """Open the committed outputs of an asset: all of them, or those of ``drops``. Only manifests are read.

    Drops in ``drops`` or ``registered`` without a committed output are not an error here: they are listed in
    ``unmade``. Reading one of them raises NotCommittedError.
    """
    wanted = set(registered)
    if drops is None:
        manifests = list_manifests(store, asset, space)
    else:
        named = set(drops)
        wanted |= named
        outputs = [OutputId(asset, drop, space) for drop in sorted(named)]
        manifests = read_manifests(store, [manifest_key(output) for output in outputs])
    made = {m.recipe.output.drop for m in manifests}
    return CommittedTable(
        store, asset, space, tuple(manifests), tuple(sorted(wanted - made - {None}))
    )
