"""Export of a round for labelling programs: crops, and files in their formats with the labels so far."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from dino_assets.counting import count_of
from dino_assets.errors import CorruptObjectError, MissingExtraError
from dino_assets.images.ground.geoparquet import encode_wkb
from dino_assets.images.places import place_windows
from dino_assets.images.stage.footprint_files import write_geopackage
from dino_assets.labels.crops import ShotFacts, add_exif
from dino_assets.labels.formats.boxes import COCO, encode_coco, encode_yolo
from dino_assets.labels.formats.cvat import ANNOTATIONS, MANIFEST, encode_cvat, encode_manifest
from dino_assets.labels.formats.label_studio import CONFIG, TASKS, encode_config, encode_tasks
from dino_assets.labels.formats.qgis_style import STYLE, encode_style
from dino_assets.labels.formats.readme import README, write_readme
from dino_assets.labels.formats.records import (
    CropBox,
    LabelFormat,
    Suggestion,
    TileCrop,
    list_classes,
)
from dino_assets.labels.formats.tables import (
    CSV,
    GEOJSON,
    GEOPACKAGE,
    LAYER,
    encode_csv,
    encode_label_geojson,
    list_rows,
)
from dino_assets.labels.records import Label, Window
from dino_assets.labels.stage.stored_tiles import (
    make_frame,
    make_frame_of,
    read_current_labels,
    read_images,
    read_rows,
    read_shots,
)
from dino_assets.labels.tile_labels import LEAST_VISIBLE, measure_common_area
from dino_assets.selections.stage.chosen_files import ChosenPlaces, read_chosen
from dino_assets.store.commits.listing import find_outputs, place_outputs
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.objects import ObjectStore
from dino_assets.store.targets import write_target

ALL_FORMATS: tuple[LabelFormat, ...] = (
    "coco", "yolo", "cvat", "label-studio", "geojson", "geopackage", "csv",
)  # fmt: skip
IMAGES = "images"
_TEXTS = ("level", "class", "suggestion", "drop", "photograph", "file", "tile_id", "image_id")
_INTEGERS = ("x", "y", "w", "h", "rank")
_FLOATS = ("suggestion_score", "latitude", "longitude")


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export.

    ``image_url`` is what Label Studio puts before a picture's name; by default, its route for local files.
    ``classes`` are classes to offer besides those of the labels. ``suggestions`` are a model's, by tile id.
    """

    formats: tuple[LabelFormat, ...] = ALL_FORMATS
    image_url: str = ""
    classes: tuple[str, ...] = ()
    suggestions: Mapping[str, Suggestion] = field(default_factory=lambda: MappingProxyType({}))


def export_labels(
    store: ObjectStore,
    name: str,
    *,
    folder: Path,
    space: str | None = None,
    options: ExportOptions | None = None,
    say: Callable[[str], object],
) -> Iterator[Path]:
    """Write a round's crops and files for labelling programs; yield each path.

    A round without labels is written, too. ``say`` is called with messages about what is left out.

    Raises:
        NotCommittedError: the round does not exist.
        CorruptObjectError: a picture of the round is missing or altered.
        TargetError: the folder cannot be written.
        DiskFullError: the disk is full.
    """
    options = options or ExportOptions()
    labels = read_current_labels(store)
    outputs = find_outputs(store, "selections", name, space=space)
    for manifest, place in place_outputs(outputs, folder=folder):
        chosen = read_chosen(store, manifest)
        crops: list[TileCrop] = []
        for crop, jpeg in _make_crops(store, manifest, chosen, labels, options, place.name):
            write_target(place / crop.name, jpeg)
            yield place / crop.name
            crops.append(crop)
        yield from _write_files(store, name, place, tuple(crops), options, say)


def _make_crops(
    store: ObjectStore,
    manifest: Manifest,
    chosen: ChosenPlaces,
    labels: Sequence[Label],
    options: ExportOptions,
    folder_name: str,
) -> Iterator[tuple[TileCrop, bytes]]:
    """Make each crop of a round with its JPEG, in the order of the ranks."""
    rows = chosen.rows.to_pylist()
    drops = {row["drop"] for row in rows}
    tile_rows = read_rows(store, drops, {row["tile_id"] for row in rows})
    shots = read_shots(store, drops, {row["image_id"] for row in rows})
    finder = _LabelFinder(labels)
    stored_name = {exported: stored for stored, exported in chosen.names.items()}
    parts = {part.name: part for part in manifest.parts}
    for row, geometry in zip(rows, chosen.footprints.to_pylist(), strict=True):
        stored = stored_name[row["file"]]
        part = parts.get(stored)
        if part is None:
            raise CorruptObjectError(
                f"{manifest.recipe.output} has no picture {stored!r}. Run `dino-assets verify --repair`.",
                store=store.url,
                key=stored,
            )
        jpeg = read_part(store, part)
        tile_id = row["tile_id"]
        window = Window(row["x"], row["y"], row["w"], row["h"])
        _, tile = tile_rows.get(tile_id, ("", None))
        frame = make_frame(tile) if tile is not None else make_frame_of(window, jpeg)
        jpeg = add_exif(jpeg, shots.get(row["image_id"], ShotFacts()), description=tile_id)
        name = f"{IMAGES}/{PurePosixPath(stored).name}"
        address = options.image_url or f"/data/local-files/?d={quote(folder_name)}/{IMAGES}/"
        own = finder.find_own(tile_id, row["image_id"], is_whole=bool(tile and tile.is_whole))
        crop = TileCrop(
            name=name,
            tile_id=tile_id,
            image_id=row["image_id"],
            drop=row["drop"],
            path=row["photograph"],
            frame=frame,
            md5=hashlib.md5(jpeg, usedforsecurity=False).hexdigest(),
            class_name=own.class_name if own else None,
            label_id=own.label_id if own else None,
            level="image" if own and own.level == "image" else "tile",
            boxes=tuple(
                CropBox(label.class_name, label.label_id, label.window, box)
                for label in finder.list_boxes(row["image_id"], window)
                if (box := frame.to_crop(label.window))
            ),
            suggestion=options.suggestions.get(tile_id),
            image_url=f"{address.rstrip('/')}/{quote(PurePosixPath(stored).name)}",
            geometry=geometry,
            more={key: row[key] for key in ("rank", "reason", "latitude", "longitude")},
        )
        yield crop, jpeg


class _LabelFinder:
    """Finds the labels of a tile: its own or its photograph's, and the boxes that it shows."""

    def __init__(self, labels: Sequence[Label]) -> None:
        self._of_tile = {label.tile_id: label for label in labels if label.level == "tile"}
        self._of_image = {label.image_id: label for label in labels if label.level == "image"}
        self._boxes: dict[str, list[Label]] = defaultdict(list)
        for label in labels:
            if label.level == "box":
                self._boxes[label.image_id].append(label)

    def find_own(self, tile_id: str, image_id: str, *, is_whole: bool) -> Label | None:
        own = self._of_tile.get(tile_id)
        return own or (self._of_image.get(image_id) if is_whole else None)

    def list_boxes(self, image_id: str, window: Window) -> list[Label]:
        """List boxes of which the tile shows half, or that fill half of the tile."""
        shown = []
        for label in self._boxes.get(image_id, ()):
            area = measure_common_area(label.window, window)
            least = LEAST_VISIBLE * min(label.w * label.h, window.w * window.h)
            if area and area >= least:
                shown.append(label)
        return shown


def _write_files(
    store: ObjectStore,
    name: str,
    place: Path,
    crops: tuple[TileCrop, ...],
    options: ExportOptions,
    say: Callable[[str], object],
) -> Iterator[Path]:
    classes = list_classes(crops, options.classes)
    files = dict(_encode_files(store, crops, classes, options.formats))
    labelled = sum(crop.class_name is not None or bool(crop.boxes) for crop in crops)
    counts = f"{count_of(len(crops), 'tile')}, {labelled} labelled"
    files[README] = write_readme(name, formats=options.formats, classes=classes, counts=counts)
    for file, data in files.items():
        if isinstance(data, bytes):
            write_target(place / file, data)
        else:
            try:
                write_geopackage(place / file, {LAYER: data})
            except MissingExtraError as err:
                say(f"{file} is not written. {err}")
                continue
        yield place / file


def _encode_files(
    store: ObjectStore,
    crops: tuple[TileCrop, ...],
    classes: Sequence[str],
    formats: Collection[LabelFormat],
) -> Iterator[tuple[str, bytes | pa.Table]]:
    if "coco" in formats:
        yield COCO, encode_coco(crops, classes)
    if "yolo" in formats:
        yield from encode_yolo(crops, classes).items()
    if "cvat" in formats:
        yield MANIFEST, encode_manifest(crops)
        yield ANNOTATIONS, encode_cvat(crops, classes)
    if "label-studio" in formats:
        yield TASKS, encode_tasks(crops)
        yield CONFIG, encode_config(classes)
    if not {"csv", "geojson", "geopackage"} & set(formats):
        return
    rows = list_rows(crops)
    if "csv" in formats:
        yield CSV, encode_csv(rows)
    if "geojson" not in formats and "geopackage" not in formats:
        return
    outlines = _list_outlines(store, crops)
    if "geojson" in formats:
        yield GEOJSON, encode_label_geojson(rows, outlines)
    if "geopackage" in formats:
        yield GEOPACKAGE, make_table(rows, outlines)
        yield STYLE, encode_style(classes)


_SCHEMA = pa.schema(
    {name: pa.string() for name in (*_TEXTS, "label_id", "reason")}
    | {name: pa.int32() for name in _INTEGERS}
    | {name: pa.float64() for name in _FLOATS}
)


def make_table(rows: Sequence[Mapping[str, Any]], outlines: Sequence[bytes | None]) -> pa.Table:
    """Make the layer of a GeoPackage from rows and their outlines."""
    columns = [{name: row.get(name) for name in _SCHEMA.names} for row in rows]
    table = pa.Table.from_pylist(columns, _SCHEMA)
    return table.append_column("geometry", pa.array(outlines, pa.binary()))


def _list_outlines(store: ObjectStore, crops: Sequence[TileCrop]) -> list[bytes | None]:
    """List the outlines on the ground of tiles and boxes, in the order of the tables' rows."""
    boxed = [crop for crop in crops if crop.boxes]
    images = read_images(store, {crop.drop for crop in boxed}, {crop.image_id for crop in boxed})
    outlines: list[bytes | None] = []
    for crop in crops:
        outlines.append(crop.geometry)
        if not crop.boxes:
            continue
        image = images.get(crop.image_id)
        windows = [each.window for each in crop.boxes]
        numbers = np.array([[each.x, each.y, each.w, each.h] for each in windows])
        placed = image and place_windows(
            numbers,
            view=image.view.restore() if image.view else None,
            georeference=image.georeference,
        )
        outlines += encode_wkb(placed.corners) if placed else [None] * len(windows)
    return outlines
