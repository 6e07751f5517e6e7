"""CVAT: ``annotations.xml`` (format "CVAT for images 1.1"), and ``manifest.jsonl`` of the pictures."""

import json
import math
from collections.abc import Sequence
from xml.etree import ElementTree

from dino_assets.drops.boxes.records import read_side
from dino_assets.labels.crops import Box
from dino_assets.labels.formats.records import FileRow, LabelFile, RejectedRow, TileCrop

ANNOTATIONS, MANIFEST = "annotations.xml", "manifest.jsonl"
_READ = ("box", "tag")


def encode_manifest(crops: Sequence[TileCrop]) -> bytes:
    """Encode the list of pictures by which CVAT reads a folder or a bucket."""
    lines: list[dict[str, object]] = [{"version": "1.1"}, {"type": "images"}]
    for crop in crops:
        stem, _, suffix = crop.name.rpartition(".")
        lines.append({
            "name": stem,
            "extension": f".{suffix}",
            "width": crop.width,
            "height": crop.height,
            "meta": {"related_images": []},
            "checksum": crop.md5,
        })  # fmt: skip
    return "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines).encode()


def encode_cvat(crops: Sequence[TileCrop], classes: Sequence[str]) -> bytes:
    """Encode labels for CVAT; the class of a whole tile is a tag."""
    root = ElementTree.Element("annotations")
    _add(root, "version", "1.1")
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    _add(task, "size", str(len(crops)))
    _add(task, "mode", "annotation")
    labels = ElementTree.SubElement(task, "labels")
    for name in classes:
        label = ElementTree.SubElement(labels, "label")
        _add(label, "name", name)
        ElementTree.SubElement(label, "attributes")
    for number, crop in enumerate(crops):
        size = {"width": str(crop.width), "height": str(crop.height)}
        named = {"id": str(number), "name": crop.file} | size
        image = ElementTree.SubElement(root, "image", named)
        for each in crop.boxes:
            left, top, width, height = each.box
            edges = {"xtl": left, "ytl": top, "xbr": left + width, "ybr": top + height}
            ElementTree.SubElement(
                image,
                "box",
                {"label": each.class_name, "source": "manual", "occluded": "0"}
                | {name: f"{edge:.6f}" for name, edge in edges.items()}
                | {"z_order": "0"},
            )
        if crop.class_name is not None:
            ElementTree.SubElement(image, "tag", label=crop.class_name, source="manual")
    ElementTree.indent(root)
    encoded: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return encoded + b"\n"


def decode_cvat(data: bytes) -> LabelFile:
    """Decode ``annotations.xml``.

    Raises:
        ValueError: it is not XML, or has no list of annotated images.
    """
    if b"<!ENTITY" in data:
        raise ValueError("it defines entities, which no labelling program writes")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError) as err:  # an encoding that Python does not know
        raise ValueError(str(err)) from err
    if root.tag != "annotations":
        raise ValueError(f"its root is <{root.tag}>, and <annotations> is expected")
    if root.find("track") is not None:
        raise ValueError("it has tracks of a video; export it as 'CVAT for images 1.1'")
    rows: list[FileRow] = []
    rejected: list[RejectedRow] = []
    unlabelled = 0
    for number, image in enumerate(root.iter("image")):
        name, before = image.get("name", ""), len(rows) + len(rejected)
        if not name:
            rejected.append(RejectedRow(f"image {number}", "", "no-file-name"))
            continue
        for index, shape in enumerate(image):
            where = f"image {image.get('id', number)}, {shape.tag} {index + 1}"
            if shape.tag in _READ:
                row = _decode_shape(where, name, image, shape)
                (rows if isinstance(row, FileRow) else rejected).append(row)  # type: ignore[arg-type]
            else:  # a polygon, or what another version of CVAT calls a shape
                rejected.append(RejectedRow(where, name, "other-shape", shape.tag))
        unlabelled += len(rows) + len(rejected) == before
    return LabelFile("cvat", tuple(rows), tuple(rejected), unlabelled)


def _decode_shape(
    where: str, name: str, image: ElementTree.Element, shape: ElementTree.Element
) -> FileRow | RejectedRow:
    class_name = shape.get("label", "")
    if shape.tag == "tag":
        return FileRow(where, name, class_name)
    try:
        left, top, right, bottom = (
            float(shape.get(edge, "")) for edge in ("xtl", "ytl", "xbr", "ybr")
        )
        angle = float(shape.get("rotation", "0"))
    except ValueError:
        return RejectedRow(where, name, "not-a-box")
    box = surround((left, top, right - left, bottom - top), angle)
    if not all(map(math.isfinite, box)):
        return RejectedRow(where, name, "not-finite")
    if box[2] <= 0 or box[3] <= 0:
        return RejectedRow(where, name, "no-area")
    sides = [read_side(_to_number(image.get(side, ""))) for side in ("width", "height")]
    frame = (sides[0], sides[1]) if sides[0] and sides[1] else None
    return FileRow(where, name, class_name, box, frame=frame)


def surround(box: Box, angle_deg: float) -> Box:
    """Compute the upright rectangle around a box that is turned about its centre."""
    if not angle_deg:
        return box
    left, top, width, height = box
    across, down = abs(math.cos(math.radians(angle_deg))), abs(math.sin(math.radians(angle_deg)))
    wide, high = width * across + height * down, width * down + height * across
    return left + (width - wide) / 2, top + (height - high) / 2, wide, high


def _to_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text
