"""Boxes in upright pictures, and the square windows around them."""

import hashlib

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Transpose

from dino_assets.drops.boxes.records import UNPLACED, DetectedBox
from dino_assets.images.places import StoredView
from dino_assets.images.records import Georeference
from dino_assets.tiles.box_tiles import (
    BoxesToCut,
    BoxTally,
    Square,
    UprightBox,
    cut_boxes,
    cut_square,
    place_box,
)
from dino_assets.tiles.rows import SCHEMA, ImageToCut, PictureFile

# EXIF orientation → how a program turns the stored picture upright.
TURNS = {
    1: None,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def name_image(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def file_of(
    path: str = "a.jpg", *, size: tuple[int, int] = (400, 300), orientation: int = 1
) -> PictureFile:
    return PictureFile(name_image(path), path, *size, orientation)


def image_of(
    path: str = "a.jpg", *, size: tuple[int, int] = (400, 300), **values: object
) -> ImageToCut:
    others = {
        "thermal": None, "is_mosaic": False, "valid": None, "scale_low": None, "scale_high": None,
        "gsd_m": None, "place_quality": "none", "view": None, "georeference": None,
    }  # fmt: skip
    return ImageToCut(name_image(path), path, *size, **others | values)


def edges(box: object) -> tuple[float, float, float, float]:
    assert isinstance(box, UprightBox)
    return (box.x, box.y, box.w, box.h)


def pixels_box(x: float, y: float, w: float, h: float, **values: object) -> DetectedBox:
    return DetectedBox("a.jpg", x, y, w, h, False, **values)


# --- frames ---------------------------------------------------------------------------------


def test_place_box__shares_and_pixels():
    file = file_of()
    assert edges(place_box(DetectedBox("a.jpg", 0.25, 0.5, 0.1, 0.2, True), file)) == (
        pytest.approx((100, 150, 40, 60))
    )
    assert edges(place_box(pixels_box(10, 20, 30, 40), file)) == (10, 20, 30, 40)
    # The detector saw the picture at half its size.
    half = pixels_box(10, 20, 30, 40, frame_width=200, frame_height=150)
    assert edges(place_box(half, file)) == (20, 40, 60, 80)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("is_relative", [False, True])
def test_place_box__of_the_stored_picture_is_turned_with_it(orientation: int, is_relative: bool):
    """Paint the box into the stored picture, turn it as Pillow does, and look where the paint is."""
    stored = np.zeros((300, 400), np.uint8)
    stored[20:60, 10:40] = 255
    picture = Image.fromarray(stored)
    turn = TURNS[orientation]
    upright = np.asarray(picture if turn is None else picture.transpose(turn))
    ys, xs = np.nonzero(upright)
    expected = (xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min())
    file = file_of(orientation=orientation)
    sides = (400, 300) if is_relative else (1, 1)
    box = DetectedBox(
        "a.jpg", 10 / sides[0], 20 / sides[1], 30 / sides[0], 40 / sides[1], is_relative,
        frame_width=400, frame_height=300,
    )  # fmt: skip
    assert edges(place_box(box, file)) == pytest.approx(expected)
    # Without a size, or with the upright one, it is a box of the upright picture.
    size = (300, 400) if orientation >= 5 else (400, 300)
    for frame in ((None, None), size):
        of_upright = pixels_box(10, 20, 30, 40, frame_width=frame[0], frame_height=frame[1])
        assert edges(place_box(of_upright, file)) == (10, 20, 30, 40)


def test_place_box__of_another_picture_or_outside():
    file = file_of()
    assert (
        place_box(pixels_box(1, 2, 3, 4, frame_width=300, frame_height=300), file) == "other-size"
    )
    assert place_box(pixels_box(400, 0, 10, 10), file) == "outside"
    assert place_box(pixels_box(0, -10, 10, 10), file) == "outside"
    assert place_box(DetectedBox("a.jpg", 1.5, 0, 0.1, 0.1, True), file) == "outside"


def test_place_box__is_clipped_to_the_picture():
    box = place_box(pixels_box(-20, 290, 60, 60), file_of())
    assert edges(box) == (0, 290, 40, 10)
    assert box.is_clipped
    rounded = place_box(pixels_box(-0.4, 0, 400.9, 300), file_of())
    assert edges(rounded) == (0, 0, 400, 300)
    assert not rounded.is_clipped


# --- squares --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((100, 100, 50, 20), (95, 80, 60, 60, 60)),  # 1.2 × 50, around (125, 110)
        ((100, 100, 55, 55), (94, 94, 66, 66, 66)),
        ((201, 100, 50.00000000000003, 20), (196, 80, 60, 60, 60)),  # from shares of the sides
        ((0, 0, 50, 20), (0, 0, 60, 60, 60)),  # shifted inwards
        ((360, 290, 40, 10), (352, 252, 48, 48, 48)),
        ((0, 0, 400, 300), (0, 0, 400, 300, 480)),  # larger than the picture
        ((100, 0, 20, 300), (0, 0, 360, 300, 360)),
        ((5.2, 5.2, 0.1, 0.1), (5, 5, 1, 1, 1)),
    ],
)
def test_cut_square__by_hand(box: tuple[float, ...], square: tuple[int, ...]):
    assert cut_square(UprightBox(*box, None, None), 400, 300) == Square(*square)


def test_cut_square__holds_its_box_and_stays_inside():
    rng = np.random.default_rng(0)
    for _ in range(500):
        x, y = rng.uniform(0, 390), rng.uniform(0, 290)
        w, h = rng.uniform(0.5, 400 - x), rng.uniform(0.5, 300 - y)
        square = cut_square(UprightBox(x, y, w, h, None, None), 400, 300)
        assert square.span_px >= 1.2 * max(w, h) - 1e-3
        assert square.span_px < 1.2 * max(w, h) + 1
        assert 0 <= square.x <= square.x + square.w <= 400
        assert 0 <= square.y <= square.y + square.h <= 300
        slack = 0.5 + 1e-6  # the middle of a square is rounded to a pixel
        assert square.x <= x + slack
        assert x + w <= square.x + square.w + slack
        assert square.y <= y + slack
        assert y + h <= square.y + square.h + slack
        assert (square.w, square.h) == (min(square.span_px, 400), min(square.span_px, 300))


# --- rows -----------------------------------------------------------------------------------


def cut(
    boxes: list[DetectedBox],
    images: list[ImageToCut] | None = None,
    *,
    files: list[PictureFile] | None = None,
    unused: dict | None = None,
    least_score: float = 0.0,
):
    images = images or [image_of()]
    files = files or [file_of(image.path, size=(image.width, image.height)) for image in images]
    tally = BoxTally()
    to_cut = BoxesToCut(boxes, least_score, 224)
    batches = list(cut_boxes(images, files, unused or {}, to_cut, tally))
    assert all(batch.schema.equals(SCHEMA) for batch in batches)
    rows = [row for batch in batches for row in batch.to_pylist()]
    counts = tally.counts
    unplaced = sum(tally.faults.counts[kind] for kind in UNPLACED)
    left_out = counts["below_least_score"] + counts["same_square"] + unplaced
    assert counts["boxes"] == len(boxes) == len(rows) + left_out
    return rows, tally


def test_cut_boxes__a_row():
    (row,), tally = cut([pixels_box(100, 100, 50, 20, box_class="smoke", score=0.5)])
    assert row["tile_id"] == f"{name_image('a.jpg')[:16]}-x00095y00080w00060h00060-g3"
    assert (row["span_px"], row["side_px"], row["is_padded"], row["is_whole"]) == (60, 224, 0, 0)
    assert (row["box_class"], row["box_score"], row["box_group"]) == ("smoke", 0.5, row["tile_id"])
    assert [row[f"box_{name}"] for name in "xywh"] == [100, 100, 50, 20]
    assert (row["place_quality"], row["center_latitude"]) == ("none", None)
    assert tally.counts["recurring"] == tally.counts["without_box"] == 0


def test_cut_boxes__is_padded_where_the_square_is_larger_than_the_picture():
    (row,), _ = cut([pixels_box(0, 0, 400, 300)])
    assert (row["w"], row["h"], row["span_px"], row["is_padded"]) == (400, 300, 480, True)


def test_cut_boxes__two_boxes_with_the_same_square_are_one_tile():
    wide, high = (100, 110, 50, 20), (110, 95, 30, 50)  # both around (125, 120)
    boxes = [
        pixels_box(*wide, box_class="smoke", score=0.3),
        pixels_box(*high, box_class="fire", score=0.6),
        pixels_box(*wide, box_class="cloud"),
    ]
    for order in (boxes, boxes[::-1]):
        (row,), tally = cut(order)
        # A box without a score is a person's, and goes before those of a detector.
        assert (row["box_class"], row["box_score"], row["box_w"]) == ("cloud", None, 50)
        assert tally.counts["same_square"] == 2
    (row,), _ = cut(boxes[:2])
    assert (row["box_class"], row["box_score"], row["box_w"]) == ("fire", 0.6, 30)


def test_cut_boxes__below_the_least_score_and_without_a_score():
    boxes = [pixels_box(10, 10, 50, 50, score=score) for score in (0.29, 0.3, None)]
    boxes[2] = pixels_box(200, 10, 50, 50)
    rows, tally = cut(boxes, least_score=0.3)
    assert [row["box_score"] for row in rows] == [0.3, None]
    assert tally.counts["below_least_score"] == 1


def test_cut_boxes__faults_are_counted_and_named():
    boxes = [
        pixels_box(10, 10, 50, 50),
        DetectedBox("none.jpg", 1, 2, 3, 4, False),
        DetectedBox("hot.jpg", 1, 2, 3, 4, False),
        DetectedBox("bad.jpg", 1, 2, 3, 4, False),
        pixels_box(500, 0, 3, 3),
        pixels_box(1, 2, 3, 4, frame_width=9, frame_height=90),
    ]
    unused = {"hot.jpg": "thermal-picture", "bad.jpg": "unusable-picture"}
    images = [image_of(), image_of("b.jpg")]
    rows, tally = cut(boxes, images, unused=unused)
    assert len(rows) == tally.counts["without_box"] == 1
    assert tally.faults.counts == {
        "no-such-picture": 1, "thermal-picture": 1, "unusable-picture": 1, "outside": 1, "other-size": 1,
    }  # fmt: skip
    assert tally.faults.examples["no-such-picture"] == ["none.jpg"]


def test_cut_boxes__a_picture_with_two_paths_has_the_boxes_of_both():
    image = image_of("a.jpg")
    files = [file_of("a.jpg"), PictureFile(image.image_id, "copy/a2.jpg", 400, 300, 1)]
    boxes = [
        pixels_box(10, 10, 50, 50),
        DetectedBox("copy/a2.jpg", 10, 10, 50, 50, False),
        DetectedBox("copy/a2.jpg", 200, 10, 50, 50, False),
    ]
    rows, tally = cut(boxes, [image], files=files)
    assert [row["x"] for row in rows] == [5, 195]
    assert tally.counts["same_square"] == 1


def test_cut_boxes__rows_are_sorted_by_image_then_window():
    images = [image_of(path) for path in ("b.jpg", "a.jpg")]
    boxes = [
        DetectedBox(path, x, 10, 50, 50, False) for path in ("b.jpg", "a.jpg") for x in (200, 10)
    ]
    rows, _ = cut(boxes, images)
    ids = [row["tile_id"] for row in rows]
    assert ids == sorted(ids)
    assert len(set(ids)) == 4


# --- groups ---------------------------------------------------------------------------------


def group(*rows: tuple[str, int, str], size: tuple[int, int] = (400, 300), **values: object):
    """Group boxes of a picture's path, a left edge and a class; gives the path of each group's first box."""
    images = {path: image_of(path, size=size, **values) for path, *_ in rows}
    boxes = [
        DetectedBox(path, left, 100, 50, 50, False, box_class=kind) for path, left, kind in rows
    ]
    cut_rows, tally = cut(boxes, list(images.values()))
    path_of = {row["tile_id"]: (row["path"], row["box_x"]) for row in cut_rows}
    return {
        (row["path"], int(row["box_x"])): path_of[row["box_group"]][0] for row in cut_rows
    }, tally.counts


def test_cut_boxes__recurring_boxes_of_one_camera_are_one_group():
    groups, counts = group(
        ("cam1/DCIM/100RECNX/a.jpg", 100, "animal"),
        ("cam1/DCIM/101RECNX/b.jpg", 103, "animal"),
        ("cam2/DCIM/100RECNX/a.jpg", 100, "animal"),  # another camera
        ("cam1/DCIM/101RECNX/c.jpg", 100, "person"),  # another class
        ("cam1/DCIM/101RECNX/c.jpg", 160, "animal"),  # another place
    )
    assert groups == {
        ("cam1/DCIM/100RECNX/a.jpg", 100): "cam1/DCIM/100RECNX/a.jpg",
        ("cam1/DCIM/101RECNX/b.jpg", 103): "cam1/DCIM/100RECNX/a.jpg",
        ("cam2/DCIM/100RECNX/a.jpg", 100): "cam2/DCIM/100RECNX/a.jpg",
        ("cam1/DCIM/101RECNX/c.jpg", 100): "cam1/DCIM/101RECNX/c.jpg",
        ("cam1/DCIM/101RECNX/c.jpg", 160): "cam1/DCIM/101RECNX/c.jpg",
    }
    assert (counts["recurring"], counts["recurring_groups"]) == (2, 1)


VIEW = StoredView(47.0, 11.0, 50.0, 0.0, -90.0, 0.0, 400.0, 200.0, 150.0, 400, 300, 1, None)


def test_cut_boxes__pictures_with_a_place_are_not_grouped_by_pixels():
    """A drone moves: the same pixels show other ground."""
    _, counts = group(
        ("a.jpg", 100, "fire"), ("b.jpg", 100, "fire"), view=VIEW, place_quality="gps-nadir"
    )
    assert counts["recurring"] == 0
    # Neither are pictures of a drone that looks at the horizon.
    _, counts = group(("a.jpg", 100, "fire"), ("b.jpg", 100, "fire"), view=VIEW)
    assert counts["recurring"] == 0
    _, counts = group(
        ("a.tif", 100, "fire"), ("b.tif", 100, "fire"), is_mosaic=True, place_quality="none"
    )
    assert counts["recurring"] == 0


def test_cut_boxes__the_place_is_that_of_the_boxs_center():
    image = image_of(view=VIEW, place_quality="gps-nadir")
    middle = pixels_box(175, 125, 50, 50)
    corner = pixels_box(0, 0, 50, 20)  # its square is shifted down, by 20 px
    rows, _ = cut([middle, corner], [image])
    at_corner, at_middle = rows
    assert at_middle["center_latitude"] == pytest.approx(47.0, abs=1e-9)
    assert at_middle["gsd_m"] == pytest.approx(50 / 400, rel=1e-6)
    metres = (at_corner["center_latitude"] - 47.0) * 111_190
    assert metres == pytest.approx((150 - 10) * 50 / 400, rel=0.01)
    assert at_corner["geometry"] is not None


def test_cut_boxes__cells_without_data_of_a_mosaic():
    valid = np.packbits(np.eye(2, dtype=bool).ravel()).tobytes()
    reference = Georeference("EPSG:32633", (0.05, 0.0, 5e5, 0.0, -0.05, 52e5))
    image = image_of(
        "m.tif", size=(64, 64), is_mosaic=True, valid=valid, place_quality="ortho", georeference=reference,
    )  # fmt: skip
    boxes = [DetectedBox("m.tif", x, 2, 20, 20, False) for x in (2, 38)]
    try:
        rows, tally = cut(boxes, [image])
    except ImportError:
        pytest.skip("rasterio is not installed")
    assert [row["x"] for row in rows] == [0]
    assert tally.faults.counts == {"no-data": 1}
