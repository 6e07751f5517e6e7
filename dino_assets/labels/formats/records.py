"""Records of labels in files: a picture to be written with its labels, and a row that was read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dino_assets.labels.crops import Box, CropFrame
from dino_assets.labels.export_settings import LabelFormat
from dino_assets.labels.records import Level, Window

RejectedReason = Literal[
    "not-a-box",  # not four numbers
    "not-finite",
    "no-area",
    "score-out-of-range",
    "other-shape",  # a polygon or another shape that is not a rectangle
    "unknown-category",  # the file has no name for the number of the class
    "unknown-picture",  # the row names a picture that the file does not list
    "no-file-name",
    "not-text",  # a label file that is not UTF-8 text
    "detector-failed",
    "several-classes",  # of one target in one file
    "class-name",  # too long, or with characters that cannot be printed
    "no-such-tile",
    "no-such-picture",
    "several-pictures",  # have the name
    "other-size",  # the picture has another shape than the file says
    "outside",  # of the picture
]
MAX_FILE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class CropBox:
    """A labelled box that a crop shows: its class and label, and its visible part in pixels of the crop.

    ``window`` is the whole box in the photograph.
    """

    class_name: str
    label_id: str
    window: Window
    box: Box


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A class that a model suggests for a tile, with its probability; a prototype gives none."""

    class_name: str
    score: float | None = None


@dataclass(frozen=True)
class Suggestions:
    """The classes that a model suggests, by tile id, and the hashes of what they follow from."""

    of_tile: Mapping[str, Suggestion] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TileCrop:
    """A picture for a labelling program: a tile of a round, and what is known about it.

    ``name`` is the path of the picture in the export's folder.

    ``class_name`` is the class of the whole tile; None if it has none. ``image_url`` is where a labelling
    program in a browser loads the picture. ``geometry`` is the tile's outline on the ground as WKB, or None.
    ``more`` are further columns of the tables.
    """

    name: str
    tile_id: str
    image_id: str
    drop: str
    path: str
    frame: CropFrame
    md5: str = ""
    class_name: str | None = None
    label_id: str | None = None
    level: Level = "tile"
    boxes: tuple[CropBox, ...] = ()
    suggestion: Suggestion | None = None
    image_url: str = ""
    geometry: bytes | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The picture's name in the folder ``images``."""
        return self.name.rpartition("/")[2]

    @property
    def window(self) -> Window:
        """The tile's rectangle in the photograph."""
        return self.frame.window

    @property
    def width(self) -> int:
        """The crop's width in pixels."""
        return self.frame.width

    @property
    def height(self) -> int:
        """The crop's height in pixels."""
        return self.frame.height

    @property
    def is_labelled(self) -> bool:
        """Whether it has a label: its own, its photograph's or a box."""
        return self.class_name is not None or bool(self.boxes)

    def list_boxes(self) -> list[tuple[str, Box]]:
        """List class and box of all labels; the label of the whole tile is a box as large as the crop."""
        whole = (0.0, 0.0, float(self.width), float(self.height))
        own = [(self.class_name, whole)] if self.class_name is not None else []
        return [*own, *((each.class_name, each.box) for each in self.boxes)]


def list_classes(crops: "tuple[TileCrop, ...]", more: tuple[str, ...] = ()) -> list[str]:
    """List the classes of crops, their boxes and suggestions, and ``more``, sorted."""
    classes = set(more)
    for crop in crops:
        classes |= {name for name, _ in crop.list_boxes()}
        if crop.suggestion is not None:
            classes.add(crop.suggestion.class_name)
    return sorted(classes)


@dataclass(frozen=True, slots=True)
class FileRow:
    """A label of a file: the picture as the file names it, the class, and the box in the picture.

    Without ``box`` the class is that of the whole picture. The box is in shares of the picture's sides if
    ``is_relative``, else in pixels of a picture of the size ``frame``. ``window`` is a rectangle of the
    photograph, which own tables have in place of a box. ``where`` names the row in its file.
    """

    where: str
    picture: str
    class_name: str
    box: Box | None = None
    is_relative: bool = False
    frame: tuple[int, int] | None = None
    tile_id: str = ""
    image_id: str = ""
    window: Window | None = None
    level: Level | None = None
    is_stem: bool = False  # the picture's name has no suffix


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that became no answer: where it is in its file, its picture, and why."""

    where: str
    picture: str
    reason: RejectedReason
    detail: str = ""


@dataclass(frozen=True)
class LabelFile:
    """What was read from a file or folder; ``unlabelled`` is the number of pictures or rows without a class."""

    format: LabelFormat
    rows: tuple[FileRow, ...]
    rejected: tuple[RejectedRow, ...] = ()
    unlabelled: int = 0
