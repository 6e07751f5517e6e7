"""Classes of tiles: from their own labels, from their photograph's, and from boxes that they show."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from dino_assets.labels.records import Label, TileLabel, Window

LEAST_VISIBLE = 0.5


@dataclass(frozen=True, slots=True)
class TileWindow:
    """A tile and its window in its photograph; ``is_whole`` if it shows the whole photograph."""

    tile_id: str
    image_id: str
    window: Window
    is_whole: bool = False


def label_tiles(
    labels: Iterable[Label], tiles: Iterable[TileWindow], *, least_visible: float = LEAST_VISIBLE
) -> list[TileLabel]:
    """Give tiles their classes, sorted by tile id; a tile without a label is left out.

    A tile's own label comes first. A photograph's label counts for a tile that shows all of it. Otherwise a
    tile has the class of the boxes of which it shows at least ``least_visible`` of the area; of several classes,
    the one with the most visible area.
    """
    own: dict[str, Label] = {}
    of_image: dict[str, Label] = {}
    boxes: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        if label.level == "tile":
            own[str(label.tile_id)] = label
        elif label.level == "image":
            of_image[label.image_id] = label
        else:
            boxes[label.image_id].append(label)
    given: dict[str, TileLabel] = {}
    for tile in tiles:
        given_label = own.get(tile.tile_id)
        if given_label is None and tile.is_whole:
            given_label = of_image.get(tile.image_id)
        if given_label is None:
            given_label = _pick_box(boxes.get(tile.image_id, ()), tile.window, least_visible)
        if given_label is not None:
            class_name, label_id = given_label.class_name, given_label.label_id
            given[tile.tile_id] = TileLabel(tile.tile_id, class_name, label_id, given_label.level)
    return [given[tile_id] for tile_id in sorted(given)]


def _pick_box(boxes: Iterable[Label], window: Window, least_visible: float) -> Label | None:
    areas: dict[str, int] = defaultdict(int)
    first: dict[str, Label] = {}
    for box in boxes:
        area = measure_common_area(box.window, window)
        if area and area >= least_visible * box.w * box.h:
            areas[box.class_name] += area
            first.setdefault(box.class_name, box)
    if not areas:
        return None
    return first[min(areas, key=lambda name: (-areas[name], name))]


def measure_common_area(one: Window, other: Window) -> int:
    """Measure the area in pixels that two windows have in common."""
    width = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    height = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    return max(0, width) * max(0, height)
