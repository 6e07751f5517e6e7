"""Tiles that are a detector's boxes: one square window around each box."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.drops.boxes.records import BoxFault, BoxFaults, DetectedBox
from dino_assets.drops.cards import find_camera_folder
from dino_assets.images.mosaics import find_valid_windows, unpack_valid
from dino_assets.images.places import place_windows
from dino_assets.tiles.box_names import find_pictures
from dino_assets.tiles.grid import BOX_VERSION, MIN_SPAN_PX, TileGrid, name_tiles
from dino_assets.tiles.recurring import group_boxes
from dino_assets.tiles.rows import SCHEMA, ImageToCut, PictureFile, make_tile_rows

MARGIN = 1.2  # side of the square, as a multiple of the box's longer side
MAX_MOSAIC_SPAN_PX = 8192  # 200 MB of pixels
_CLIPPED_PX = 1.0  # rounding moves an edge by less


@dataclass(frozen=True, slots=True)
class UprightBox:
    """A box in pixels of the upright picture, clipped to it."""

    x: float
    y: float
    w: float
    h: float
    box_class: str | None
    score: float | None
    is_clipped: bool = False

    @property
    def rank(self) -> tuple[float, str]:
        """The order of boxes with the same square: boxes without a score, then the highest score."""
        return (-1.0 if self.score is None else -self.score, self.box_class or "")


@dataclass(frozen=True, slots=True)
class Square:
    """The square window of a box: ``span_px`` is its side, and ``w`` or ``h`` is less where the picture ends."""

    x: int
    y: int
    w: int
    h: int
    span_px: int


@dataclass(frozen=True, eq=False)
class BoxesToCut:
    """The boxes of a drop, and the rules for cutting them.

    ``names_have_no_suffix`` is set for label files, which have the names of pictures with another suffix.
    """

    boxes: Iterable[DetectedBox]
    least_score: float
    side_px: int
    names_have_no_suffix: bool = False


@dataclass(eq=False)
class BoxTally:
    """Counts of what became of a drop's boxes, and the faults of boxes without a tile."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: BoxFaults = field(default_factory=BoxFaults)


def place_box(box: DetectedBox, file: PictureFile) -> UprightBox | BoxFault:
    """Place a box in the upright picture, or return why it cannot be placed.

    Detectors turn a picture upright before they look at it, so boxes are those of the upright picture. If
    the sizes in the file with boxes have width and height swapped, its boxes are those of the stored
    picture. Then the boxes are turned, too.
    """
    stored = (file.stored_width, file.stored_height)
    is_swapped = file.orientation >= 5
    upright = stored[::-1] if is_swapped else stored
    size = upright
    if box.frame_width and box.frame_height:
        seen = (box.frame_width, box.frame_height)
        if not _have_same_shape(seen, upright):
            if not _have_same_shape(seen, stored):
                return "other-size"
            size = stored
        scale_x, scale_y = size[0] / seen[0], size[1] / seen[1]
    else:
        scale_x = scale_y = 1.0
    if box.is_relative:
        scale_x, scale_y = size
    left, top = box.x * scale_x, box.y * scale_y
    right, bottom = left + box.w * scale_x, top + box.h * scale_y
    edges = (left, top, right, bottom)
    if size != upright:
        edges = _turn_upright(edges, file)
    inside = (
        max(0.0, edges[0]), max(0.0, edges[1]), min(upright[0], edges[2]), min(upright[1], edges[3]),
    )  # fmt: skip
    if not (inside[2] > inside[0] and inside[3] > inside[1]):
        return "outside"
    is_clipped = max(abs(a - b) for a, b in zip(edges, inside, strict=True)) > _CLIPPED_PX
    width, height = inside[2] - inside[0], inside[3] - inside[1]
    return UprightBox(
        inside[0], inside[1], width, height, box.box_class, box.score, is_clipped=is_clipped
    )


def _have_same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Check whether two sizes can be of one picture at two scales; each side may be rounded by half a pixel."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


def _turn_upright(
    edges: tuple[float, float, float, float], file: PictureFile
) -> tuple[float, float, float, float]:
    """Turn left, top, right and bottom in the stored picture into those in the upright one.

    Only turns that swap width and height occur here: the size in the file proves no other turn.
    """
    left, top, right, bottom = edges
    width, height = file.stored_width, file.stored_height
    across = (height - bottom, height - top) if file.orientation in (6, 7) else (top, bottom)
    down = (width - right, width - left) if file.orientation in (7, 8) else (left, right)
    return across[0], down[0], across[1], down[1]


def cut_square(box: UprightBox, width: int, height: int) -> Square:
    """Compute the square window around a box, shifted inwards where the picture ends.

    Where the square is wider or higher than the picture, the window ends at the picture's edges. It is padded to a
    square when it is read.
    """
    # Shares of a picture's sides are rounded: 50.00000000000003 px must not become 61 px.
    span = max(1, math.ceil(MARGIN * max(box.w, box.h) - 1e-6))
    left = _start(box.x + box.w / 2, span, width)
    upper = _start(box.y + box.h / 2, span, height)
    return Square(left, upper, min(span, width), min(span, height), span)


def _start(middle: float, span: int, side: int) -> int:
    """Compute where a span around a middle begins; it is moved so that it lies within the picture's side."""
    return min(max(0, round(middle - span / 2)), max(0, side - span))


def cut_boxes(
    images: Sequence[ImageToCut],
    files: Sequence[PictureFile],
    unused: Mapping[str, BoxFault],
    asked: BoxesToCut,
    tally: BoxTally,
) -> Iterator[pa.RecordBatch]:
    """Make the tile rows of all images, sorted by image; nothing is left out without being counted.

    ``images`` are those to cut, ``files`` all their files, since an image may have several paths. ``unused``
    has the paths of pictures that are not cut, with the reason.
    """
    of_image = _sort_by_image(files, unused, asked, tally)
    squares = [
        (image, *row)
        for image in sorted(images, key=lambda image: image.image_id)
        for row in _cut_image(image, of_image.pop(image.image_id, ()), tally)
    ]
    tally.counts["without_box"] = len(images) - len({image.image_id for image, *_ in squares})
    groups = _group(squares)
    tile_ids = [
        name_tiles(image.image_id, np.array([[s.x, s.y, s.w, s.h]]), _grid(asked.side_px))[0]
        for image, s, _ in squares
    ]
    sizes = Counter(groups)
    tally.counts["recurring"] = sum(count for count in sizes.values() if count > 1)
    tally.counts["recurring_groups"] = sum(count > 1 for count in sizes.values())
    first = 0
    while first < len(squares):
        image = squares[first][0]
        last = first
        while last < len(squares) and squares[last][0] is image:
            last += 1
        rows = slice(first, last)
        yield _make_rows(
            image,
            [square for _, square, _ in squares[rows]],
            [box for *_, box in squares[rows]],
            tile_ids[rows],
            [tile_ids[row] for row in groups[rows]],
            asked.side_px,
        )
        first = last


def _grid(side_px: int) -> TileGrid:
    return TileGrid(side_px, 0.0, 0, BOX_VERSION)


def _sort_by_image(
    files: Sequence[PictureFile],
    unused: Mapping[str, BoxFault],
    asked: BoxesToCut,
    tally: BoxTally,
) -> dict[str, list[UprightBox]]:
    """Place the boxes in their pictures, sorted by image; count boxes without a picture or outside it."""
    by_path = {file.path: file for file in files}
    boxes = list(asked.boxes)
    tally.counts["boxes"] = len(boxes)
    named = find_pictures(
        (box.file for box in boxes),
        [*by_path, *unused],
        without_suffix=asked.names_have_no_suffix,
    )
    faults: dict[str, BoxFault] = dict.fromkeys(named.missing, "no-such-picture")
    faults |= dict.fromkeys(named.unclear, "several-pictures")
    of_image: dict[str, list[UprightBox]] = {}
    for box in boxes:
        if box.score is not None and box.score < asked.least_score:
            tally.counts["below_least_score"] += 1
            continue
        path = named.path_of.get(box.file, "")
        fault = faults.get(box.file) or unused.get(path)
        placed = fault or place_box(box, by_path[path])
        if isinstance(placed, str):
            tally.faults.add(placed, box.file)
            continue
        tally.counts["clipped"] += placed.is_clipped
        of_image.setdefault(by_path[path].image_id, []).append(placed)
    return of_image


def _cut_image(
    image: ImageToCut, boxes: Sequence[UprightBox], tally: BoxTally
) -> list[tuple[Square, UprightBox]]:
    """Cut the squares of one image, sorted; of boxes with the same square, use the first by ``rank``."""
    best: dict[Square, UprightBox] = {}
    for box in sorted(boxes, key=lambda box: box.rank):
        square = cut_square(box, image.width, image.height)
        if image.is_mosaic and square.span_px > MAX_MOSAIC_SPAN_PX:
            tally.faults.add("too-large", image.path)
        elif square in best:
            tally.counts["same_square"] += 1
        else:
            best[square] = box
    if image.valid is not None and best:
        windows = np.array([(s.x, s.y, s.w, s.h) for s in best], np.int32)
        valid = unpack_valid(image.valid, width=image.width, height=image.height)
        for square, has_data in zip(list(best), find_valid_windows(valid, windows), strict=True):
            if not has_data:
                tally.faults.add("no-data", image.path)
                del best[square]
    tally.counts["enlarged"] += sum(square.span_px < MIN_SPAN_PX for square in best)
    return sorted(best.items(), key=lambda item: (item[0].x, item[0].y, item[0].w, item[0].h))


def _group(squares: Sequence[tuple[ImageToCut, Square, UprightBox]]) -> list[int]:
    """Find for each square the row of the first square of its group, in the order of the pictures' paths.

    A place on the ground says more than a place in the picture, because a drone moves. So boxes of pictures
    with a known place, and of mosaics, are grouped only within their picture.
    """
    order = sorted(range(len(squares)), key=lambda row: squares[row][0].path)
    keys = []
    for row in order:
        image, _, box = squares[row]
        is_fixed = image.view is None and not image.is_mosaic and image.place_quality == "none"
        camera = find_camera_folder(image.path) if is_fixed else image.image_id
        keys.append((is_fixed, camera, image.width, image.height, box.box_class))
    boxes = np.array([_list_edges(squares[row][2]) for row in order], np.float64).reshape(-1, 4)
    groups = [0] * len(squares)
    for row, leader in zip(order, group_boxes(boxes, keys).tolist(), strict=True):
        groups[row] = order[leader]
    return groups


def _list_edges(box: UprightBox) -> tuple[float, float, float, float]:
    return box.x, box.y, box.w, box.h


def _make_rows(
    image: ImageToCut,
    squares: Sequence[Square],
    boxes: Sequence[UprightBox],
    tile_ids: Sequence[str],
    groups: Sequence[str],
    side_px: int,
) -> pa.RecordBatch:
    windows = np.array([(s.x, s.y, s.w, s.h) for s in squares], np.int32)
    spans = np.array([square.span_px for square in squares], np.int32)
    edges = np.array([_list_edges(box) for box in boxes], np.float64)
    view = image.view.restore() if image.view else None
    placed = place_windows(windows, view=view, georeference=image.georeference)
    centers = place_windows(edges, view=view, georeference=image.georeference)
    if placed is not None and centers is not None:
        # A square at the edge of a picture is shifted; its box stays where it is.
        placed = replace(placed, centers=centers.centers)
    return make_tile_rows(
        image,
        tile_ids,
        windows,
        placed,
        SCHEMA,
        side_px=np.full(len(squares), side_px, np.int32),
        span_px=spans,
        is_whole=np.zeros(len(squares), bool),
        is_padded=_mark_padded(windows, spans),
        box_class=[box.box_class for box in boxes],
        box_score=[box.score for box in boxes],
        **{f"box_{name}": edges[:, column] for column, name in enumerate("xywh")},
        box_group=groups,
    )


def _mark_padded(windows: NDArray[np.int32], spans: NDArray[np.int32]) -> NDArray[np.bool_]:
    return np.asarray((windows[:, 2] < spans) | (windows[:, 3] < spans))
