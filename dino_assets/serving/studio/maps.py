"""The map for the studio: points as binary arrays, small enough for a million tiles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.projections.map.colours import number_colours, pick_colours
from dino_assets.serving.studio.answer_book import AnswerBook
from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.serving.studio.queues import MAX_TILES
from dino_assets.serving.studio.tile_lookup import TileLookup, TileName
from dino_assets.weights.records import spell_caveat


@dataclass(frozen=True)
class StudioMap:
    """The rows of a map, and what is the same for all of them."""

    table: pa.Table
    drops: tuple[str, ...]
    colours: tuple[tuple[int, ...], ...]
    caveat: str

    def list_tiles(self, rows: Sequence[int]) -> list[TileName]:
        """List the tiles of some rows.

        Raises:
            StudioProblem: there are too many, or the map has no such row.
        """
        if len(rows) > MAX_TILES:
            detail = f"{len(rows):,} tiles were marked; expected at most {MAX_TILES:,}"
            raise StudioProblem(422, "too-many-tiles", detail)
        if not all(type(row) is int and 0 <= row < len(self.table) for row in rows):  # not True
            raise StudioProblem(409, "other-map", "the map has changed; load the page again")
        taken = self.table.take(pa.array(rows, pa.int64()))
        pairs = zip(taken["drop"].to_pylist(), taken["tile_id"].to_pylist(), strict=True)
        return [TileName(drop, tile_id) for drop, tile_id in pairs]


def open_map(lookup: TileLookup, space: str) -> StudioMap:
    """Open the map of a space.

    Raises:
        NotCommittedError: the space has no map.
    """
    projections = lookup.open("projections", space)
    manifest = projections.manifest(None)
    table = projections.read()
    drops = sorted(pc.unique(table["drop"]).to_pylist())
    numbers = number_colours(drops, manifest.recipe.config.get("colours", {}))
    colours = pick_colours([numbers[drop] for drop in drops]).tolist()
    return StudioMap(
        table, tuple(drops), tuple(map(tuple, colours)), spell_caveat(manifest.facts.get("caveat"))
    )


def describe_map(opened: StudioMap, book: AnswerBook) -> dict[str, Any]:
    """Describe a map for the page; the points come as bytes."""
    return {
        "count": len(opened.table),
        "drops": opened.drops,
        "colours": opened.colours,
        "classes": list(book.count_classes()),
        "caveat": opened.caveat,
    }


def encode_points(opened: StudioMap, book: AnswerBook) -> bytes:
    """Encode the points: float32 x and y of each, then uint16 drops, then uint16 classes.

    A class is its place in the list of classes, from 1; 0 is a tile without a label, and 65535 one that was
    skipped.
    """
    table = opened.table
    xy = np.empty((len(table), 2), "<f4")
    xy[:, 0], xy[:, 1] = table["x"].to_numpy(), table["y"].to_numpy()
    drop_of = pc.index_in(table["drop"], value_set=pa.array(opened.drops)).to_numpy()
    names = {name: number for number, name in enumerate(book.count_classes(), 1)}
    numbers: dict[str, int] = {}
    for answer in book.list_counting():
        if answer.target is not None and answer.target.tile_id is not None:
            numbers[answer.target.tile_id] = 65_535 if answer.kind == "skip" else 0
    for label in book.label_by_key.values():
        if label.tile_id is not None:
            numbers[label.tile_id] = names.get(label.class_name, 0)
    class_of = np.zeros(len(table), "<u2")
    if numbers:
        places = pc.index_in(table["tile_id"], value_set=pa.array(list(numbers)))
        has_answer = places.is_valid().to_numpy(zero_copy_only=False)
        values = np.array(list(numbers.values()), np.uint16)
        class_of[has_answer] = values[places.drop_null().to_numpy()]
    return b"".join((xy.tobytes(), drop_of.astype("<u2").tobytes(), class_of.tobytes()))
