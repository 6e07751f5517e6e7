"""Reading of a detector's boxes from a JSON file or a YOLO folder, whose format is recognised."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dino_assets.counting import count_of
from dino_assets.drops.boxes.coco import parse_coco
from dino_assets.drops.boxes.megadetector import parse_megadetector
from dino_assets.drops.boxes.records import BoxFile, BoxFormat, BoxList, DetectedBox
from dino_assets.drops.boxes.yolo import is_names_file, parse_names, parse_yolo
from dino_assets.errors import InvalidBoxesError

MAX_BOXES_BYTES = 256 * 2**20  # as Python objects, a JSON file is several times as large
MAX_BOXES = 2_000_000
_MAX_LABEL_BYTES = 4 * 2**20
_FORMATS = (
    "Expected a COCO file (images, annotations, categories), a MegaDetector file (images with detections), or "
    "a YOLO folder (labels/*.txt)."
)


def read_boxes(place: Path) -> BoxFile:
    """Read the boxes of a JSON file or of a YOLO folder.

    Raises:
        InvalidBoxesError: the file does not exist, cannot be read, is too large, has another format, or has no
            box that can be used.
    """
    if place.is_dir():
        return _read_yolo(place)
    try:
        size = place.stat().st_size
        if size > MAX_BOXES_BYTES:
            raise _refuse_size(str(place), size)
        data = place.read_bytes()
    except FileNotFoundError as err:
        raise InvalidBoxesError(
            f"there is no file or folder with boxes at {str(place)!r}. Check the path.",
            reason="missing",
            path=str(place),
        ) from err
    except OSError as err:
        raise _refuse_reading(place, err) from err
    return parse_boxes(data, name=str(place))


def parse_boxes(data: bytes, *, name: str) -> BoxFile:
    """Parse a COCO or MegaDetector file; ``name`` is for messages.

    Raises:
        InvalidBoxesError: the bytes are too many or not JSON, have another format, or have no usable box.
    """
    if len(data) > MAX_BOXES_BYTES:
        raise _refuse_size(name, len(data))
    try:
        body = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as err:
        raise InvalidBoxesError(
            f"{name!r} is not a JSON file: {err}. {_FORMATS}", reason="not-json", path=name
        ) from err
    kind = _recognise(body)
    if kind is None:
        raise InvalidBoxesError(
            f"{name!r} has no boxes in a known format: {_describe(body)}. {_FORMATS}",
            reason="other-format",
            path=name,
        )
    return _finish(kind, parse_coco(body) if kind == "coco" else parse_megadetector(body), name)


def _recognise(body: object) -> BoxFormat | None:
    if not isinstance(body, Mapping) or not isinstance(body.get("images"), list):
        return None
    if isinstance(body.get("annotations"), list):
        return "coco"
    has_detections = any(
        isinstance(each, Mapping) and ("detections" in each or "failure" in each)
        for each in body["images"]
    )
    return "megadetector" if has_detections or "detection_categories" in body else None


def _describe(body: Any) -> str:
    if isinstance(body, Mapping):
        names = ", ".join(repr(str(name)[:40]) for name in list(body)[:5])
        return f"it is an object with {names or 'no keys'}"
    if isinstance(body, list):
        return "it is a list, which names no pictures"
    return f"it is {type(body).__name__}"


def _read_yolo(folder: Path) -> BoxFile:
    try:
        labels, names = read_yolo_folder(folder)
        return _finish("yolo", parse_yolo(labels, names), str(folder))
    except OSError as err:
        raise _refuse_reading(folder, err) from err


def read_yolo_folder(
    folder: Path,
) -> tuple[Iterator[tuple[str, str | None]], dict[str, str]]:
    """Read a YOLO folder: its label files as ``parse_yolo`` takes them, and the names of the classes.

    Raises:
        InvalidBoxesError: the file with the names cannot be read.
        OSError: the folder cannot be read.
    """
    labels = folder / "labels" if (folder / "labels").is_dir() else folder
    beside = [folder.parent] if folder.name == "labels" else []
    return _walk_labels(labels), _read_names([folder, labels, *beside])


def _read_names(folders: Sequence[Path]) -> dict[str, str]:
    """Read the names of the classes from the first of the folders that has them."""
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if not is_names_file(path.name) or not path.is_file():
                continue
            try:
                text = _read_text(path)
                if text is None:
                    raise ValueError("it is not UTF-8 text")
                return parse_names(path.name, text)
            except ValueError as err:
                raise InvalidBoxesError(
                    f"{str(path)!r} should have the names of the classes: {err}. Correct it or delete it.",
                    reason="unreadable",
                    path=str(path),
                ) from err
    return {}


def _walk_labels(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Yield each label file below a folder, sorted: its path without suffix, and its text."""
    for path in sorted(folder.rglob("*.txt")):
        if path.is_file() and not is_names_file(path.name):
            yield path.relative_to(folder).with_suffix("").as_posix(), _read_text(path)


def _read_text(path: Path) -> str | None:
    """Read a UTF-8 text; None if the file is not UTF-8, or is too large for one picture's boxes."""
    if path.stat().st_size > _MAX_LABEL_BYTES:
        return None
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _finish(kind: BoxFormat, boxes: BoxList, name: str) -> BoxFile:
    if not boxes.boxes:
        pictures = count_of(boxes.pictures, "picture")
        why = boxes.faults.describe() or f"it names {pictures}, and no box in them"
        raise InvalidBoxesError(
            f"{name!r} has no box that can be used: {why}. {_FORMATS}", reason="no-box", path=name
        )
    if len(boxes.boxes) > MAX_BOXES:
        raise InvalidBoxesError(
            f"{name!r} has {len(boxes.boxes):,} boxes; at most {MAX_BOXES:,} are read for one drop. Leave out "
            "boxes of low score, or divide the drop.",
            reason="too-large",
            path=name,
        )
    return BoxFile(kind, tuple(sorted(boxes.boxes, key=_sort_key)), boxes.pictures, boxes.faults)


def _sort_key(box: DetectedBox) -> tuple[object, ...]:
    # A file with its boxes in another order has the same boxes, and must have the same hash.
    score = -1.0 if box.score is None else box.score
    return (box.file, box.x, box.y, box.w, box.h, box.box_class or "", score)


def _refuse_size(name: str, size: int) -> InvalidBoxesError:
    return InvalidBoxesError(
        f"{name!r} has {size:,} bytes; at most {MAX_BOXES_BYTES:,} are read. Leave out boxes of low score, or "
        "divide the drop.",
        reason="too-large",
        path=name,
    )


def _refuse_reading(place: Path, err: OSError) -> InvalidBoxesError:
    return InvalidBoxesError(
        f"the boxes at {str(place)!r} cannot be read: {err.strerror}. Check that you may read them.",
        reason="unreadable",
        path=str(place),
    )
