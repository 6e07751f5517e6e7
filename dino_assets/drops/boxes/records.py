"""Records of a detector's boxes, and of what is wrong with those that cannot be used."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

BoxFormat = Literal["coco", "megadetector", "yolo"]
BoxFault = Literal[
    "not-a-box",  # not four numbers
    "not-finite",
    "no-area",
    "score-out-of-range",
    "unknown-category",  # the box is used, and its class is the category's id
    "unknown-picture",  # a COCO annotation of an image that the file does not list
    "no-file-name",
    "not-text",  # a label file that is not UTF-8 text
    "detector-failed",  # the detector could not read the picture
    "no-such-picture",  # in the drop
    "several-pictures",  # of the drop have the name, or several names of the file are one picture
    "unusable-picture",
    "thermal-picture",
    "other-size",  # the picture has another shape than the file says
    "outside",  # of the picture
    "no-data",  # of a mosaic
    "too-large",  # for a mosaic
]
# The faults of boxes that became no tile, one for each box. The others are faults of the file.
UNPLACED: tuple[BoxFault, ...] = (
    "no-such-picture", "several-pictures", "unusable-picture", "thermal-picture", "other-size", "outside",
    "no-data", "too-large",
)  # fmt: skip
MAX_SIDE_PX = 1_000_000
MAX_EXAMPLES = 5
MAX_EXAMPLE_CHARS = 200


@dataclass(frozen=True, slots=True)
class DetectedBox:
    """A box as the detector's file describes it: the picture's file name, and the box's left, top, width and height.

    These are shares of the picture's sides if ``is_relative``, else pixels. ``frame_width`` and
    ``frame_height`` are the size of the picture that the detector saw, if the file has it.
    """

    file: str
    x: float
    y: float
    w: float
    h: float
    is_relative: bool
    box_class: str | None = None
    score: float | None = None
    frame_width: int | None = None
    frame_height: int | None = None


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """A picture as the detector's file names it, with the size that the detector saw."""

    file: str
    width: int | None = None
    height: int | None = None


class BoxFaults:
    """Counts of faults by kind, with a few examples of each."""

    def __init__(
        self,
        counts: Mapping[str, int] | None = None,
        examples: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.counts = Counter(counts or {})
        self.examples = {kind: list(names) for kind, names in (examples or {}).items()}

    def add(self, kind: BoxFault, where: object, *, count: int = 1) -> None:
        """Count a fault at a place, such as a file's name."""
        self.counts[kind] += count
        examples = self.examples.setdefault(kind, [])
        text = str(where)[:MAX_EXAMPLE_CHARS]
        text = text if text.isprintable() else repr(text)  # names come from outside
        if len(examples) < MAX_EXAMPLES and text not in examples:
            examples.append(text)

    def describe(self) -> str:
        """Describe the faults in one line; empty if there are none."""
        return "; ".join(
            f"{count} {kind} (such as {self.examples[kind][0]})"
            for kind, count in sorted(self.counts.items())
        )


class BoxList:
    """The usable boxes of a file, and the faults of the others."""

    def __init__(self, *, is_relative: bool) -> None:
        self.boxes: list[DetectedBox] = []
        self.faults = BoxFaults()
        self.pictures = 0
        self._is_relative = is_relative

    def add(
        self,
        picture: SeenPicture,
        numbers: object,
        *,
        box_class: str | None,
        score: object,
        where: object,
    ) -> None:
        """Add a box if its ``numbers`` (left, top, width, height) and its score are usable."""
        sides = read_numbers(numbers)
        if sides is None:
            self.faults.add("not-a-box", where)
            return
        share = None if score is None else read_number(score)
        if not all(map(math.isfinite, sides)):
            self.faults.add("not-finite", where)
        elif sides[2] <= 0 or sides[3] <= 0:
            self.faults.add("no-area", where)
        elif score is not None and (share is None or not 0 <= share <= 1):
            self.faults.add("score-out-of-range", where)
        else:
            box = DetectedBox(
                make_storable(picture.file),
                *sides,
                is_relative=self._is_relative,
                box_class=None if box_class is None else make_storable(box_class),
                score=share,
                frame_width=picture.width,
                frame_height=picture.height,
            )
            self.boxes.append(box)


@dataclass(frozen=True, eq=False)
class BoxFile:
    """The boxes of a file or folder, sorted, the number of pictures that it names, and its faults."""

    format: BoxFormat
    boxes: tuple[DetectedBox, ...]
    pictures: int
    faults: BoxFaults


def make_storable(text: str) -> str:
    """Replace lone surrogates (halves of characters): JSON and file systems allow them, Parquet does not."""
    return text.encode(errors="backslashreplace").decode()


def read_numbers(value: object) -> tuple[float, float, float, float] | None:
    """Read four numbers; None if the value is not a list of four numbers."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    numbers = [read_number(each) for each in value]
    left, top, width, height = numbers
    if left is None or top is None or width is None or height is None:
        return None
    return left, top, width, height


def read_number(value: object) -> float | None:
    """Read a number of JSON as a float; None if it is not a number, such as ``true`` or a text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def read_side(value: object) -> int | None:
    """Read the side of a picture in pixels; None if it is not a number from 1 to ``MAX_SIDE_PX``."""
    number = read_number(value)
    return int(number) if number is not None and 1 <= number <= MAX_SIDE_PX else None
