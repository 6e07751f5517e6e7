"""Checked input of map drawings: coordinates, groups, colours and chosen rows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dino_assets.errors import ConfigError
from dino_assets.projections.map.colours import pick_colours


class Points(NamedTuple):
    """Checked input: coordinates (N, 2) float64; groups (N,), chosen rows and earlier rows as int64."""

    coordinates: np.ndarray
    groups: np.ndarray
    names: list[str]
    counts: list[int]
    chosen: np.ndarray
    earlier: np.ndarray
    colours: NDArray[np.uint8]


def check_points(
    coordinates: ArrayLike,
    groups: Sequence[int] | np.ndarray | None,
    names: Sequence[str],
    chosen: Sequence[int] | np.ndarray,
    earlier: Sequence[int] | np.ndarray = (),
    *,
    colours: Sequence[int] | None = None,
) -> Points:
    """Check the input of a map drawing. ``colours`` are colour numbers, one per group.

    Raises:
        ConfigError: the coordinates are not finite (N, 2), or groups, names, colours or chosen rows do
            not fit them.
    """
    xy = np.asarray(coordinates, np.float64)
    if not xy.size:
        xy = xy.reshape(0, 2)
    if xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
        seen = (
            "some are not finite"
            if xy.ndim == 2 and xy.shape[1] == 2
            else f"their shape is {xy.shape}"
        )
        raise ConfigError(
            f"the coordinates cannot be drawn: {seen}; expected finite numbers of shape (N, 2)",
            setting="coordinates",
            value=xy.shape,
        )
    rows = check_rows("chosen", chosen, len(xy))
    before = check_rows("earlier", earlier, len(xy))
    if groups is None:
        zeros = np.zeros(len(xy), np.int64)
        return Points(xy, zeros, [], [], rows, before, pick_colours([0]))
    group_of = np.asarray(groups, np.int64).ravel()
    if len(group_of) != len(xy):
        raise ConfigError(
            f"{len(group_of)} groups for {len(xy)} tiles: expected one per tile, or None",
            setting="groups",
            value=len(group_of),
        )
    if len(names) > 65_535:
        raise ConfigError(
            f"{len(names)} groups are too many: expected at most 65,535",
            setting="group_names",
            value=len(names),
        )
    if group_of.size and not (group_of.min() >= 0 and group_of.max() < len(names)):
        raise ConfigError(
            f"groups are numbers from {group_of.min()} to {group_of.max()}: expected 0 to {len(names) - 1}, "
            f"because there are {len(names)} group_names",
            setting="groups",
            value=(int(group_of.min()), int(group_of.max())),
        )
    numbers = list(range(len(names)) if colours is None else colours)
    if len(numbers) != len(names) or min(numbers, default=0) < 0:
        raise ConfigError(
            f"{len(numbers)} colours, the smallest {min(numbers, default=0)}, for {len(names)} groups: expected "
            "one number per group, none below 0, or None",
            setting="colours",
            value=len(numbers),
        )
    counts = np.bincount(group_of, minlength=len(names)).tolist()
    return Points(xy, group_of, list(names), counts, rows, before, pick_colours(numbers))


def check_rows(setting: str, rows: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Check row numbers and return each once, in ascending order.

    Raises:
        ConfigError: the map has no row of this number.
    """
    distinct = np.unique(np.asarray(rows, np.int64))
    if distinct.size and not (distinct[0] >= 0 and distinct[-1] < count):
        raise ConfigError(
            f"{setting} rows are numbers from {distinct[0]} to {distinct[-1]}: expected 0 to {count - 1}, "
            f"because there are {count} tiles",
            setting=setting,
            value=(int(distinct[0]), int(distinct[-1])),
        )
    return distinct
