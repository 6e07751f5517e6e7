"""COCO files: ``images``, ``annotations`` with boxes in pixels, and ``categories``."""

from collections.abc import Mapping
from typing import Any

from dino_assets.drops.boxes.records import BoxList, SeenPicture, read_side


def parse_coco(body: Mapping[str, Any], *, into: BoxList | None = None) -> BoxList:
    """Parse the body of a COCO file; an annotation may have a ``score``. The boxes are added to ``into``.

    An id that several pictures or several categories of the file have, names none of them: files that were joined
    carelessly have such ids.
    """
    boxes = BoxList(is_relative=False) if into is None else into
    categories = _read_categories(body)
    pictures: dict[str, SeenPicture] = {}
    unclear: set[str] = set()
    for image in _list_mappings(body.get("images")):
        file = image.get("file_name")
        if not isinstance(file, str) or not file.strip():
            boxes.faults.add("no-file-name", f"image {image.get('id')!r}")
            continue
        key = _spell(image.get("id"))
        if key in pictures and pictures[key].file != file:
            unclear.add(key)
        pictures[key] = SeenPicture(
            file, read_side(image.get("width")), read_side(image.get("height"))
        )
    boxes.pictures = len(pictures)
    for number, each in enumerate(body["annotations"]):
        if not isinstance(each, Mapping):
            boxes.faults.add("not-a-box", f"annotations[{number}]")
            continue
        image_id = _spell(each.get("image_id"))
        picture = pictures.get(image_id)
        if picture is None or image_id in unclear:
            of = "" if picture is None else " of several pictures"
            boxes.faults.add("unknown-picture", f"image_id {each.get('image_id')!r}{of}")
            continue
        category = _spell(each.get("category_id"))
        before = len(boxes.boxes)
        boxes.add(
            picture,
            each.get("bbox"),
            box_class=categories.get(category, category or None),
            score=each.get("score"),
            where=f"annotations[{number}] of {picture.file}",
        )
        if len(boxes.boxes) > before and category not in categories:
            boxes.faults.add("unknown-category", f"category_id {category}")
    return boxes


def _read_categories(body: Mapping[str, Any]) -> dict[str, str]:
    """Read the names of the categories by id, without ids that have several names."""
    names: dict[str, str] = {}
    unclear: set[str] = set()
    for each in _list_mappings(body.get("categories")):
        name = each.get("name")
        if isinstance(name, str) and names.setdefault(_spell(each.get("id")), name) != name:
            unclear.add(_spell(each.get("id")))
    return {key: name for key, name in names.items() if key not in unclear}


def _list_mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _spell(value: object) -> str:
    """Spell an id as text: some programs write ids as numbers in one list and as texts or ``1.0`` in the other."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)
