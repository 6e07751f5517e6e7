"""Conversion between dataclass records and Arrow tables: columns, writing rows, reading rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import pyarrow as pa

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

_READ_ROWS = 1024
_TYPES: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int32(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    date: pa.date32(),
    datetime: pa.timestamp("ms"),
}


class _Member(NamedTuple):
    """A field of a record: one column, or the columns of a nested record."""

    name: str
    record: Any  # the class of the nested record, or None
    is_optional: bool
    columns: tuple[pa.Field, ...]


def columns_of(record: type) -> list[pa.Field]:
    """List the Arrow columns of a record class; fields that may be None are nullable.

    ``int`` becomes int32. ``Annotated[int, pa.int64()]`` chooses another type. A nested record contributes
    its own columns, under their own names.
    """
    return [column for member in _members_of(record) for column in member.columns]


def make_batch(records: Iterable["DataclassInstance"], schema: pa.Schema) -> pa.RecordBatch:
    """Make a batch of rows from records; a nested record that is None leaves its columns null."""
    return pa.RecordBatch.from_pylist([_flatten(record) for record in records], schema)


def read_records(record: type[Record], table: pa.Table) -> Iterator[Record]:
    """Yield a record for each row of a table. Further columns of the table are ignored.

    An optional nested record is None where one of its required columns is null.
    """
    chosen = table.select([column.name for column in columns_of(record)])
    for batch in chosen.to_batches(max_chunksize=_READ_ROWS):
        for row in batch.to_pylist():
            yield _build(record, row)


@cache
def _members_of(record: type) -> tuple[_Member, ...]:
    return tuple(_describe(each.name, each.type) for each in fields(record))


def _describe(name: str, kind: Any) -> _Member:
    is_optional = False
    if get_origin(kind) in (Union, UnionType):
        (kind,) = set(get_args(kind)) - {NoneType}
        is_optional = True
    if is_dataclass(kind) and isinstance(kind, type):
        columns = columns_of(kind)
        if is_optional:
            columns = [column.with_nullable(True) for column in columns]
        return _Member(name, kind, is_optional, tuple(columns))
    if get_origin(kind) is Literal:
        kind = str
    metadata = getattr(kind, "__metadata__", ())
    given = [each for each in metadata if isinstance(each, pa.DataType)]
    column = pa.field(name, given[0] if given else _TYPES[kind], nullable=is_optional)
    return _Member(name, None, is_optional, (column,))


def _flatten(record: "DataclassInstance") -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for member in _members_of(type(record)):
        value = getattr(record, member.name)
        if member.record is None:
            columns[member.name] = value
        elif value is not None:
            columns |= _flatten(value)
    return columns


def _build(record: type[Record], row: Mapping[str, Any]) -> Record:
    values: dict[str, Any] = {}
    for name, inner, is_optional, _ in _members_of(record):
        if inner is None:
            values[name] = row[name]
        elif is_optional and any(row[each] is None for each in _required_of(inner)):
            values[name] = None
        else:
            values[name] = _build(inner, row)
    return record(**values)


@cache
def _required_of(record: type) -> tuple[str, ...]:
    return tuple(column.name for column in columns_of(record) if not column.nullable)
