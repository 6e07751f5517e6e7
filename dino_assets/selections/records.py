"""Records of a round: picks, and rows of the stored table."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

import pyarrow as pa

from dino_assets.selections.strategies.strategy import Reason, TakenShare


@dataclass(frozen=True)
class Pick:
    """A tile of the pool, picked at a rank for a reason; the other fields are those of ``ChosenTile``."""

    rank: int  # from 1
    drop: str
    tile_id: str
    image_id: str
    reason: Reason
    stands_for: int | None = None
    to_chosen: float | None = None
    neighbours: tuple[str, ...] = ()
    why: str | None = None
    uncertainty: float | None = None

    @property
    def share(self) -> TakenShare:
        """The share of the budget to which the pick belongs; its name is empty if the budget has no shares."""
        return self.reason.share or TakenShare("")


@dataclass(frozen=True)
class ChosenTile:
    """A row of ``selections``: the pick, its window in the photograph, its place on the ground, and why.

    ``stands_for`` counts the pool's tiles whose nearest chosen tile is this one.
    ``to_chosen`` is the distance to the nearest tile chosen before it. ``neighbours`` are the ids of the most
    similar tiles. Rounds of versions up to 6 do not have these three, nor ``why``. ``share`` names the
    tile's share of the budget, a class or ``explore``; ``score`` is the cosine with the class's prototype.
    Rounds of versions up to 7 do not have these two. ``uncertainty`` is that of the probe's prediction, in
    rounds of the strategy ``uncertainty``; rounds of versions up to 8 do not have it.
    """

    round: int
    rank: int
    drop: str
    tile_id: str
    image_id: str
    path: str
    x: int
    y: int
    w: int
    h: int
    reason: str
    cluster: int | None
    distance: float | None
    latitude: float | None
    longitude: float | None
    stands_for: int | None = None
    to_chosen: float | None = None
    neighbours: Annotated[tuple[str, ...], pa.list_(pa.string())] | None = None
    why: str | None = None
    share: str | None = None
    score: float | None = None
    uncertainty: float | None = None

    @property
    def picture(self) -> str:
        """The path of its picture, in a folder beside the contact sheet."""
        return f"tiles/{self.rank:04d}_{self.tile_id}.jpg"

    @property
    def caption(self) -> str:
        """The lines under its picture on the contact sheet."""
        return f"{self.rank}  {self.drop}  {self.label}\n{PurePosixPath(self.path).name}"

    @property
    def label(self) -> str:
        """The reason in a word; of a tile that was picked for a class, also the class and the score."""
        if self.score is None:
            return self.reason
        return f"{self.reason} to {self.share} {self.score:.3f}"
