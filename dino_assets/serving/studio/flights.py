"""Flights for the studio: outlines of photographs and of chosen tiles on the ground, and heat maps."""

from typing import Any

from dino_assets.errors import NotCommittedError
from dino_assets.images.ground.geoparquet import decode_wkb
from dino_assets.serving.studio.answer_book import AnswerBook
from dino_assets.serving.studio.heat import describe_heat_maps, describe_scale
from dino_assets.serving.studio.tile_lookup import TileLookup, TileName
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.objects import ObjectStore


def describe_flight(
    store: ObjectStore, lookup: TileLookup, book: AnswerBook, drop: str
) -> dict[str, Any]:
    """Describe a drop on the ground: photographs, chosen tiles with their labels, and heat maps.

    Raises:
        NotCommittedError: the drop has no images.
    """
    images = lookup.open("images").read(drop, ["path", "geometry", "place_quality"]).to_pylist()
    placed = [image for image in images if image["geometry"]]
    return {
        "drop": drop,
        "photographs": [
            {"path": image["path"], "rings": decode_wkb(image["geometry"])} for image in placed
        ],
        "unplaced": sum(image["place_quality"] is not None for image in images) - len(placed),
        "tiles": _describe_chosen(store, lookup, book, drop),
        "heat_maps": describe_heat_maps(store, lookup, drop),
        "heat_scale": describe_scale(),
    }


def _describe_chosen(
    store: ObjectStore, lookup: TileLookup, book: AnswerBook, drop: str
) -> list[dict[str, Any]]:
    chosen: dict[str, str] = {}
    for space in list_spaces(store, "selections"):
        rounds = lookup.open("selections", space)
        for name in rounds.drops:
            table = rounds.read(name, ["drop", "tile_id"]).to_pylist()
            chosen |= {row["tile_id"]: name for row in table if row["drop"] == drop}
    answered = {
        answer.target.tile_id
        for answer in book.list_counting()
        if answer.target is not None and answer.target.tile_id is not None
    }
    labels = book.label_by_key
    tiles = lookup.find([TileName(drop, tile_id) for tile_id in chosen])
    described = []
    for tile in tiles:
        row = tile.row
        label = labels.get(tile.as_target().key)
        described.append({
            "tile_id": row.tile_id,
            "path": row.path,
            "round": chosen[row.tile_id],
            "rings": decode_wkb(row.place.geometry) if row.place.geometry else [],
            "latitude": row.place.center_latitude,
            "longitude": row.place.center_longitude,
            "label": label.class_name if label else None,
            "is_answered": row.tile_id in answered,
        })  # fmt: skip
    return described


def check_drop(lookup: TileLookup, drop: str) -> str:
    """Return a drop's name if it has images.

    Raises:
        NotCommittedError: it has none.
    """
    if drop not in lookup.open("images").drops:
        raise NotCommittedError(
            f"drop {drop!r} has no images in the store. Run `dino-assets run {drop}`.",
            output=f"images/{drop}",
        )
    return drop
