"""Arrow columns of a table, made from the record of its rows: one list of columns, not two."""

from dataclasses import fields
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa

_TYPES: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int32(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    date: pa.date32(),
    datetime: pa.timestamp("ms"),
}


def columns_of(record: type) -> list[pa.Field]:
    """Make a column per field; one that may be None is nullable.

    ``int`` is int32: give ``Annotated[int, pa.int64()]`` for another type than the usual one.
    """
    return [_column(each.name, each.type) for each in fields(record)]


def _column(name: str, kind: Any) -> pa.Field:
    nullable = False
    if get_origin(kind) in (Union, UnionType):
        (kind,) = set(get_args(kind)) - {NoneType}
        nullable = True
    if get_origin(kind) is Literal:
        kind = str
    metadata = getattr(kind, "__metadata__", ())
    given = [each for each in metadata if isinstance(each, pa.DataType)]
    return pa.field(name, given[0] if given else _TYPES[kind], nullable=nullable)
