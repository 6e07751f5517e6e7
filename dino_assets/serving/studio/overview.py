"""Rounds, drops and people for the studio's tables."""

from dataclasses import asdict
from typing import Any

from dino_assets.drops.listing import describe_drops
from dino_assets.drops.records import Drop
from dino_assets.drops.registry import find_drops
from dino_assets.selections.stage.listing import ListedRound, list_rounds
from dino_assets.serving.studio.answer_book import AnswerBook
from dino_assets.serving.studio.tile_lookup import TileLookup
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.records import spell_caveat


def describe_rounds(
    store: ObjectStore, lookup: TileLookup, book: AnswerBook, *, by: str
) -> list[dict[str, Any]]:
    """Describe all rounds, the latest first, with how much of each is answered."""
    of_anybody, of_person = set(), set()
    for answer in book.list_counting():
        if answer.target is not None and answer.target.tile_id is not None:
            of_anybody.add(answer.target.tile_id)
            if answer.by == by:
                of_person.add(answer.target.tile_id)
    described = []
    for listed in sorted(list_rounds(store), key=lambda each: (each.space, -each.round)):
        ids = set() if listed.error else set(_list_tiles(lookup, listed))
        described.append({
            "name": listed.name,
            "space": listed.space,
            "tiles": listed.tiles,
            "pool": listed.pool,
            "strategy": listed.strategy,
            "model": listed.model,
            "side_px": listed.side_px,
            "tiles_by_drop": dict(listed.tiles_by_drop),
            "left_out": dict(listed.left_out),
            "caveat": spell_caveat(listed.caveat),
            "error": listed.error,
            "answered": len(ids & of_anybody),
            "answered_by_you": len(ids & of_person),
        })  # fmt: skip
    return described


def _list_tiles(lookup: TileLookup, listed: ListedRound) -> list[str]:
    table = lookup.open("selections", listed.space).read(listed.name, ["tile_id"])
    return list(table["tile_id"].to_pylist())


def describe_all_drops(store: ObjectStore) -> list[dict[str, Any]]:
    """Describe all drops: state of each asset, and the quality of their pictures."""
    describe = describe_drops(store)
    rows: list[dict[str, Any]] = []
    for name, drop in find_drops(store).items():
        if not isinstance(drop, Drop):
            rows.append({"name": name, "error": str(drop)})
            continue
        states = {state.asset: state for state in describe(drop)}
        images = states["images"].manifest
        facts = dict(images.facts) if images else {}
        rows.append({
            "name": name,
            "source": drop.source,
            "tags": list(drop.tags),
            "is_retired": drop.is_retired,
            "assets": {asset: [each.state, each.rows] for asset, each in states.items()},
            "usable": facts.get("usable", 0),
            "quarantined": facts.get("quarantined", 0),
            "reasons": facts.get("reasons", {}),
            "findings": facts.get("findings", {}),
            "has_report": any(part.name == "report.html" for part in images.parts)
            if images
            else False,
        })  # fmt: skip
    return rows


def describe_conflicts(lookup: TileLookup, book: AnswerBook) -> list[dict[str, Any]]:
    """Describe the targets on which people disagree, each with who gave which class."""
    return [
        {
            "key": conflict.target.key,
            "level": conflict.target.level,
            "drop": conflict.target.drop,
            "path": conflict.target.path,
            "tile_id": conflict.target.tile_id
            or lookup.find_tile_of(conflict.target.drop, conflict.target.image_id),
            "window": list(asdict(conflict.target.window).values()),
            "classes": {name: list(people) for name, people in conflict.classes.items()},
        }
        for conflict in book.merged.conflicts
    ]
