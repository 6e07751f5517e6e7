"""Attributes of labelled tiles by which slices are made: hour, ground sample distance, and cluster."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from dino_assets.numerics.kmeans import fit_kmeans

_GSD_CM = (0.5, 1, 2, 3, 5, 10, 20, 50)  # borders
_LABELS_PER_CLUSTER, _MOST_CLUSTERS = 50, 20


def name_hours(taken: Iterable[datetime | None]) -> list[str | None]:
    """Name the hour of each photograph in the camera's local time, such as ``06:00-07:00``."""
    return [
        None if each is None else f"{each.hour:02}:00-{(each.hour + 1) % 24:02}:00"
        for each in taken
    ]


def name_distances(gsd_m: Iterable[float | None]) -> list[str | None]:
    """Name the range of each ground sample distance, such as ``2-3 cm``."""
    return [None if each is None or not each > 0 else _name_range(100 * each) for each in gsd_m]


def _name_range(cm: float) -> str:
    place = int(np.searchsorted(_GSD_CM, cm, side="right"))
    if place == 0:
        return f"below {_GSD_CM[0]:g} cm"
    if place == len(_GSD_CM):
        return f"{_GSD_CM[-1]:g} cm and more"
    return f"{_GSD_CM[place - 1]:g}-{_GSD_CM[place]:g} cm"


def name_clusters(vectors: NDArray[np.float32], tile_ids: Sequence[str]) -> list[str | None]:
    """Name the cluster of each unit vector (N, D) by the tile nearest to its centre."""
    count = min(_MOST_CLUSTERS, len(vectors) // _LABELS_PER_CLUSTER)
    if count < 2:
        return [None] * len(vectors)
    clusters = fit_kmeans(vectors, count, rng=np.random.default_rng(0))
    central: dict[int, str] = {}
    for row in np.argsort(clusters.squared, kind="stable").tolist():
        central.setdefault(int(clusters.labels[row]), tile_ids[row])
    return [f"like {central[label]}" for label in clusters.labels.tolist()]
