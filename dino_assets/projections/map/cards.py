"""Data for the cards of the map page: origins and choices of tiles, packed for the page's script."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dino_assets.tiles.rows import TileOrigin

CARD_PX = 400  # the card is 200 CSS px wide; this is sharp on screens with two pixels per CSS px
DEGREES = 1e-5  # about a metre on the ground; camera positions are less exact
NO_PATH, NO_PLACE = 2**32 - 1, -(2**31)


@dataclass(frozen=True)
class Choice:
    """What the card of a chosen tile shows: the rank, the reason in a word, and a sentence (``note``).

    ``cluster`` is None if the strategy has no clusters. ``picture`` is a WebP of up to ``CARD_PX``; if it
    is empty, the card shows the thumbnail.
    """

    rank: int
    reason: str
    note: str
    cluster: int | None = None
    picture: bytes = b""


def pack_choices(chosen: Mapping[int, Choice]) -> dict[str, Any]:
    """Pack the choices for the page's script, in the given order; ``chosen`` maps tiles' rows to choices."""
    choices = chosen.values()
    return {
        "chosen": list(chosen),
        "ranks": [choice.rank for choice in choices],
        "reasons": [choice.reason for choice in choices],
        "notes": [choice.note for choice in choices],
        "clusters": [choice.cluster for choice in choices],
        "pictures": [to_base64(choice.picture) for choice in choices],
    }


def pack_origins(origins: Sequence[TileOrigin | None]) -> dict[str, Any]:
    """Pack the photographs and places of tiles for the page: each path once, and 12 bytes per tile."""
    numbers: dict[str, int] = {}
    path_of = np.full(len(origins), NO_PATH, "<u4")
    places = np.full((len(origins), 2), NO_PLACE, "<i4")
    for row, origin in enumerate(origins):
        if origin is None:
            continue
        path_of[row] = numbers.setdefault(origin.path, len(numbers))
        place = (origin.center_latitude, origin.center_longitude)
        if place[0] is not None and place[1] is not None:
            places[row] = [round(place[0] / DEGREES), round(place[1] / DEGREES)]
    return {
        "paths": list(numbers),
        "pathOf": to_base64(path_of.tobytes()),
        "places": to_base64(places.tobytes()),
        "degrees": DEGREES,
    }


def to_base64(data: bytes) -> str:
    """Encode bytes as text for the page's script."""
    return base64.b64encode(data).decode("ascii")
