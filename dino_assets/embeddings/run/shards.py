"""Shards: groups of whole images whose tiles are computed together, and messages about them."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from dino_assets.store.commits.protocol import Receipt
from dino_assets.store.commits.sealing import digest

SHARD_TILES = 256


@dataclass(frozen=True, eq=False)
class Shard:
    """The tiles of some whole images of a drop; ``id`` is a hash of the shard's inputs.

    ``number`` counts the drop's shards from 0. ``first`` is the number of the shard's first row in the drop's
    table. ``copied_rows`` are stored embeddings of some of its images, to be copied instead of computed.
    """

    number: int
    first: int
    id: str
    tiles: pa.Table
    copied_rows: pa.Table | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle, with a copy of the rows: a pickled slice would contain the whole table."""
        return self.__dict__ | {"tiles": self.tiles.take(np.arange(self.tiles.num_rows))}


@dataclass(frozen=True)
class WorkerReady:
    """Message: a worker is ready to compute, with facts about its engine and its measured speed."""

    facts: dict[str, Any]
    threads: int
    tile_s: float = 0.0  # wall seconds per tile at full load; 0 if not measured
    image_s: float = 0.0  # seconds to read one image
    tile_bytes: float = 0.0


@dataclass(frozen=True)
class Step:
    """Message: some work is done, or there is a ``warning``; seconds are summed over threads."""

    tiles: int = 0
    read_s: float = 0.0
    compute_s: float = 0.0
    write_s: float = 0.0
    warning: str | None = None


@dataclass(frozen=True)
class Done:
    """Message: a shard is stored."""

    number: int
    receipt: Receipt


Message = WorkerReady | Step | Done
Work = Callable[[Iterable[Shard]], Generator[Message, None, None]]


def cut_shards(
    tiles: pa.Table, *, recipe_id: str, shard_tiles: int = SHARD_TILES, is_placed: bool = False
) -> list[Shard]:
    """Group a drop's tiles (sorted by id) into shards of whole images.

    A shard has at most ``shard_tiles`` tiles, unless a single image has more. With ``is_placed`` the number
    of the shard's first row is part of its id, because patch map files are named by row.
    """
    ids = tiles["image_id"].to_numpy(zero_copy_only=False)
    if not len(ids):
        return []
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]).tolist()
    cuts = [0]
    for begin, end in pairwise([*starts, len(ids)]):
        if end - cuts[-1] > shard_tiles and begin > cuts[-1]:
            cuts.append(begin)
    shards: list[Shard] = []
    for begin, end in pairwise([*cuts, len(ids)]):
        piece = tiles.slice(begin, end - begin)
        recipe = f"{recipe_id} from {begin}" if is_placed else recipe_id
        name = digest([recipe, piece["tile_id"].to_pylist()])[:32]
        shards.append(Shard(len(shards), begin, name, piece))
    return shards
