"""Colours of drops on maps: a permanent number per drop, and a colour per number."""

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

PALETTE = (  # ten colours that most readers, also colour-blind ones, can distinguish on white and in print
    (31, 119, 180),
    (230, 120, 20),
    (34, 150, 80),
    (204, 51, 63),
    (128, 92, 180),
    (23, 170, 190),
    (200, 90, 160),
    (130, 95, 60),
    (160, 160, 30),
    (90, 100, 115),
)


def number_colours(drops: Iterable[str], earlier: Mapping[str, int]) -> dict[str, int]:
    """Assign a colour number to each drop: its number on ``earlier`` maps, or the next free one.

    Drops of earlier maps that are not on this map keep their numbers. So a retired drop that is restored
    later has its old colour, which no other drop got meanwhile.
    """
    numbers = dict(earlier)
    taken = set(numbers.values())
    free = (number for number in count() if number not in taken)
    for drop in sorted(set(drops) - earlier.keys()):
        numbers[drop] = next(free)
    return dict(sorted(numbers.items()))


def pick_colours(numbers: Sequence[int]) -> NDArray[np.uint8]:
    """Return the colours (K, 3) of colour numbers: the first ten are fixed, later ones are computed."""
    return np.array([_pick_colour(number) for number in numbers], np.uint8).reshape(-1, 3)


def _pick_colour(number: int) -> tuple[int, int, int]:
    if number < len(PALETTE):
        return PALETTE[number]
    rgb = colorsys.hsv_to_rgb(number * 0.6180339887 % 1, 0.75, 0.55 + 0.1 * (number % 4))
    return round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255)
