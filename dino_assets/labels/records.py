"""Records of labels: what an answer is about, one person's answer, and a label that people agree on."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import pyarrow as pa

Level = Literal["tile", "image", "box"]
AnswerKind = Literal["label", "skip", "undo", "settle"]

MAX_CLASS_CHARS = 80
MAX_PERSON_CHARS = 80
# Characters without a width that join letters in Persian and Indian scripts, and parts of an emoji.
_JOINERS = str.maketrans("", "", "\u200c\u200d")


def is_name(word: str, most: int) -> bool:
    """Check whether a word without blanks around it can be the name of a class or person."""
    letters = word.translate(_JOINERS)
    return bool(letters) and len(word) <= most and letters.isprintable()


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of an upright photograph, in pixels."""

    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True, slots=True)
class Target:
    """The thing that an answer is about: a tile, a whole photograph, or a box in a photograph.

    ``image_id`` is the sha256 of the photograph's file. ``drop`` and ``path`` say where the person saw it; the
    same bytes in another drop are the same target. Only a tile has a ``tile_id``.
    """

    level: Level
    drop: str
    image_id: str
    path: str
    window: Window
    tile_id: str | None = None

    @property
    def key(self) -> str:
        """The text that is equal for equal targets, whichever drop they were seen in."""
        if self.level == "tile":
            return f"tile/{self.tile_id}"
        if self.level == "image":
            return f"image/{self.image_id}"
        return (
            f"box/{self.image_id}/{self.window.x},{self.window.y},{self.window.w},{self.window.h}"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one person; it never changes.

    A ``label`` gives the target a class and replaces the person's earlier answer about it; each labelled box is
    a box of its own. ``skip`` leaves the target without a class. ``undo`` takes back the person's answer
    ``undoes``. ``settle`` gives a class on which people disagreed. ``answer_id`` sorts by time.

    ``source`` is where it was given, such as ``studio`` or ``labels.json (coco)``. ``round`` is the round that
    asked for it, as ``SPACE/round-0001``. ``suggested`` is the class that the program had suggested. ``seconds``
    is the time that the person took.
    """

    answer_id: str
    kind: AnswerKind
    by: str
    at: datetime
    source: str
    target: Target | None = None
    class_name: str | None = None
    undoes: str | None = None
    round: str | None = None
    seconds: float | None = None
    suggested: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """A row of ``labels``: the class that the people who answered agree on, or that one of them settled.

    ``label_id`` is the id of the answer that decides, and ``by``, ``at``, ``source`` and ``round`` are that
    answer's. ``people`` is the number of persons who gave this class.
    """

    label_id: str
    level: Level
    drop: str
    image_id: str
    path: str
    tile_id: str | None
    x: int
    y: int
    w: int
    h: int
    class_name: str
    by: str
    at: datetime
    source: str
    round: str | None
    seconds: float | None
    people: int
    is_settled: bool

    @property
    def window(self) -> Window:
        """The rectangle of the photograph that has the class."""
        return Window(self.x, self.y, self.w, self.h)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A target with several classes: each class with the persons who gave it."""

    target: Target
    classes: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class TileLabel:
    """The class of a tile, and the label that it comes from: its own, its photograph's, or a box in it."""

    tile_id: str
    class_name: str
    label_id: str
    level: Level


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A row of ``history.parquet``: an answer, and whether it still counts."""

    answer_id: str
    kind: AnswerKind
    by: str
    at: datetime
    source: str
    level: Level | None
    drop: str | None
    image_id: str | None
    path: str | None
    tile_id: str | None
    x: Annotated[int, pa.int32()] | None
    y: Annotated[int, pa.int32()] | None
    w: Annotated[int, pa.int32()] | None
    h: Annotated[int, pa.int32()] | None
    class_name: str | None
    undoes: str | None
    round: str | None
    seconds: float | None
    suggested: str | None
    counts: bool
