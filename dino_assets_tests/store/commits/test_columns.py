from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa

from dino_assets.selections.stage.drafting import SCHEMA, UNEXPLAINED_SCHEMA, UNSHARED_SCHEMA
from dino_assets.store.commits.columns import columns_of, make_batch, read_records


@dataclass(frozen=True)
class Row:
    name: str
    count: int
    total: Annotated[int, pa.int64()]
    share: float | None
    thumb: Annotated[bytes, pa.large_binary()] | None
    is_whole: bool = True


@dataclass(frozen=True)
class Point:
    east: float
    north: float
    note: str | None = None


@dataclass(frozen=True)
class Nest:
    name: str
    here: Point
    there: Point | None = None


@dataclass(frozen=True)
class Camp:
    name: str
    there: Point | None = None
    height: int | None = None


def test_columns_of__nested_record_contributes_its_columns():
    columns = columns_of(Camp)
    assert [each.name for each in columns] == ["name", "east", "north", "note", "height"]
    # The columns of an optional nested record are all nullable.
    assert [each.nullable for each in columns] == [False, True, True, True, True]
    assert [each.nullable for each in columns_of(Nest)[:4]] == [False, False, False, True]


def test_read_records__round_trip():
    camps = [Camp("a", Point(1, 2), 3), Camp("b", Point(1, 2, "wet")), Camp("c")]
    table = pa.Table.from_batches([make_batch(camps, pa.schema(columns_of(Camp)))])
    assert list(read_records(Camp, table)) == camps
    assert table["height"].to_pylist() == [3, None, None]


def test_read_records__other_columns_and_many_rows():
    camps = [Camp(str(n), height=n) for n in range(3000)]
    table = pa.Table.from_batches([make_batch(camps, pa.schema(columns_of(Camp)))])
    wide_table = table.append_column("more", pa.nulls(3000)).select(
        ["more", *table.column_names[::-1]]
    )
    assert list(read_records(Camp, wide_table)) == camps


def test_read_records__nested_record_without_a_required_column_is_none():
    rows = [{"name": "a", "east": 1.0}, {"name": "b", "note": "wet"}]
    table = pa.Table.from_pylist(rows, pa.schema(columns_of(Camp)))
    assert [camp.there for camp in read_records(Camp, table)] == [None, None]


def test_columns_of__every_type():
    assert pa.schema(columns_of(Row)).equals(
        pa.schema(
            [
                pa.field("name", pa.string(), nullable=False),
                pa.field("count", pa.int32(), nullable=False),
                pa.field("total", pa.int64(), nullable=False),
                pa.field("share", pa.float64()),
                pa.field("thumb", pa.large_binary()),
                pa.field("is_whole", pa.bool_(), nullable=False),
            ]
        )
    )


def test_columns_of__rounds_keep_their_schema():
    """Rounds of versions 1 to 6 have the first columns; 7 adds those that say why, 8 those of shares."""
    columns = [
        "round: int32 not null",
        "rank: int32 not null",
        "drop: string not null",
        "tile_id: string not null",
        "image_id: string not null",
        "path: string not null",
        "x: int32 not null",
        "y: int32 not null",
        "w: int32 not null",
        "h: int32 not null",
        "reason: string not null",
        "cluster: int32",
        "distance: double",
        "latitude: double",
        "longitude: double",
    ]
    assert str(UNEXPLAINED_SCHEMA).splitlines() == columns
    assert str(SCHEMA).splitlines()[: len(columns)] == columns
    why = ["stands_for", "to_chosen", "neighbours", "why"]
    assert UNSHARED_SCHEMA.names[len(columns) :] == why
    assert SCHEMA.names[len(columns) :] == [*why, "share", "score", "uncertainty"]
    assert all(SCHEMA.field(name).nullable for name in SCHEMA.names[len(columns) :])
