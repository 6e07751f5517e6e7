"""Why a tile was chosen, in figures of its own and in one sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.numerics.covering import measure_earlier
from dino_assets.numerics.neighbours import find_nearest, find_neighbours
from dino_assets.numerics.rows import as_rows
from dino_assets.selections.choosing import Selection
from dino_assets.selections.strategies.strategy import REASONS, Reason

NEIGHBOURS = 5


@dataclass(frozen=True)
class PickFigures:
    """What the vectors say about a chosen tile.

    ``stands_for`` counts the pool's tiles, itself included, whose nearest chosen tile of all rounds is this
    one. ``to_chosen`` is the distance to the nearest tile that was chosen before it; None for the first one.
    ``neighbours`` are the rows of the pool that are most similar to it. ``uncertainty`` is None in rounds
    that are not chosen by it.
    """

    stands_for: int
    to_chosen: float | None
    neighbours: tuple[int, ...]
    why: str
    uncertainty: float | None = None


def explain_selection(
    vectors: NDArray[np.float32],
    selection: Selection,
    *,
    chosen: Sequence[int] = (),
    uncertainties: NDArray[np.float32] | None = None,
) -> list[PickFigures]:
    """Explain each pick of a pool of unit vectors (N, D); ``chosen`` rows were chosen in earlier rounds.

    ``uncertainties`` (N,) are those by which rows were picked, if they were.
    """
    picked = selection.indices
    if not len(picked):
        return []
    before = np.asarray(chosen, np.int64)
    labels = find_nearest(vectors, vectors[np.r_[before, picked]]).labels
    counts = np.bincount(labels, minlength=len(before) + len(picked))[len(before) :]
    distances = measure_earlier(as_rows(vectors), picked, before)
    neighbours = _find_neighbours(vectors, picked)
    of_pick = [None] * len(picked) if uncertainties is None else uncertainties[picked].tolist()
    return [
        PickFigures(
            int(stands_for),
            None if math.isinf(distance) else float(distance),
            tuple(near),
            _spell(reason, int(stands_for), float(distance), len(vectors), uncertainty),
            uncertainty,
        )
        for stands_for, distance, near, reason, uncertainty in zip(
            counts, distances, neighbours, selection.reasons, of_pick, strict=True
        )
    ]


def _find_neighbours(vectors: NDArray[np.float32], picked: NDArray[np.int64]) -> list[list[int]]:
    count = min(NEIGHBOURS + 1, len(vectors))
    nearest = find_neighbours(vectors, count, queries=vectors[picked]).indices.tolist()
    return [
        [row for row in rows if row != own][:NEIGHBOURS]
        for own, rows in zip(picked.tolist(), nearest, strict=True)
    ]


def _spell(
    reason: Reason, stands_for: int, distance: float, pool: int, uncertainty: float | None
) -> str:
    why = REASONS[reason.word]
    if reason.word == "uncertain":
        why = why.replace("about it", f"about it ({uncertainty:.3f})")
    if reason.share is not None and reason.share.score is not None:
        why = why.replace("its class", reason.share.name) + f", cosine {reason.share.score:.3f}"
    if reason.cluster is not None:
        why = why.replace("its cluster", f"cluster {reason.cluster}")
        if reason.word == "farthest":
            why += f" in cluster {reason.cluster}"
    near = "" if math.isinf(distance) else f"; distance {distance:.3f} to the nearest of them"
    if near and "chosen before it" not in why:
        near = f"; distance {distance:.3f} to the nearest tile chosen before it"
    stands = f"it stands for {stands_for:,} of {count_of(pool, 'tile')}"
    return f"{why[0].upper()}{why[1:]}{near}; {stands}."
