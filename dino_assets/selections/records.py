"""Records of a round: picks, and rows of the stored table."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from dino_assets.selections.strategies.strategy import Reason


@dataclass(frozen=True)
class Pick:
    """A tile of the pool, picked at a rank for a reason."""

    rank: int  # from 1
    drop: str
    tile_id: str
    image_id: str
    reason: Reason


@dataclass(frozen=True)
class ChosenTile:
    """A row of ``selections``: the pick, its window in the photograph, and its place on the ground."""

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

    @property
    def picture(self) -> str:
        """The path of its picture, in a folder beside the contact sheet."""
        return f"tiles/{self.rank:04d}_{self.tile_id}.jpg"

    @property
    def caption(self) -> str:
        """The lines under its picture on the contact sheet."""
        return f"{self.rank}  {self.drop}  {self.reason}\n{PurePosixPath(self.path).name}"
