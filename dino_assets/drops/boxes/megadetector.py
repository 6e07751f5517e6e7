"""MegaDetector files: ``detections`` of each image, with boxes as shares of the image's sides."""

from collections.abc import Mapping
from typing import Any

from dino_assets.drops.boxes.records import BoxList, SeenPicture, read_side


def parse_megadetector(body: Mapping[str, Any]) -> BoxList:
    """Parse the body of a MegaDetector file; images with a ``failure`` are counted as faults."""
    boxes = BoxList(is_relative=True)
    names = body.get("detection_categories")
    categories: Mapping[str, Any] = names if isinstance(names, Mapping) else {}
    for number, image in enumerate(body["images"]):
        file = image.get("file") if isinstance(image, Mapping) else None
        if not isinstance(file, str) or not file.strip():
            boxes.faults.add("no-file-name", f"images[{number}]")
            continue
        boxes.pictures += 1
        if image.get("failure"):
            boxes.faults.add("detector-failed", f"{file}: {image['failure']}")
        picture = SeenPicture(file, read_side(image.get("width")), read_side(image.get("height")))
        detections = image.get("detections")
        for each in detections if isinstance(detections, list) else ():
            if not isinstance(each, Mapping):
                boxes.faults.add("not-a-box", file)
                continue
            category = str(each.get("category", ""))
            name = categories.get(category)
            before = len(boxes.boxes)
            boxes.add(
                picture,
                each.get("bbox"),
                box_class=name if isinstance(name, str) else category or None,
                score=each.get("conf"),
                where=file,
            )
            if len(boxes.boxes) > before and not isinstance(name, str):
                boxes.faults.add("unknown-category", f"category {category}")
    return boxes
