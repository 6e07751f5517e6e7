"""Label Studio: tasks with labels and suggestions, the labelling page's configuration, and JSON exports."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from dino_assets.drops.boxes.records import read_number
from dino_assets.labels.crops import Box
from dino_assets.labels.formats.records import FileRow, LabelFile, RejectedRow, TileCrop

TASKS, CONFIG = "label-studio.json", "label-studio.xml"
_CLASS, _BOX, _IMAGE = "class", "box", "image"
_DETAIL_CHARS = 160
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # Label Studio's mark before the name of an uploaded file
_PICTURE = re.compile(r"\.(jpe?g|png|webp|tiff?|heic|dng|bmp)$", re.IGNORECASE)


def encode_config(classes: Sequence[str]) -> bytes:
    """Encode the configuration of the labelling page: a class for the picture, and boxes."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=_IMAGE, value="$image", zoom="true")
    control = {"toName": _IMAGE}
    choices = ElementTree.SubElement(
        view, "Choices", {"name": _CLASS, **control, "choice": "single"}
    )
    boxes = ElementTree.SubElement(view, "RectangleLabels", {"name": _BOX, **control})
    for name in classes:
        ElementTree.SubElement(choices, "Choice", value=name)
        ElementTree.SubElement(boxes, "Label", value=name)
    ElementTree.indent(view)
    encoded: bytes = ElementTree.tostring(view, encoding="utf-8")
    return encoded + b"\n"


def encode_tasks(crops: Sequence[TileCrop], *, model: str = "dino-assets") -> bytes:
    """Encode a task for each crop, with its labels, and with the class that a model suggests."""
    tasks = []
    for number, crop in enumerate(crops, start=1):
        task: dict[str, Any] = {
            "id": number,
            "data": {
                "image": crop.image_url or crop.name,
                "tile_id": crop.tile_id,
                "image_id": crop.image_id,
                "drop": crop.drop,
                "photograph": crop.path,
            },
        }
        if results := _encode_labels(crop):
            task["annotations"] = [{"result": results}]
        if crop.suggestion is not None:
            result = _encode_class(f"{crop.tile_id}-s", crop.suggestion.class_name)
            prediction: dict[str, Any] = {"model_version": model, "result": [result]}
            if crop.suggestion.score is not None:
                prediction["score"] = crop.suggestion.score
            task["predictions"] = [prediction]
        tasks.append(task)
    return json.dumps(tasks, ensure_ascii=False, indent=1).encode() + b"\n"


def decode_tasks(tasks: Sequence[Any]) -> LabelFile:
    """Decode an export of Label Studio: JSON, or JSON_MIN with the field names of our ``label-studio.xml``."""
    rows: list[FileRow] = []
    rejected: list[RejectedRow] = []
    unlabelled = 0
    for index, task in enumerate(tasks):
        where = f"task {task.get('id', index + 1)}" if isinstance(task, Mapping) else f"[{index}]"
        data = task.get("data", task) if isinstance(task, Mapping) else None
        if not isinstance(data, Mapping):
            rejected.append(RejectedRow(where, "", "no-file-name"))
            continue
        picture = _name_picture(data)
        tile_id = data.get("tile_id")
        own = tile_id if isinstance(tile_id, str) else ""
        if not picture and not own:
            rejected.append(RejectedRow(where, "", "no-file-name"))
            continue
        before = len(rows) + len(rejected)
        for number, result in enumerate(_list_results(task), start=1):
            place = f"{where}, result {number}"
            for row in _decode_result(place, picture, own, result):
                (rows if isinstance(row, FileRow) else rejected).append(row)  # type: ignore[arg-type]
        unlabelled += len(rows) + len(rejected) == before
    return LabelFile("label-studio", tuple(rows), tuple(rejected), unlabelled)


def is_tasks(body: object) -> bool:
    """Check whether a JSON value is a list of tasks."""
    if not isinstance(body, list) or not body:
        return False
    first = body[0]
    return isinstance(first, Mapping) and (
        isinstance(first.get("data"), Mapping) or isinstance(first.get(_IMAGE), str)
    )


def _encode_labels(crop: TileCrop) -> list[dict[str, Any]]:
    results = []
    if crop.class_name is not None:
        results.append(_encode_class(f"{crop.tile_id}-c", crop.class_name))
    for number, each in enumerate(crop.boxes, start=1):
        left, top, width, height = each.box
        value = {
            "x": 100 * left / crop.width,
            "y": 100 * top / crop.height,
            "width": 100 * width / crop.width,
            "height": 100 * height / crop.height,
            "rotation": 0,
            "rectanglelabels": [each.class_name],
        }
        results.append({
            "id": f"{crop.tile_id}-b{number}",
            "type": "rectanglelabels",
            "from_name": _BOX,
            "to_name": _IMAGE,
            "original_width": crop.width,
            "original_height": crop.height,
            "image_rotation": 0,
            "value": value,
        })  # fmt: skip
    return results


def _encode_class(result_id: str, class_name: str) -> dict[str, Any]:
    return {
        "id": result_id,
        "type": "choices",
        "from_name": _CLASS,
        "to_name": _IMAGE,
        "value": {"choices": [class_name]},
    }


def _name_picture(data: Mapping[str, Any]) -> str:
    """Name the picture of a task; its address may be a local file's, an upload's or a bucket's."""
    texts = [data.get(_IMAGE), *data.values()]
    address = next((each for each in texts if isinstance(each, str) and each), "")
    for each in texts[1:]:
        if not _PICTURE.search(address) and isinstance(each, str) and _PICTURE.search(each):
            address = each
    try:
        parts = urlsplit(address)
    except ValueError:  # such as "http://[": no address, and perhaps a name
        return address
    local = parse_qs(parts.query).get("d", [""])[0]  # /data/local-files/?d=folder/name.jpg
    path = PurePosixPath(local or unquote(parts.path if parts.scheme else address))
    if "upload" in path.parts[:-1]:
        return _UPLOADED.sub("", path.name)
    return str(path) if path.name else ""


def _list_results(task: Mapping[str, Any]) -> Iterator[object]:
    """List the results of all annotations of a task; those of a cancelled annotation are none."""
    annotations = task.get("annotations", task.get("completions"))
    if isinstance(annotations, list):
        for annotation in annotations:
            if isinstance(annotation, Mapping) and not annotation.get("was_cancelled"):
                results = annotation.get("result")
                yield from results if isinstance(results, list) else filter(None, [results])
        return
    if "data" in task:
        return
    classes = task.get(_CLASS)  # JSON_MIN
    if isinstance(classes, Mapping):
        classes = classes.get("choices")
    if classes:
        names = [classes] if isinstance(classes, str) else classes
        yield {"type": "choices", "value": {"choices": names}}
    for value in task.values():
        for each in value if isinstance(value, list) else ():
            if isinstance(each, Mapping) and "rectanglelabels" in each:
                yield {"type": "rectanglelabels", "value": each}


def _decode_result(
    where: str, picture: str, tile_id: str, result: object
) -> Iterator[FileRow | RejectedRow]:
    if not isinstance(result, Mapping):
        yield RejectedRow(where, picture, "not-text", f"a result is {type(result).__name__}")
        return
    kind, value = str(result.get("type", "")), result.get("value")
    if not isinstance(value, Mapping):
        yield RejectedRow(where, picture, "not-a-box", kind)
        return
    names = value.get(kind if kind == "rectanglelabels" else "choices")
    if kind not in ("choices", "rectanglelabels") or not isinstance(names, list):
        yield RejectedRow(where, picture, "other-shape", kind)
        return
    unnamed = [name for name in names if isinstance(name, bool) or not isinstance(name, str | int)]
    if unnamed or (kind == "rectanglelabels" and not names):
        yield RejectedRow(where, picture, "class-name", repr(unnamed)[:_DETAIL_CHARS])
        return
    if kind == "choices":
        for name in names:
            yield FileRow(where, picture, str(name), tile_id=tile_id)
        return
    percents = [read_number(value.get(side)) for side in ("x", "y", "width", "height")]
    left, top, width, height = percents
    if left is None or top is None or width is None or height is None:
        yield RejectedRow(where, picture, "not-a-box")
        return
    shares: Box = (left / 100, top / 100, width / 100, height / 100)
    angle = read_number(value.get("rotation")) or 0.0
    if angle:
        yield RejectedRow(where, picture, "other-shape", f"a box turned by {angle:g} degrees")
    elif not all(map(math.isfinite, shares)):
        yield RejectedRow(where, picture, "not-finite")
    elif width <= 0 or height <= 0:
        yield RejectedRow(where, picture, "no-area")
    else:
        for name in names:
            yield FileRow(where, picture, str(name), shares, is_relative=True, tile_id=tile_id)
