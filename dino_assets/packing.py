"""Compressed lists of small dataclass records: a million records take some tens of megabytes."""

import marshal
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

BLOCK_RECORDS = 1024
T = TypeVar("T", bound="DataclassInstance")


class Packed(Sequence[T], Generic[T]):
    """A compressed list of dataclass records of one class, fastest when it is read in order.

    The fields of a record must be texts, numbers or None. Every 1,024 records are compressed as one block.
    Sorted paths have most letters in common, so a block of records with sorted paths takes some 10 kB instead
    of 200 kB. The last block stays uncompressed until it is full. Records that are read from a compressed
    block are new objects.
    """

    def __init__(self, kind: type[T], records: Iterable[T] = ()) -> None:
        names = [field.name for field in fields(kind)]
        self._make: Callable[..., T] = kind
        self._take: Callable[[T], tuple[Any, ...]] = attrgetter(*names)
        self._blocks: list[bytes] = []
        self._last: list[T] = []  # not packed yet
        self._read: tuple[int, list[T]] = (-1, [])
        for record in records:
            self.append(record)

    def append(self, record: T) -> None:
        """Add a record at the end."""
        self._last.append(record)
        if len(self._last) == BLOCK_RECORDS:
            # By columns, so that equal values are adjacent. marshal is safe, as the bytes stay in this process.
            columns = tuple(zip(*map(self._take, self._last), strict=True))
            self._blocks.append(zlib.compress(marshal.dumps(columns), 1))
            self._last = []

    def extend(self, records: Iterable[T]) -> None:
        """Add records at the end."""
        for record in records:
            self.append(record)

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK_RECORDS + len(self._last)

    def __iter__(self) -> Iterator[T]:
        for number in range(len(self._blocks)):
            yield from self._unpack(number)
        yield from self._last

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        at = at + len(self) if at < 0 else at
        if not 0 <= at < len(self):
            raise IndexError(at)
        number, place = divmod(at, BLOCK_RECORDS)
        if number == len(self._blocks):
            return self._last[place]
        if self._read[0] != number:
            self._read = number, self._unpack(number)
        return self._read[1][place]

    def _unpack(self, number: int) -> list[T]:
        columns = marshal.loads(zlib.decompress(self._blocks[number]))
        return list(map(self._make, *columns))
