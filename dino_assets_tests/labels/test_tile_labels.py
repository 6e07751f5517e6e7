"""Classes of tiles from labels of tiles, photographs and boxes."""

from datetime import UTC, datetime

from dino_assets.labels.records import Label, Level, Window
from dino_assets.labels.tile_labels import TileWindow, label_tiles

WHOLE = Window(0, 0, 1000, 1000)
LEFT = TileWindow("left", "i", Window(0, 0, 500, 1000))
RIGHT = TileWindow("right", "i", Window(500, 0, 500, 1000))


def label(
    level: Level, class_name: str, window: Window = WHOLE, tile_id: str | None = None
) -> Label:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    where = ("a", "i", "p.jpg", tile_id, window.x, window.y, window.w, window.h)
    rest = ("anna", at, "studio", None, None, 1, False)
    return Label(f"{level}-{class_name}", level, *where, class_name, *rest)


def classes(labels: list[Label], *tiles: TileWindow) -> dict[str, str]:
    return {each.tile_id: each.class_name for each in label_tiles(labels, tiles)}


def test_label_tiles__box_counts_where_most_of_it_is_visible():
    box = label("box", "smoke", Window(300, 0, 300, 100))  # two thirds in the left tile
    assert classes([box], LEFT, RIGHT) == {"left": "smoke"}


def test_label_tiles__larger_class_of_several_boxes_counts():
    boxes = [label("box", "smoke", Window(0, 0, 10, 10)), label("box", "fog", Window(0, 0, 20, 20))]
    assert classes(boxes, LEFT) == {"left": "fog"}


def test_label_tiles__own_label_comes_first():
    labels = [
        label("box", "smoke", Window(0, 0, 10, 10)),
        label("tile", "fog", LEFT.window, tile_id="left"),
    ]
    assert classes(labels, LEFT) == {"left": "fog"}


def test_label_tiles__photograph_counts_only_for_a_tile_that_shows_all_of_it():
    whole = TileWindow("whole", "i", WHOLE, is_whole=True)
    assert classes([label("image", "deer")], LEFT, whole) == {"whole": "deer"}
