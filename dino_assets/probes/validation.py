"""Training of a probe by its settings, and its cross-validation on ground that it did not see."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.errors import TooFewLabelsError
from dino_assets.probes.linear import train_linear
from dino_assets.probes.logistic import train_logistic
from dino_assets.probes.probe_settings import ProbeSettings
from dino_assets.probes.records import Probe, TrainingSet
from dino_assets.probes.splits import (
    TileGround,
    find_leaks,
    name_groups,
    number_groups,
    split_folds,
)
from dino_assets.probes.uncertainty import draw_groups

LEAST_LABELS = 10
ENSEMBLE = 5

log = logging.getLogger(__name__)
Train = Callable[[TrainingSet, NDArray[np.int64]], Probe]


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """The split of N labelled tiles into F folds.

    ``group_names`` are the blocks, flights or photographs, and ``groups`` (N,) their numbers. ``folds`` (N,) is
    the fold in which each tile is held out. ``are_trained_on`` (F, N) says which tiles each fold's probe learns
    from: those of the other folds, without tiles that show held-out ground.
    """

    group_names: tuple[str, ...]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]
    are_trained_on: NDArray[np.bool_]

    @property
    def left_out(self) -> int:
        """The mean number of tiles that a fold neither tests nor learns from: they show held-out ground."""
        out = self.folds[None] == np.arange(len(self.are_trained_on))[:, None]
        return round(float((~(self.are_trained_on | out)).sum(axis=1).mean()))


def plan_folds(labelled: TrainingSet, tiles: TileGround, settings: ProbeSettings) -> FoldPlan:
    """Split labelled tiles into folds that share no ground.

    Raises:
        TooFewLabelsError: there are too few labels or classes, or they all lie on one ground.
    """
    check_enough(labelled)
    names = name_groups(tiles, settings.split, block_m=settings.block_m)
    groups = number_groups(names)
    folds = split_folds(groups, labelled.classes, folds=settings.folds, seed=settings.seed)
    are_out = folds[None] == np.arange(int(folds.max()) + 1)[:, None]
    are_trained_on = np.array([~out & ~find_leaks(tiles, out) for out in are_out])
    if len(are_out) < 2 or not are_trained_on.any(axis=1).all():
        raise TooFewLabelsError(
            f"{count_of(len(labelled), 'label lies', 'labels lie')} so near to each other that none can be held "
            f"out to test the probe: {count_of(groups.max() + 1, 'group')} by {settings.split}. Label tiles of "
            "other places, or split otherwise: --split image, or a smaller --block-m.",
            labels=len(labelled),
            expected=LEAST_LABELS,
        )
    return FoldPlan(tuple(names), groups, folds, are_trained_on)


def train_probe(
    labelled: TrainingSet,
    groups: NDArray[np.int64],
    settings: ProbeSettings,
    *,
    strength: float | None = None,
) -> Probe:
    """Train a probe of the kind that the settings name."""
    if settings.kind == "linear":
        return train_linear(
            labelled,
            epochs=settings.epochs,
            class_weights=settings.class_weights,
            seed=settings.seed,
        )
    return train_logistic(
        labelled,
        groups=groups,
        strength=strength,
        class_weights=settings.class_weights,
        seed=settings.seed,
    )


def cross_validate(
    labelled: TrainingSet, plan: FoldPlan, settings: ProbeSettings, *, train: Train | None = None
) -> NDArray[np.float32]:
    """Predict each labelled tile by the probe of its fold, which did not see its ground (N, C).

    ``train`` replaces the training that the settings name.
    """
    train = train or (lambda rows, numbers: train_probe(rows, numbers, settings))
    probabilities = np.zeros((len(labelled), len(labelled.class_names)), np.float32)
    for fold, is_trained_on in enumerate(plan.are_trained_on):
        rows, out = np.flatnonzero(is_trained_on), np.flatnonzero(plan.folds == fold)
        probe = train(labelled.take(rows), plan.groups[rows])
        probabilities[out] = probe.predict(labelled.vectors[out])
        count = len(plan.are_trained_on)
        log.info(
            "fold %d of %d: trained on %d labels, tested on %d",
            fold + 1,
            count,
            len(rows),
            len(out),
        )
    return probabilities


def train_ensemble(
    labelled: TrainingSet, groups: NDArray[np.int64], probe: Probe, settings: ProbeSettings
) -> list[Probe]:
    """Train probes like ``probe`` on draws of whole groups with repetition (bootstrap)."""
    rng = np.random.default_rng(settings.seed)
    draws = [draw_groups(groups, rng=rng) for _ in range(ENSEMBLE)]
    return [
        train_probe(labelled.take(rows), groups[rows], settings, strength=probe.strength)
        for rows in draws
    ]


def check_enough(labelled: TrainingSet) -> None:
    """Check that there are labels of two classes, and at least ``LEAST_LABELS`` together.

    Raises:
        TooFewLabelsError: there are fewer.
    """
    classes = len(np.unique(labelled.classes))
    if len(labelled) < LEAST_LABELS or classes < 2:
        raise TooFewLabelsError(
            f"{count_of(len(labelled), 'tile has a label', 'tiles have labels')} of "
            f"{count_of(classes, 'class', 'classes')}. A probe needs at least {LEAST_LABELS} labels and 2 classes. "
            "Label more tiles of a round.",
            labels=len(labelled),
            expected=LEAST_LABELS,
        )
