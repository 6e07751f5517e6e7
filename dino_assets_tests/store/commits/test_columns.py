from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa

from dino_assets.selections.stage.drafting import SCHEMA
from dino_assets.store.commits.columns import columns_of


@dataclass(frozen=True)
class Row:
    name: str
    count: int
    total: Annotated[int, pa.int64()]
    share: float | None
    thumb: Annotated[bytes, pa.large_binary()] | None
    is_whole: bool = True


def test_columns_of__by_hand():
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
    """Rounds of earlier versions and of this one are one table."""
    assert str(SCHEMA).splitlines() == [
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
