"""Import of labels from a file or folder as one person's answers; rows without a target are stored, too.

imports/<person>/<hash of the rows>.json
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from dino_assets.drops.boxes.records import make_storable
from dino_assets.errors import ObjectExistsError, ObjectNotFoundError
from dino_assets.labels.export_settings import LabelFormat
from dino_assets.labels.formats.reading import read_label_file
from dino_assets.labels.formats.records import FileRow, LabelFile, RejectedRow
from dino_assets.labels.matching import (
    Matchable,
    MatchedLabels,
    StoredTile,
    find_tile_id,
    match_rows,
)
from dino_assets.labels.records import Answer, Window
from dino_assets.labels.stage.answers import check_person, name_folder, put_answers, read_answers
from dino_assets.labels.stage.stored_tiles import (
    ChosenTiles,
    make_frame,
    make_frame_of,
    read_chosen_tiles,
    read_current_labels,
    read_photographs,
    read_rows,
)
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import corrupt, digest, is_json, seal, unseal
from dino_assets.store.objects import ObjectStore

IMPORTS = "imports/"
_IMAGE_CHARS = 16  # of the image id, which begin a tile id


@dataclass(frozen=True)
class ImportRecord:
    """What is stored about an import; ``unmatched`` are its rows that became no answer, with the reason.

    ``answers`` is the number of answers of the file, ``repeated`` the number of rows that say the same again,
    and ``unlabelled`` the number of rows or pictures without a class.
    """

    key: str
    at: datetime
    by: str
    source: str
    file_format: LabelFormat
    answers: int = 0
    repeated: int = 0
    unlabelled: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    unmatched: tuple[RejectedRow, ...] = ()


@dataclass(frozen=True)
class ImportReport:
    """The record of an import, and how many of its answers are new."""

    record: ImportRecord
    new: int


def import_labels(
    store: ObjectStore,
    path: Path,
    *,
    by: str = "",
    format: LabelFormat | None = None,  # noqa: A002
    round_name: str | None = None,
    now: datetime,
) -> ImportReport:
    """Import labels as answers of the person ``by``, by default named after the format.

    The same file again changes nothing, except that rows count whose tile or photograph has arrived since.
    ``round_name`` is the round that asked for the labels; by default the one that chose the tile.

    Raises:
        InvalidLabelsError: the file cannot be used.
        ConfigError: ``by`` cannot be the name of a person.
        CorruptObjectError: a table, round or answer in the store is damaged.
        StoreError: the store failed; run the command again.
    """
    file = read_label_file(path, format=format)
    person = check_person(by or file.format)
    # Names of files may hold halves of characters, which no table can store.
    source = make_storable(f"{path.name} ({file.format})")
    begun = _begin(store, file, person, source=source, now=now)
    matched = match_rows(file.rows, _read_matchable(store, file.rows))
    answers = _make_answers(begun, matched, round_name)
    existing = {each.answer_id for stored in read_answers(store) for each in stored.answers}
    new = [answer for answer in answers if answer.answer_id not in existing]
    if new:
        put_answers(store, new)
    record = ImportRecord(
        key=begun.key,
        at=begun.at,
        by=person,
        source=begun.source,
        file_format=file.format,
        answers=len(answers),
        repeated=matched.repeated,
        unlabelled=file.unlabelled,
        classes=dict(sorted(Counter(str(each.class_name) for each in answers).items())),
        levels=dict(sorted(Counter(each.target.level for each in answers if each.target).items())),
        unmatched=(*file.rejected, *matched.rejected),
    )
    if record != begun:
        store.put(begun.key, _dump(record), is_lasting=True)
    return ImportReport(record, len(new))


def read_imports(store: ObjectStore) -> Iterator[ImportRecord]:
    """Read the records of all imports, by person and key.

    Raises:
        CorruptObjectError: a record is damaged.
    """
    for key in sorted(info.key for info in store.list(IMPORTS) if is_json(info.key)):
        yield _read(store, key)


def _begin(
    store: ObjectStore, file: LabelFile, person: str, *, source: str, now: datetime
) -> ImportRecord:
    """Store the begin of an import, or read the record of the same import from before.

    Its time is stored before its answers, because it is a part of their ids: after an interruption, the same
    file makes the same ids.
    """
    content = digest({
        "rows": [asdict(row) for row in file.rows],
        "rejected": [asdict(row) for row in file.rejected],
    })  # fmt: skip
    key = f"{IMPORTS}{name_folder(person)}/{content[:32]}.json"
    record = ImportRecord(key, _to_milliseconds(now), person, source, file.format)
    try:
        return _read(store, key)
    except ObjectNotFoundError:
        pass
    try:
        store.put(key, _dump(record), if_absent=True)
    except ObjectExistsError:  # another process imports the same file now
        return _read(store, key)
    return record


def _make_answers(
    record: ImportRecord, matched: MatchedLabels, round_name: str | None
) -> list[Answer]:
    begin = f"{int(record.at.timestamp() * 1000):012x}"
    answers = []
    for each in matched.rows:
        identity = digest([record.key, each.target.key, each.row.class_name])
        answers.append(
            Answer(
                answer_id=f"{begin}-{identity[:16]}",
                kind="label",
                by=record.by,
                at=record.at,
                source=record.source,
                target=each.target,
                class_name=each.row.class_name.strip(),
                round=round_name or each.round,
            )
        )
    return sorted(answers, key=lambda answer: answer.answer_id)


def _read_matchable(store: ObjectStore, rows: Sequence[FileRow]) -> Matchable:
    """Read the tiles and photographs that rows may be about."""
    photographs = list(read_photographs(store))
    chosen = read_chosen_tiles(store)
    wanted = {find_tile_id(row) for row in rows} - {""}
    for row in rows:
        name = PurePosixPath(row.picture.replace("\\", "/")).name
        wanted |= {*chosen.names.get(name, ()), *chosen.names.get(name.rpartition(".")[0], ())}
    begins = {tile_id[:_IMAGE_CHARS] for tile_id in wanted}
    drops = {each.drop for each in photographs if each.image_id[:_IMAGE_CHARS] in begins}
    boxes: dict[str, list[Window]] = defaultdict(list)
    for label in read_current_labels(store):
        if label.level == "box":
            boxes[label.image_id].append(label.window)
    tiles = _read_tiles(store, wanted, drops, chosen)
    return Matchable(tiles, chosen.names, photographs, boxes)


def _read_tiles(
    store: ObjectStore, wanted: set[str], drops: set[str], chosen: ChosenTiles
) -> dict[str, StoredTile]:
    """Read tiles from the table ``tiles``; read those that are gone from it from the round that chose them."""
    tiles: dict[str, StoredTile] = {}
    for tile_id, (drop, row) in read_rows(store, drops, wanted).items():
        picked = chosen.tiles.get(tile_id)
        tiles[tile_id] = StoredTile(
            tile_id,
            row.image_id,
            picked.drop if picked else drop,
            picked.path if picked else row.path,
            make_frame(row),
            chosen.rounds.get(tile_id),
        )
    for tile_id in sorted(wanted & chosen.tiles.keys() - tiles.keys()):
        tile, round_name = chosen.tiles[tile_id], chosen.rounds[tile_id]
        parts = chosen.manifests[round_name].parts
        part = next((part for part in parts if part.name == tile.picture), None)
        if part is not None:
            window = Window(tile.x, tile.y, tile.w, tile.h)
            frame = make_frame_of(window, read_part(store, part))
            tiles[tile_id] = StoredTile(
                tile_id, tile.image_id, tile.drop, tile.path, frame, round_name
            )
    return tiles


def _to_milliseconds(at: datetime) -> datetime:
    whole = at.astimezone(UTC)
    return whole.replace(microsecond=whole.microsecond // 1000 * 1000)


def _dump(record: ImportRecord) -> bytes:
    return seal(asdict(record) | {"at": record.at.isoformat(timespec="milliseconds")})


def _read(store: ObjectStore, key: str) -> ImportRecord:
    def read() -> ImportRecord:
        body: dict[str, Any] = unseal(store.get(key), store=store.url, key=key)
        try:
            rejected = tuple(RejectedRow(**fields) for fields in body["unmatched"])
            at = datetime.fromisoformat(body["at"])
            fields = {name: body[name] for name in ImportRecord.__dataclass_fields__}
            return ImportRecord(**fields | {"at": at, "unmatched": rejected})
        except (LookupError, TypeError, ValueError) as err:
            raise corrupt(store=store.url, key=key, fault=f"it has {err!r}") from err

    return read_again(read)
