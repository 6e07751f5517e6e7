"""Limits of a round: how many of its tiles may be of one drop, one camera, or one class of a detector."""

from collections.abc import Hashable, Sequence

import numpy as np

from dino_assets.drops.cards import find_camera_folder
from dino_assets.embeddings.stage.pool import TilePool
from dino_assets.numerics.open_rows import Quota
from dino_assets.selections.rounds import RoundSettings
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.reading import read_paths_and_classes


def read_quotas(
    tiles: CommittedTable, pool: TilePool, settings: RoundSettings
) -> tuple[Quota, ...]:
    """Read the drop, camera or class of each tile of a pool, for each limit that the settings have.

    A camera is a folder of photographs, in all drops together; see ``find_camera_folder``. All photographs
    of a drop outside such folders are of one camera. Tiles without a class have no limit.
    """
    quotas = []
    if settings.most_per_drop:
        quotas.append(_limit(pool.drops, settings.most_per_drop))
    if settings.most_per_camera or settings.most_per_class:
        paths, classes = read_paths_and_classes(tiles, pool.drops, pool.tile_ids)
        cameras = [name_camera(*each) for each in zip(pool.drops, paths, strict=True)]
        if settings.most_per_camera:
            quotas.append(_limit(cameras, settings.most_per_camera))
        if settings.most_per_class:
            quotas.append(_limit(classes, settings.most_per_class))
    return tuple(quotas)


def name_camera(drop: str, path: str) -> str:
    """Name the camera of a photograph: its folder, or the drop."""
    return find_camera_folder(path) or drop


def _limit(names: Sequence[Hashable], most: int) -> Quota:
    numbers: dict[Hashable, int] = {}
    groups = [numbers.setdefault(name, len(numbers)) for name in names]
    left = np.full(len(numbers), most, np.int64)
    if None in numbers:
        left[numbers[None]] = len(names)
    return Quota(np.asarray(groups, np.int64), left)
