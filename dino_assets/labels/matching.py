"""Matching of the rows of a file of labels with the tiles and photographs of the store."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dino_assets.labels.crops import WHOLE_PX, Box, CropFrame, round_box
from dino_assets.labels.formats.records import FileRow, RejectedReason, RejectedRow
from dino_assets.labels.records import MAX_CLASS_CHARS, Level, Target, Window, is_name
from dino_assets.tiles.box_names import find_pictures

_TILE_ID = re.compile(r"[0-9a-f]{16}-x\d{5}y\d{5}w\d{5}h\d{5}-g\d+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SAME_SHAPE = 0.02  # relative difference of the ratio of the sides


@dataclass(frozen=True, slots=True)
class StoredTile:
    """A tile of the store with its picture's geometry; ``round`` is the round that chose it, if one did."""

    tile_id: str
    image_id: str
    drop: str
    path: str
    frame: CropFrame
    round: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPhotograph:
    """A usable photograph of the store, with the size of the upright picture."""

    image_id: str
    drop: str
    path: str
    width: int
    height: int


@dataclass(frozen=True)
class Matchable:
    """What rows of a file can be about.

    ``tiles`` are tiles by id. ``names`` maps the names of exported pictures, without folder and suffix, to the
    ids of tiles that have this name. ``boxes`` are the labelled boxes of each photograph.
    """

    tiles: Mapping[str, StoredTile] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    photographs: Sequence[StoredPhotograph] = ()
    boxes: Mapping[str, Sequence[Window]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MatchedRow:
    """A row with the target that it is about."""

    row: FileRow
    target: Target
    round: str | None


@dataclass(frozen=True)
class MatchedLabels:
    """The rows that have a target, one per target; ``repeated`` counts rows that say the same again."""

    rows: tuple[MatchedRow, ...]
    rejected: tuple[RejectedRow, ...]
    repeated: int


def find_tile_id(row: FileRow) -> str:
    """Find the tile id that a row states or that its picture's name holds; empty if there is none."""
    match = _TILE_ID.search(row.tile_id or PurePosixPath(row.picture.replace("\\", "/")).name)
    return match[0] if match else ""


def match_rows(rows: Sequence[FileRow], stored: Matchable) -> MatchedLabels:
    """Find the target of each row: a tile by its id, else a photograph by its hash or its name.

    A class of a whole tile or photograph, or a box as large as it, is a label of the tile or photograph. A box
    that a tile's edge cuts becomes the whole labelled box again if its visible part is unchanged.
    """
    finder = _Finder(stored, rows)
    matched: list[MatchedRow] = []
    rejected: list[RejectedRow] = []
    for row in rows:
        target = finder.find(row)
        if isinstance(target, MatchedRow):
            matched.append(target)
        else:
            reason, detail = target
            rejected.append(RejectedRow(row.where, row.picture or row.tile_id, reason, detail))
    return _join_repeated(matched, rejected)


def _join_repeated(matched: Sequence[MatchedRow], rejected: Iterable[RejectedRow]) -> MatchedLabels:
    """Keep one row per target; reject the rows of a target to which the file gives several classes."""
    by_target: dict[str, list[MatchedRow]] = defaultdict(list)
    for each in matched:
        by_target[each.target.key].append(each)
    single: list[MatchedRow] = []
    refused = list(rejected)
    for group in by_target.values():
        classes = sorted({each.row.class_name for each in group})
        if len(classes) == 1:
            single.append(group[0])
        else:
            refused += [
                RejectedRow(e.row.where, e.row.picture, "several-classes", ", ".join(classes))
                for e in group
            ]
    repeated = len(matched) - len(single) - sum(r.reason == "several-classes" for r in refused)
    return MatchedLabels(tuple(single), tuple(refused), repeated)


_Fault = tuple[RejectedReason, str]


class _Finder:
    """Finds the tile, box or photograph of each row; names of photographs are looked up for all rows at once."""

    def __init__(self, stored: Matchable, rows: Sequence[FileRow]) -> None:
        self._stored = stored
        self._by_hash: dict[str, StoredPhotograph] = {}
        for photograph in stored.photographs:
            self._by_hash.setdefault(photograph.image_id, photograph)
        self._of_name: dict[tuple[str, bool], StoredPhotograph] = {}
        self._unclear: set[tuple[str, bool]] = set()
        # By tile: the visible part and the whole of the labelled boxes that its edges cut.
        self._cut_boxes: dict[str, list[tuple[Window, Window]]] = {}
        # Equal photographs of several drops are one, so a name that means both is clear. Only a name that
        # fits none of them may be in another drop.
        every = list(self._by_hash.values()), stored.photographs
        for is_stem in (False, True):
            names = [row.picture for row in rows if row.is_stem == is_stem and row.picture]
            for photographs in every:
                names = self._find_names(names, photographs, is_stem=is_stem)

    def _find_names(
        self, names: Sequence[str], photographs: Sequence[StoredPhotograph], *, is_stem: bool
    ) -> list[str]:
        """Look names up; return those of no photograph."""
        by_path = {f"{each.drop}/{each.path}": each for each in photographs}
        pictures = find_pictures(names, by_path, without_suffix=is_stem)
        self._of_name |= {(n, is_stem): by_path[path] for n, path in pictures.path_of.items()}
        self._unclear |= {(name, is_stem) for name in pictures.unclear}
        return pictures.missing

    def find(self, row: FileRow) -> MatchedRow | _Fault:
        class_name = row.class_name.strip()
        if not is_name(class_name, MAX_CLASS_CHARS):
            return "class-name", repr(row.class_name[: 2 * MAX_CLASS_CHARS])
        tile = self._find_tile(row)
        if isinstance(tile, tuple):
            return tile
        if tile is not None:
            return self._place_in_tile(row, tile)
        photograph = self._find_photograph(row)
        return photograph if isinstance(photograph, tuple) else _place(row, photograph)

    def _find_tile(self, row: FileRow) -> StoredTile | _Fault | None:
        tile_id = find_tile_id(row)
        if not tile_id:
            name = PurePosixPath(row.picture.replace("\\", "/")).name
            stem = name if row.is_stem else name.rpartition(".")[0] or name
            named = self._stored.names.get(stem, ())
            if len(set(named)) > 1:
                return "several-pictures", ", ".join(sorted(set(named))[:3])
            tile_id = named[0] if named else ""
        if not tile_id:
            return None
        tile = self._stored.tiles.get(tile_id)
        return ("no-such-tile", tile_id) if tile is None else tile

    def _find_photograph(self, row: FileRow) -> StoredPhotograph | _Fault:
        stem = PurePosixPath(row.picture).name.partition(".")[0]
        image_id = row.image_id or (stem if _SHA256.fullmatch(stem) else "")
        if image_id:
            return self._by_hash.get(image_id) or ("no-such-picture", image_id)
        key = (row.picture, row.is_stem)
        if key in self._unclear:
            return "several-pictures", ""
        return self._of_name.get(key) or ("no-such-picture", "")

    def _place_in_tile(self, row: FileRow, tile: StoredTile) -> MatchedRow | _Fault:
        def make(level: Level, window: Window, tile_id: str | None = None) -> MatchedRow:
            target = Target(level, tile.drop, tile.image_id, tile.path, window, tile_id)
            return MatchedRow(row, target, tile.round)

        photograph = self._by_hash.get(tile.image_id)
        if row.level in ("box", "image"):
            if photograph is None:
                return "no-such-picture", tile.image_id
            whole = Window(0, 0, photograph.width, photograph.height)
            if row.level == "image":
                return make("image", whole)
            window = row.window and round_box(_to_box(row.window), whole)
            return make("box", window) if window else ("outside", "")
        frame = tile.frame
        if row.box is None or row.level == "tile":
            return make("tile", frame.window, tile.tile_id)
        box = _scale(row, frame.width, frame.height)
        if box is None:
            return "other-size", f"{row.frame} px, expected {(frame.width, frame.height)}"
        if frame.is_whole(box):
            return make("tile", frame.window, tile.tile_id)
        window = frame.to_photograph(box)
        if window is None:
            return "outside", ""
        return make("box", self._restore(window, tile))

    def _restore(self, window: Window, tile: StoredTile) -> Window:
        """Restore a labelled box whose visible part in the tile is this window."""
        cut_boxes = self._cut_boxes.get(tile.tile_id)
        if cut_boxes is None:
            boxes = self._stored.boxes.get(tile.image_id, ())
            visible = [(round_box(_to_box(box), tile.frame.window), box) for box in boxes]
            cut_boxes = [(part, box) for part, box in visible if part is not None and part != box]
            self._cut_boxes[tile.tile_id] = cut_boxes
        near = (box for part, box in cut_boxes if _is_near(part, window))
        return next(near, window)


def _place(row: FileRow, photograph: StoredPhotograph) -> MatchedRow | _Fault:
    whole = Window(0, 0, photograph.width, photograph.height)
    where = (photograph.drop, photograph.image_id, photograph.path)
    image = MatchedRow(row, Target("image", *where, whole), None)
    box = row.box if row.window is None else _to_box(row.window)
    if box is None or row.level == "image":
        return image
    if row.window is None:
        box = _scale(row, photograph.width, photograph.height)
    if box is None:
        return "other-size", f"{row.frame} px, expected {(photograph.width, photograph.height)}"
    if row.level is None and CropFrame(
        whole, whole.w, whole.h, photograph.width, photograph.height
    ).is_whole(box):
        return image
    window = round_box(box, whole)
    if window is None:
        return "outside", ""
    return MatchedRow(row, Target("box", *where, window), None)


def _scale(row: FileRow, width: int, height: int) -> Box | None:
    """Convert a row's box to pixels of a picture; None if the file says that it has another shape."""
    assert row.box is not None
    left, top, wide, high = row.box
    if row.is_relative:
        return left * width, top * height, wide * width, high * height
    if row.frame is None or row.frame == (width, height):
        return row.box
    across, down = width / row.frame[0], height / row.frame[1]
    if abs(across / down - 1) > _SAME_SHAPE:
        return None
    return left * across, top * down, wide * across, high * down


def _to_box(window: Window) -> Box:
    return float(window.x), float(window.y), float(window.w), float(window.h)


def _is_near(one: Window, other: Window) -> bool:
    edges = (
        one.x - other.x,
        one.y - other.y,
        one.x + one.w - other.x - other.w,
        one.y + one.h - other.y - other.h,
    )
    return all(abs(edge) <= WHOLE_PX for edge in edges)
