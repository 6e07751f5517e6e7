"""Queues of tiles to label: a round, a search, or tiles that somebody picked on the map."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dino_assets.embeddings.stage.finding import SimilarTile, TileQuery, find_tiles, read_vector
from dino_assets.embeddings.stage.pool import choose_pool
from dino_assets.labels.records import Answer
from dino_assets.selections.records import ChosenTile
from dino_assets.selections.stage.paid import read_round
from dino_assets.serving.studio.answer_book import AnswerBook
from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.serving.studio.suggesting import suggest
from dino_assets.serving.studio.tile_lookup import ShownTile, TileLookup, TileName
from dino_assets.store.commits.columns import columns_of
from dino_assets.weights.records import spell_caveat

MAX_TILES = 20_000


@dataclass(frozen=True)
class TileQueue:
    """Tiles in the order in which they are shown, with what is said about each."""

    title: str
    tiles: tuple[ShownTile, ...]
    notes: tuple[Mapping[str, Any], ...]
    space: str | None = None
    round: str | None = None
    caveat: str = ""


def open_round(lookup: TileLookup, space: str, name: str) -> TileQueue:
    """Open a round, its tiles by rank.

    Raises:
        NotCommittedError: the round does not exist.
        StudioProblem: a tile of it is no longer in the table ``tiles``.
    """
    rounds = lookup.open("selections", space)
    facts = rounds.manifest(name).facts
    rows = read_round(rounds, name).to_pylist()  # rounds of earlier versions have fewer columns
    tiles = lookup.find([TileName(row["drop"], row["tile_id"]) for row in rows])
    shown = [column.name for column in columns_of(ChosenTile)]
    wanted = ("rank", "reason", "why", "stands_for", "neighbours", "latitude", "longitude")
    notes = [{name: row.get(name) for name in wanted if name in shown} for row in rows]
    caveat = spell_caveat(facts.get("caveat"))
    return TileQueue(name, tuple(tiles), tuple(notes), space, f"{space}/{name}", caveat)


def open_search(lookup: TileLookup, space: str, like: TileName, *, count: int) -> TileQueue:
    """Open the tiles that are most similar to a tile, the tile itself first.

    Raises:
        ConfigError: the tile is not embedded in this space.
        StudioProblem: ``count`` is out of range.
    """
    if not 1 <= count <= 1000:
        raise StudioProblem(422, "unexpected-count", f"count is {count}; expected 1 to 1,000")
    embeddings = lookup.open("embeddings", space)
    vector = read_vector(embeddings, like.tile_id, "cls")
    query = TileQuery(vector, count, without=frozenset({like.tile_id}))
    similar = find_tiles(choose_pool(embeddings), lookup.open("tiles"), query)
    names = [like, *(TileName(tile.drop, tile.tile_id) for tile in similar.tiles)]
    notes: list[Mapping[str, Any]] = [{"why": "The tile that was searched for."}]
    notes += [_note_similar(tile) for tile in similar.tiles]
    title = f"Similar to {like.tile_id}"
    return TileQueue(title, tuple(lookup.find(names)), tuple(notes), space, caveat=similar.caveat)


def open_tiles(lookup: TileLookup, names: Sequence[TileName], space: str | None) -> TileQueue:
    """Open tiles that somebody picked.

    Raises:
        StudioProblem: there are none or too many, or one does not exist.
    """
    if not 1 <= len(names) <= MAX_TILES:
        raise StudioProblem(
            422, "unexpected-count", f"{len(names)} tiles were sent; expected 1 to {MAX_TILES:,}"
        )
    tiles = lookup.find(names)
    return TileQueue("Tiles picked on the map", tuple(tiles), tuple({} for _ in tiles), space)


def describe_queue(
    queue: TileQueue, lookup: TileLookup, book: AnswerBook, *, by: str
) -> dict[str, Any]:
    """Describe a queue for the page: tiles, suggestions, and the answers that exist."""
    names = [TileName(tile.drop, tile.row.tile_id) for tile in queue.tiles]
    suggestions = suggest(lookup, queue.space, names)
    own = {answer.target.key: answer for answer in book.list_counting(by) if answer.target}
    labels = book.label_by_key
    boxes = _group_boxes(book, {tile.row.image_id for tile in queue.tiles})
    disputed = {conflict.target.key for conflict in book.merged.conflicts}
    items = []
    for tile, note in zip(queue.tiles, queue.notes, strict=True):
        key = tile.as_target().key
        label, suggestion = labels.get(key), suggestions.get(tile.row.tile_id)
        items.append({
            **_describe_tile(tile),
            **note,
            "label": label.class_name if label else None,
            "is_disputed": key in disputed,
            "own": describe_own(own[key]) if key in own else None,
            "boxes": boxes.get(tile.row.image_id, []),
            "suggestion": [suggestion.class_name, suggestion.probability] if suggestion else None,
        })  # fmt: skip
    return {
        "title": queue.title,
        "space": queue.space,
        "round": queue.round,
        "caveat": queue.caveat,
        "items": items,
    }


def describe_own(answer: Answer) -> dict[str, Any]:
    """Describe a person's own answer, with the id by which the page can undo it, and its time in milliseconds."""
    return {
        "id": answer.answer_id.rpartition("-")[2],
        "kind": answer.kind,
        "class": answer.class_name,
        "at": int(answer.at.timestamp() * 1000),
    }


def describe_own_of_tile(book: AnswerBook, tile: ShownTile, *, by: str) -> dict[str, Any] | None:
    """Describe the answer of a person about a tile that counts now; None if there is none."""
    key = tile.as_target().key
    own = [each for each in book.list_counting(by) if each.target and each.target.key == key]
    return describe_own(own[-1]) if own else None


def _describe_tile(tile: ShownTile) -> dict[str, Any]:
    row, place = tile.row, tile.row.place
    return {
        "drop": tile.drop,
        "tile_id": row.tile_id,
        "image_id": row.image_id,
        "path": row.path,
        "window": list(asdict(tile.window).values()),
        "around": list(asdict(tile.around).values()),
        "latitude": place.center_latitude,
        "longitude": place.center_longitude,
        "gsd_m": place.gsd_m,
    }


def _note_similar(tile: SimilarTile) -> dict[str, Any]:
    return {"rank": tile.rank, "why": f"Cosine {tile.cosine:.3f} with the tile searched for."}


def _group_boxes(book: AnswerBook, image_ids: set[str]) -> dict[str, list[dict[str, Any]]]:
    boxes: dict[str, list[dict[str, Any]]] = {}
    for answer in book.list_counting():
        target = answer.target
        if target is None or target.level != "box" or target.image_id not in image_ids:
            continue
        window = list(asdict(target.window).values())
        box = {"window": window, "by": answer.by, **describe_own(answer)}
        boxes.setdefault(target.image_id, []).append(box)
    return boxes
