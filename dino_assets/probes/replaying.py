"""Labelled tiles, held-out ground, and predictions for tiles whose ground a probe did not see."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.errors import TooFewLabelsError
from dino_assets.numerics.kmeans import fit_kmeans

MIN_LABELS = 60
MIN_BLOCKS = 5
MIN_POOL = 25  # tiles to learn from while others are held out
MIN_PER_CLASS = 5  # and in at least 2 blocks, so that a block with the class can be held out
FOLDS = 10
_LEAST_HELD, _MOST_HELD = 0.3, 0.4  # shares of the tiles

# Trains on vectors (N, D) with classes (N,), and predicts the classes (M,) of other vectors (M, D).
Predictor = Callable[
    [NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]], NDArray[np.int64]
]


# Finds, for rows that are held out (N,), the other rows that show some of their ground (N,).
LeakFinder = Callable[[NDArray[np.bool_]], NDArray[np.bool_]]


def find_no_leaks(is_held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find no leaks: blocks share no ground."""
    return np.zeros_like(is_held)


@dataclass(frozen=True, eq=False)
class LabelledVectors:
    """Vectors (N, D) of length 1, classes (N,) and blocks of ground (N,) of labelled tiles.

    Tiles at the border of two blocks may show the same ground; ``find_leaks`` finds them. ``places`` (N, 2) are
    positions in metres, NaN where they are unknown. With them, ground that is held out is one region.
    """

    vectors: NDArray[np.float32]
    classes: NDArray[np.int64]
    blocks: NDArray[np.int64]
    find_leaks: LeakFinder = find_no_leaks
    places: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, rows: NDArray[np.integer]) -> "LabelledVectors":
        """Take some rows, in the given order."""

        def find_leaks(is_held: NDArray[np.bool_]) -> NDArray[np.bool_]:
            is_held_of_all = np.zeros(len(self), bool)
            is_held_of_all[rows[is_held]] = True
            return np.asarray(self.find_leaks(is_held_of_all)[rows])

        places = None if self.places is None else self.places[rows]
        return LabelledVectors(
            self.vectors[rows], self.classes[rows], self.blocks[rows], find_leaks, places
        )


def find_replayable(classes: NDArray[np.int64], blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the rows whose class has enough labels to hold some out.

    Raises:
        TooFewLabelsError: fewer than ``MIN_LABELS`` rows, 2 classes or ``MIN_BLOCKS`` blocks are left.
    """
    is_used = np.zeros(len(classes), bool)
    for name in np.unique(classes):
        rows = np.flatnonzero(classes == name)
        if len(rows) >= MIN_PER_CLASS and len(np.unique(blocks[rows])) >= 2:
            is_used[rows] = True
    used = np.flatnonzero(is_used)
    n_classes, n_blocks = len(np.unique(classes[used])), len(np.unique(blocks[used]))
    if len(used) < MIN_LABELS or n_classes < 2 or n_blocks < MIN_BLOCKS:
        raise TooFewLabelsError(
            f"{count_of(len(used), 'labelled tile')} of {count_of(n_classes, 'class', 'classes')} on "
            f"{count_of(n_blocks, 'block')} of ground can be used; expected at least {MIN_LABELS} tiles, 2 classes "
            f"and {MIN_BLOCKS} blocks. A class is used if it has {MIN_PER_CLASS} tiles, on 2 blocks. Label more tiles.",
            labels=len(used),
            expected=MIN_LABELS,
        )
    return used


def split_blocks(
    labelled: LabelledVectors, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows into a pool and held-out rows, about 30 % of all, that share no block and no ground.

    Blocks are held out from a random one outwards, since scattered blocks would have long borders. A block with
    more than 40 % of the rows always stays in the pool. Rows of the pool that show held-out ground
    are on neither side.
    """
    blocks = labelled.blocks
    names, sizes = np.unique(blocks, return_counts=True)
    held: list[int] = []
    count = 0
    for place in _order_blocks(labelled, names, rng):
        if count + sizes[place] <= _MOST_HELD * len(blocks):
            held.append(place)
            count += int(sizes[place])
        if count >= _LEAST_HELD * len(blocks):
            break
    is_held = np.isin(blocks, names[held])
    is_pool = ~is_held & ~labelled.find_leaks(is_held)
    return np.flatnonzero(is_pool), np.flatnonzero(is_held)


def _order_blocks(
    labelled: LabelledVectors, names: NDArray[np.int64], rng: np.random.Generator
) -> list[int]:
    """Order blocks by their distance from a random block; in random order if the place of that block is unknown."""
    order = rng.permutation(len(names))
    if labelled.places is None:
        return [*map(int, order)]
    middles = _find_middles(labelled.places, np.searchsorted(names, labelled.blocks))
    distances = np.linalg.norm(middles - middles[order[0]], axis=1)
    is_known = np.isfinite(distances)
    if not is_known.any():
        return [*map(int, order)]
    distances[~is_known] = rng.choice(distances[is_known], int((~is_known).sum()))
    return [*map(int, order[np.argsort(distances[order], kind="stable")])]


def _make_folds(
    labelled: LabelledVectors, names: NDArray[np.int64], rng: np.random.Generator, folds: int
) -> NDArray[np.int64]:
    """Give each block a fold; blocks of a fold are near one another, as far as their places are known."""
    fold = np.empty(len(names), np.int64)
    fold[rng.permutation(len(names))] = np.arange(len(names)) % folds
    if labelled.places is None:
        return fold
    middles = _find_middles(labelled.places, np.searchsorted(names, labelled.blocks))
    placed = np.flatnonzero(np.isfinite(middles).all(axis=1))
    if len(placed) >= folds:
        near = middles[placed] - middles[placed].mean(axis=0)
        fold[placed] = fit_kmeans(near.astype(np.float32), folds, rng=rng).labels
    return fold


def _find_middles(places: NDArray[np.float64], of_name: NDArray[np.int64]) -> NDArray[np.float64]:
    """Find the middle (B, 2) of the tiles of each block."""
    sizes = np.bincount(of_name)
    return np.stack([np.bincount(of_name, each) / sizes for each in places.T], axis=1)


def make_splits(
    labelled: LabelledVectors, *, seeds: int
) -> tuple[LabelledVectors, list[tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Leave out classes with too few labels, and split the rest into a pool and held-out rows for each seed.

    Raises:
        TooFewLabelsError: there are too few tiles, classes or blocks, or too few tiles are left in a pool.
    """
    used = labelled.take(find_replayable(labelled.classes, labelled.blocks))
    splits = [split_blocks(used, np.random.default_rng(seed)) for seed in range(seeds)]
    least = min(len(pool) for pool, _ in splits)
    if least < MIN_POOL:
        raise TooFewLabelsError(
            f"only {count_of(least, 'labelled tile')} of {len(used)} can be learnt from while others are held out; "
            f"expected at least {MIN_POOL}. The rest shows the same ground as held-out tiles. Label tiles that lie "
            "further apart, or of another flight.",
            labels=least,
            expected=MIN_POOL,
        )
    return used, splits


def measure_macro_accuracy(predicted: NDArray[np.int64], classes: NDArray[np.int64]) -> float:
    """Measure the mean, over the classes that occur, of the share of their rows that are predicted right."""
    is_right = predicted == classes
    return float(np.mean([is_right[classes == name].mean() for name in np.unique(classes)]))


def predict_unseen(
    labelled: LabelledVectors, predict: Predictor, rng: np.random.Generator, *, folds: int = FOLDS
) -> NDArray[np.int64]:
    """Predict the class of every row by a probe that saw no row of its block, and none of its ground.

    Rows without any row to learn from get -1.
    """
    names = np.unique(labelled.blocks)
    fold = _make_folds(labelled, names, rng, folds)[np.searchsorted(names, labelled.blocks)]
    predicted = np.empty(len(labelled), np.int64)
    for number in np.unique(fold):
        is_held = fold == number
        seen = labelled.take(np.flatnonzero(~is_held & ~labelled.find_leaks(is_held)))
        inside = np.flatnonzero(is_held)
        if not len(seen):
            predicted[inside] = -1
            continue
        predicted[inside] = predict(seen.vectors, seen.classes, labelled.vectors[inside])
    return predicted
