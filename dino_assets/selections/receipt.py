"""Receipt of a round: hashes that link each chosen tile to its photograph, the weights and its vector.

The receipt is a JSON file beside the round's table. It names no time, host or model name, so a round that is
made again has the same receipt. ``docs/receipts.md`` says how to check it without this package.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

RECEIPT = "receipt.json"  # the file's name
FORMAT = 1


@dataclass(frozen=True)
class StoredRow:
    """A row of a stored table: the sha256 of its Parquet file, and the row's number in that file, from 0."""

    part: str
    row: int


@dataclass(frozen=True)
class TileLinks:
    """A chosen tile: its photograph's sha256, its window, and its rows in ``tiles`` and ``embeddings``.

    ``window`` is x, y, w, h in pixels of the upright photograph. ``vector_sha256`` is the hash of the stored
    numbers, in little-endian order.
    """

    rank: int
    drop: str
    tile_id: str
    image_sha256: str
    path: str
    window: tuple[int, int, int, int]
    tile: StoredRow
    embedding: StoredRow
    vector_sha256: str


@dataclass(frozen=True)
class DropParts:
    """The Parquet files of a drop's tables, each as (sha256, rows, name); their hash is an input of the round."""

    tiles: tuple[tuple[str, int, str | None], ...]
    embeddings: tuple[tuple[str, int, str | None], ...]


@dataclass(frozen=True)
class RoundReceipt:
    """The links of a round.

    ``preprocessing`` are the settings of the space, among them the hash of the weights; their hash is the
    space's id. ``code_version``, ``config`` and ``inputs`` decide the choice: the version of the code that
    chose, the settings with the seed, and the hashes of the tables and earlier rounds. ``drops`` has the
    drops with a chosen tile.
    """

    round: str
    space: str
    preprocessing: Mapping[str, Any]
    code_version: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    drops: Mapping[str, DropParts]
    tiles: tuple[TileLinks, ...]


def dump_receipt(receipt: RoundReceipt) -> bytes:
    """Encode a receipt as JSON; equal receipts give equal bytes."""
    fields = asdict(receipt) | {"format": FORMAT}
    return json.dumps(fields, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def parse_receipt(data: bytes) -> RoundReceipt:
    """Parse a receipt.

    Raises:
        ValueError: it is not a receipt of this format.
    """
    try:
        fields = json.loads(data)
        if fields.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        fields["drops"] = {
            drop: DropParts(*(tuple(map(tuple, tables[name])) for name in ("tiles", "embeddings")))
            for drop, tables in fields["drops"].items()
        }
        fields["tiles"] = tuple(_read_links(each) for each in fields["tiles"])
        return RoundReceipt(**fields)
    except (KeyError, TypeError, AttributeError) as err:
        raise ValueError(f"it is not a receipt of a round: {err!r}") from err


def _read_links(fields: dict[str, Any]) -> TileLinks:
    rows = {name: StoredRow(**fields[name]) for name in ("tile", "embedding")}
    if not all(isinstance(each.row, int) and each.row >= 0 for each in rows.values()):
        raise ValueError("a row's number must be 0 or more")
    return TileLinks(**{**fields, **rows, "window": tuple(fields["window"])})
