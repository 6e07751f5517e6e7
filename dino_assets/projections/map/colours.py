"""Colours of drops on maps: a number per drop, which it keeps, and a colour per number."""

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

PALETTE = (  # ten that are told apart in print and by most colour-blind readers, on white
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
    """Give each drop the number of its colour: the one it had on ``earlier`` maps, else the next free one.

    Drops of earlier maps that are not on this one stay in the result: one that is put away and brought
    back has the colour that it had, and no other drop has got it meanwhile.
    """
    numbers = dict(earlier)
    taken = set(numbers.values())
    free = (number for number in count() if number not in taken)
    for drop in sorted(set(drops) - earlier.keys()):
        numbers[drop] = next(free)
    return dict(sorted(numbers.items()))


def pick_colours(numbers: Sequence[int]) -> NDArray[np.uint8]:
    """Pick the colours (K, 3) of some numbers: ten by hand, then hues a golden section apart."""
    return np.array([_pick_colour(number) for number in numbers], np.uint8).reshape(-1, 3)


def _pick_colour(number: int) -> tuple[int, int, int]:
    if number < len(PALETTE):
        return PALETTE[number]
    rgb = colorsys.hsv_to_rgb(number * 0.6180339887 % 1, 0.75, 0.55 + 0.1 * (number % 4))
    return round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255)
