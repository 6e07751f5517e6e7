"""Files of a round for labelling programs: crops, and files in their formats with the labels so far."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from dino_assets.counting import count_of
from dino_assets.errors import CorruptObjectError
from dino_assets.images.ground.geoparquet import encode_wkb
from dino_assets.images.places import place_windows
from dino_assets.labels.crops import ShotFacts, add_exif
from dino_assets.labels.export_settings import OUT_FORMATS, LabelExportSettings
from dino_assets.labels.formats.boxes import COCO, encode_coco, encode_yolo
from dino_assets.labels.formats.cvat import ANNOTATIONS, MANIFEST, encode_cvat, encode_manifest
from dino_assets.labels.formats.label_studio import CONFIG, TASKS, encode_config, encode_tasks
from dino_assets.labels.formats.qgis_style import STYLE, encode_style
from dino_assets.labels.formats.readme import README, write_readme
from dino_assets.labels.formats.records import (
    CropBox,
    Suggestion,
    TileCrop,
    list_classes,
)
from dino_assets.labels.formats.tables import (
    CSV,
    GEOJSON,
    GEOPACKAGE,
    encode_csv,
    encode_label_geojson,
    list_rows,
)
from dino_assets.labels.records import Label, Window
from dino_assets.labels.stage.answers import check_class
from dino_assets.labels.stage.stored_tiles import (
    make_frame,
    make_frame_of,
    read_images,
    read_rows,
    read_shots,
)
from dino_assets.labels.tile_labels import LEAST_VISIBLE, measure_common_area
from dino_assets.selections.stage.chosen_files import ChosenPlaces
from dino_assets.settings.choices import check_word
from dino_assets.settings.described import make_record
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.objects import ObjectStore

IMAGES = "images"
_TEXTS = ("level", "class", "suggestion", "drop", "photograph", "file", "tile_id", "image_id")
_INTEGERS = ("x", "y", "w", "h", "rank")
_FLOATS = ("suggestion_score", "latitude", "longitude")


@dataclass(frozen=True, eq=False)
class RoundToExport:
    """A committed round, the name of the folder for its files, the labels so far, and suggestions by tile id."""

    manifest: Manifest
    chosen: ChosenPlaces
    folder_name: str
    labels: Sequence[Label]
    suggestions: Mapping[str, Suggestion]

    @property
    def name(self) -> str:
        """The name of the round, such as ``round-0001``."""
        return str(self.manifest.recipe.output.drop)


def make_export_settings(**values: Any) -> LabelExportSettings:
    """Make settings from values as users write them.

    Raises:
        ConfigError: a format is unknown, or the name of a class cannot be one.
    """
    settings = make_record(LabelExportSettings, values)
    for name in settings.formats:
        check_word("formats", name, OUT_FORMATS)
    return replace(settings, classes=tuple(check_class(name) for name in settings.classes))


def make_crops(
    store: ObjectStore, source: RoundToExport, settings: LabelExportSettings
) -> Iterator[tuple[TileCrop, bytes]]:
    """Make each crop of a round with its JPEG, in the order of the ranks.

    Raises:
        CorruptObjectError: a picture of the round is missing or altered.
    """
    manifest, chosen = source.manifest, source.chosen
    rows = chosen.rows.to_pylist()
    drops = {row["drop"] for row in rows}
    tile_rows = read_rows(store, drops, {row["tile_id"] for row in rows})
    shots = read_shots(store, drops, {row["image_id"] for row in rows})
    finder = _LabelFinder(source.labels)
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
        address = (
            settings.image_url or f"/data/local-files/?d={quote(source.folder_name)}/{IMAGES}/"
        )
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
            suggestion=source.suggestions.get(tile_id),
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


def encode_files(
    store: ObjectStore,
    source: RoundToExport,
    crops: tuple[TileCrop, ...],
    settings: LabelExportSettings,
) -> Iterator[tuple[str, bytes | pa.Table]]:
    """Encode the files beside the crops; the layer of a GeoPackage is a table that is still to be written."""
    classes = list_classes(crops, settings.classes)
    yield from _encode_formats(store, crops, classes, settings)
    labelled = sum(crop.is_labelled for crop in crops)
    counts = f"{count_of(len(crops), 'tile')}, {labelled} labelled"
    written = [name for name in OUT_FORMATS if settings.lists(name)]
    yield (
        README,
        write_readme(source.name, formats=written, classes=classes, counts=counts),
    )


def _encode_formats(
    store: ObjectStore,
    crops: tuple[TileCrop, ...],
    classes: Sequence[str],
    settings: LabelExportSettings,
) -> Iterator[tuple[str, bytes | pa.Table]]:
    if settings.lists("coco"):
        yield COCO, encode_coco(crops, classes)
    if settings.lists("yolo"):
        yield from encode_yolo(crops, classes).items()
    if settings.lists("cvat"):
        yield MANIFEST, encode_manifest(crops)
        yield ANNOTATIONS, encode_cvat(crops, classes)
    if settings.lists("label-studio"):
        yield TASKS, encode_tasks(crops)
        yield CONFIG, encode_config(classes)
    rows = list_rows(crops)
    if settings.lists("csv"):
        yield CSV, encode_csv(rows)
    if not settings.lists("geojson") and not settings.lists("geopackage"):
        return
    outlines = _list_outlines(store, crops)
    if settings.lists("geojson"):
        yield GEOJSON, encode_label_geojson(rows, outlines)
    if settings.lists("geopackage"):
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
