"""Boxes of a detector that are stored with a drop: one table per content, and a fact that names it."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dino_assets.drops.boxes.reading import parse_boxes
from dino_assets.drops.boxes.records import BoxFaults, BoxFile, BoxFormat, DetectedBox
from dino_assets.drops.facts import read_fact
from dino_assets.errors import (
    ConfigError,
    CorruptObjectError,
    InvalidBoxesError,
    ObjectNotFoundError,
)
from dino_assets.settings.choices import check_range
from dino_assets.store.commits.protocol import Recipe
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.objects import ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa

# A file of this name in a drop's folder has the drop's boxes.
BOXES_NAME = "boxes.json"
_BATCH_ROWS = 65_536
_ANY_SIZE = 2**62  # the table is one object, whatever its size


@dataclass(frozen=True)
class BoxSettings:
    """Settings of stored boxes; boxes with a score below ``least_score`` are not made into tiles.

    ``is_own_file`` is set if a person named the file, and not set if the drop's folder has it.
    """

    least_score: float = 0.0
    is_own_file: bool = True


@dataclass(frozen=True, eq=False)
class StoredBoxes:
    """The boxes of a drop as they are stored; ``sha256`` is the hash of the stored table."""

    sha256: str
    format: BoxFormat
    table: "pa.Table"
    pictures: int
    faults: BoxFaults
    settings: BoxSettings

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def boxes(self) -> Iterator[DetectedBox]:
        """Yield the boxes in their stored order, by file name."""
        from dino_assets.store.commits.columns import read_records

        return read_records(DetectedBox, self.table)


@dataclass(frozen=True)
class BoxRequest:
    """What a registration changes about a drop's boxes; by default nothing.

    ``file`` are new boxes, and ``in_source`` the bytes of the file ``boxes.json`` in the drop's folder. That
    file is used unless a person named another one. With ``is_removal`` the drop loses its boxes.
    """

    file: BoxFile | None = None
    least_score: float | None = None
    in_source: bytes | None = None
    is_removal: bool = False


def settle_boxes(store: ObjectStore, name: str, before: str, request: BoxRequest) -> str:
    """Store the boxes that a registration asks for; return their hash, empty for a drop without boxes.

    ``before`` is the hash of the drop's current boxes, or empty.

    Raises:
        InvalidBoxesError: the file in the drop's folder cannot be used, or the current boxes are needed and
            damaged.
        ConfigError: the least score is not in 0…1, or the drop has no boxes to which it applies.
    """
    if request.least_score is not None:
        check_range("least_score", request.least_score, least=0, most=1, meaning="a score")
    if request.is_removal:
        return ""
    if request.file is not None:
        least = request.least_score
        if least is None:
            least = _find_least_score(store, name, before)
        return _store(store, name, request.file, BoxSettings(least))
    if request.in_source is None and (not before or request.least_score is None):
        if request.least_score is not None:
            raise ConfigError(
                f"drop {name!r} has no boxes that a least score could leave out. Give the file with --boxes.",
                setting="least_score",
                value=request.least_score,
            )
        return before
    try:
        stored = read_stored_boxes(store, name, before) if before else None
    except CorruptObjectError as err:  # of this drop alone: a survey of many drops goes on
        raise InvalidBoxesError(str(err), drop=name, reason="damaged") from err
    settings = stored.settings if stored else BoxSettings(is_own_file=False)
    if request.least_score is not None:
        settings = replace(settings, least_score=request.least_score)
    if request.in_source is not None and not settings.is_own_file:
        file = parse_boxes(request.in_source, name=f"{BOXES_NAME} in the folder of drop {name}")
        return _store(store, name, file, settings)
    if stored is None or settings == stored.settings:
        return before
    file = BoxFile(stored.format, tuple(stored.boxes()), stored.pictures, stored.faults)
    return _store(store, name, file, settings)


def _find_least_score(store: ObjectStore, name: str, before: str) -> float:
    """Find the least score of a drop's current boxes; 0 if it has none, or if they are damaged."""
    try:
        return read_stored_boxes(store, name, before).settings.least_score if before else 0.0
    except CorruptObjectError:
        return 0.0


def find_boxes(store: ObjectStore, name: str) -> StoredBoxes | None:
    """Find the boxes of a drop; None if it has none.

    Raises:
        CorruptObjectError: the boxes cannot be read.
    """
    sha256 = read_fact(store, name, "boxes")
    return read_stored_boxes(store, name, sha256) if sha256 else None


def read_stored_boxes(store: ObjectStore, name: str, sha256: str) -> StoredBoxes:
    """Read the boxes of a drop by the hash of their table.

    Raises:
        CorruptObjectError: the table is missing or damaged.
    """
    from dino_assets.store.commits import tables

    table = tables.decode(read_again(lambda: _read_exactly(store, name, sha256)))
    facts: Mapping[str, Any] = tables.read_metadata(table.schema)
    return StoredBoxes(
        sha256,
        facts["format"],
        table,
        facts["pictures"],
        BoxFaults(facts["faults"], facts["examples"]),
        BoxSettings(**facts["settings"]),
    )


def is_made_of_boxes(recipe: Recipe, boxes: str) -> bool:
    """Check whether an output of a drop is made of its current ``boxes``; only tiles are made of boxes."""
    return recipe.output.asset != "tiles" or recipe.inputs.get("boxes", "") == boxes


def _read_exactly(store: ObjectStore, name: str, sha256: str) -> bytes:
    key = _key(name, sha256)
    try:
        data = store.get(key)
    except ObjectNotFoundError:
        data = None
    actual = None if data is None else hashlib.sha256(data).hexdigest()
    if data is None or actual != sha256:
        fault = "is missing" if data is None else "has other bytes than were stored"
        raise CorruptObjectError(
            f"{key!r} in store {store.url!r} {fault}, so the boxes of drop {name!r} cannot be read. Register "
            f"them again: dino-assets drops register {name} --boxes FILE",
            store=store.url,
            key=key,
            is_gone=data is None,
            sha256=actual or "",
        )
    return data


def _store(store: ObjectStore, name: str, file: BoxFile, settings: BoxSettings) -> str:
    import pyarrow as pa

    from dino_assets.store.commits import tables
    from dino_assets.store.commits.columns import columns_of, make_batch

    facts = {
        "drop": name,
        "format": file.format,
        "pictures": file.pictures,
        "faults": dict(file.faults.counts),
        "examples": file.faults.examples,
        "settings": vars(settings),
    }
    described = tables.with_metadata(pa.schema(columns_of(DetectedBox)), facts)
    batches = [
        make_batch(file.boxes[first : first + _BATCH_ROWS], described)
        for first in range(0, len(file.boxes), _BATCH_ROWS)
    ]
    table = pa.Table.from_batches(batches, described).combine_chunks()
    ((_, data),) = tables.encode(table, max_bytes=_ANY_SIZE)
    sha256 = hashlib.sha256(data).hexdigest()
    store.put(_key(name, sha256), data, is_lasting=True)
    return sha256


def _key(name: str, sha256: str) -> str:
    return f"boxes/{name}/{sha256}.parquet"
