"""What the page's card says of a tile besides its picture, packed for the page's script."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dino_assets.tiles.rows import TileOrigin

CARD_PX = 400  # the card is 200 wide, and sharp on a screen of two pixels to one
DEGREES = 1e-5  # a metre of ground; what a camera knows of itself is coarser
NO_PATH, NO_PLACE = 2**32 - 1, -(2**31)


@dataclass(frozen=True)
class Choice:
    """A chosen tile: its rank, the word for the reason, and a sentence that says why it was chosen.

    ``cluster`` is where the strategy has any. ``picture`` is a WebP of up to ``CARD_PX``, sharper than
    the thumb; without one the thumb is shown.
    """

    rank: int
    reason: str
    note: str
    cluster: int | None = None
    picture: bytes = b""


def pack_choices(chosen: Mapping[int, Choice]) -> dict[str, Any]:
    """Pack chosen rows, in their order, for the page."""
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
    """Pack origins for the page: each path once, 12 bytes a tile."""
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
    """Bytes as the page's script takes them."""
    return base64.b64encode(data).decode("ascii")
