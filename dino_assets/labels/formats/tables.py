"""Tables of labels: CSV, GeoJSON and GeoPackage, with the same columns."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from dino_assets.errors import MissingExtraError
from dino_assets.images.ground.geoparquet import encode_geojson
from dino_assets.labels.crops import Box
from dino_assets.labels.export_settings import LabelFormat
from dino_assets.labels.formats.records import (
    FileRow,
    LabelFile,
    RejectedRow,
    TileCrop,
)
from dino_assets.labels.records import Level, Window

CSV, GEOJSON, GEOPACKAGE = "labels.csv", "labels.geojson", "labels.gpkg"
LAYER = "labels"
_SQLITE = b"SQLite format 3\0"
COLUMNS = (
    "level", "class", "suggestion", "suggestion_score", "drop", "photograph", "file", "x", "y", "w", "h",
    "tile_id", "image_id", "label_id",
)  # fmt: skip
_CLASS = ("class", "class_name", "label", "category")
_PICTURE = ("file", "file_name", "filename", "image", "picture", "photograph", "path")
_CORNERS = (
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
    ("bbox_x", "bbox_y", "bbox_w", "bbox_h"),
)
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_DETAIL_CHARS = 160
_SIZE = ("image_width", "image_height")


def list_rows(crops: Sequence[TileCrop]) -> list[dict[str, Any]]:
    """List the rows of a table: one for each tile, labelled or not, and one for each box in it.

    The rectangle of a box is the whole box in the photograph, which may exceed the tile.
    """
    rows: list[dict[str, Any]] = []
    for crop in crops:
        shared = {
            "drop": crop.drop,
            "photograph": crop.path,
            "file": crop.name,
            "tile_id": crop.tile_id,
            "image_id": crop.image_id,
        } | dict(crop.more)
        suggestion = crop.suggestion
        rows.append(
            dict.fromkeys(COLUMNS)
            | shared
            | {
                "level": crop.level,
                "class": crop.class_name,
                "suggestion": suggestion.class_name if suggestion else None,
                "suggestion_score": suggestion.score if suggestion else None,
                "label_id": crop.label_id,
            }
            | _spell_window(crop.window)
        )
        for each in crop.boxes:
            own = {"level": "box", "class": each.class_name, "label_id": each.label_id}
            rows.append(dict.fromkeys(COLUMNS) | shared | own | _spell_window(each.window))
    return rows


def encode_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode rows as CSV in UTF-8."""
    sink = io.StringIO(newline="")
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    writer = csv.DictWriter(sink, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def encode_label_geojson(
    rows: Sequence[Mapping[str, Any]], geometries: Sequence[bytes | None]
) -> bytes:
    """Encode rows as GeoJSON; a row without a known place has no geometry."""
    return encode_geojson(geometries, rows).encode()


def decode_csv(data: bytes) -> LabelFile:
    """Decode a CSV with a header; commas, semicolons or tabs separate its columns.

    Raises:
        ValueError: it is not UTF-8 text, lacks the columns of classes and pictures, or has one of them twice.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise ValueError(f"it is not UTF-8 text ({err}); save it as 'CSV UTF-8'") from err
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
        check_columns(set(names))
        if twice := [name for name in (*_CLASS, *_PICTURE, "tile_id") if names.count(name) > 1]:
            raise ValueError(f"it has several columns {twice[0]!r}; expected one")
        rows: list[tuple[str, Mapping[str, Any]]] = []
        rejected: list[RejectedRow] = []
        for row in reader:
            where, fields = f"line {reader.line_num}", _lower(row)
            # A comma without quotes shifts the fields behind it.
            more = [text for text in row.get(None) or () if text.strip()]
            if more:
                excess = f"it has {len(names) + len(more)} fields, and the header has {len(names)}"
                rejected.append(RejectedRow(where, _pick(fields, _PICTURE), "not-text", excess))
            else:
                rows.append((where, fields))
    except csv.Error as err:
        raise ValueError(f"line {reader.line_num + 1}: {err}") from err
    return decode_rows("csv", rows, rejected)


def decode_features(body: Mapping[str, Any]) -> LabelFile:
    """Decode the body of a GeoJSON file; the properties of its features are the rows.

    Raises:
        ValueError: it has no list of features, or they lack the columns of classes and pictures.
    """
    features = body.get("features")
    if not isinstance(features, list):
        raise ValueError("its 'features' are not a list")
    rows: list[tuple[str, Mapping[str, Any]]] = []
    rejected: list[RejectedRow] = []
    for number, feature in enumerate(features):
        properties = feature.get("properties") if isinstance(feature, Mapping) else None
        if isinstance(properties, Mapping):
            rows.append((f"features[{number}]", _lower(properties)))
        else:
            rejected.append(RejectedRow(f"features[{number}]", "", "no-file-name"))
    check_columns({name for _, row in rows for name in row})
    return decode_rows("geojson", rows, rejected)


def read_geopackage(path: Path) -> LabelFile:
    """Read a GeoPackage: its layer ``labels``, or else its first layer.

    Raises:
        MissingExtraError: pyogrio is not installed.
        ValueError: it is not a GeoPackage, cannot be read, or lacks the columns of classes and pictures.
    """
    try:
        from pyogrio import list_layers
        from pyogrio.errors import DataLayerError, DataSourceError
        from pyogrio.raw import read
    except ImportError:
        raise MissingExtraError("Reading a GeoPackage", extra="geo") from None
    with path.open("rb") as file:
        # GDAL would also open a list of other files and addresses under this name.
        if not file.read(len(_SQLITE)) == _SQLITE:
            raise ValueError("it is not a GeoPackage: an SQLite database is expected")
    try:
        layers = [str(name) for name, _ in list_layers(path)]
        layer = LAYER if LAYER in layers else layers[0]
        meta, ids, _, values = read(path, layer=layer, read_geometry=False, return_fids=True)
    except (DataLayerError, DataSourceError, IndexError) as err:
        raise ValueError(str(err)) from err
    names = [str(name).strip().lower() for name in meta["fields"]]
    check_columns(set(names))
    columns = [column.tolist() for column in values]
    rows = [
        (f"feature {number}", dict(zip(names, row, strict=True)))
        for number, row in zip(ids.tolist(), zip(*columns, strict=True), strict=True)
    ]
    return decode_rows("geopackage", rows)


def check_columns(names: set[str]) -> None:
    """Check that a table has a column of classes and one of pictures or tiles.

    Raises:
        ValueError: one of them is missing.
    """
    if not names & set(_CLASS):
        raise ValueError(f"it has no column of classes; expected one of {', '.join(_CLASS)}")
    if not names & {"tile_id", *_PICTURE}:
        expected = ", ".join(("tile_id", *_PICTURE))
        raise ValueError(f"it has no column of pictures; expected one of {expected}")


def decode_rows(
    kind: LabelFormat,
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    rejected: Iterable[RejectedRow] = (),
) -> LabelFile:
    """Decode the rows of a table, each with its place in the file; names of columns are in small letters.

    A table with the column ``level`` is one of our own: its rectangles are those of photographs. In other
    tables, they are in pixels of the row's picture.
    """
    usable: list[FileRow] = []
    refused, unlabelled = list(rejected), 0
    for where, row in rows:
        decoded = _decode_row(where, row)
        if any("rectanglelabels" in str(value) for value in row.values()):
            advice = "boxes of Label Studio are read from its JSON export, not from its CSV"
            refused.append(RejectedRow(where, _pick(row, _PICTURE), "other-shape", advice))
            if decoded is None:
                continue
        if decoded is None:
            unlabelled += 1
        elif isinstance(decoded, FileRow):
            usable.append(decoded)
        else:
            refused.append(decoded)
    return LabelFile(kind, tuple(usable), tuple(refused), unlabelled)


def _decode_row(where: str, row: Mapping[str, Any]) -> FileRow | RejectedRow | None:
    class_name = _pick(row, _CLASS)
    if not class_name:
        return None
    picture = _pick(row, _PICTURE)
    if any(isinstance(row.get(name), Mapping | list) for name in _CLASS):
        return RejectedRow(where, picture, "class-name", class_name[:_DETAIL_CHARS])
    tile_id, image_id = _pick(row, ("tile_id",)), _pick(row, ("image_id",))
    if not (picture or tile_id or image_id):
        return RejectedRow(where, "", "no-file-name")
    level = _pick(row, ("level",))
    if "level" in row and level not in get_args(Level):
        return RejectedRow(where, picture, "not-a-box", f"level {level!r}")
    box = _read_box(row)
    if isinstance(box, str):
        return RejectedRow(where, picture, box)  # type: ignore[arg-type]
    if level:
        if level == "box" and box is None:
            return RejectedRow(where, picture, "not-a-box", "a box without x, y, w, h")
        window = Window(*map(round, box)) if box is not None else None
        own: Level = "tile" if level == "tile" else "image" if level == "image" else "box"
        return FileRow(
            where,
            picture,
            class_name,
            tile_id=tile_id,
            image_id=image_id,
            window=window,
            level=own,
        )
    if box is not None and max(box) <= 1 and min(box[2:]) < 1:
        advice = "shares of the picture's sides; pixels are expected"
        return RejectedRow(where, picture, "not-a-box", advice)
    size = [_read_float(row.get(name)) for name in _SIZE]
    frame = (int(size[0]), int(size[1])) if size[0] and size[1] else None
    return FileRow(where, picture, class_name, box, frame=frame, tile_id=tile_id, image_id=image_id)


def _read_box(row: Mapping[str, Any]) -> Box | str | None:
    """Read the rectangle of a row: None if it has none, or the reason why it cannot be used."""
    for names in (*_CORNERS, _EDGES):
        texts = [row.get(name) for name in names]
        if all(_is_empty(text) for text in texts):
            continue
        left, top, third, fourth = (_read_float(text) for text in texts)
        if left is None or top is None or third is None or fourth is None:
            return "not-a-box"
        width, height = (third - left, fourth - top) if names == _EDGES else (third, fourth)
        if not all(map(math.isfinite, (left, top, width, height))):
            return "not-finite"
        return (left, top, width, height) if width > 0 and height > 0 else "no-area"
    return None


def _spell_window(window: Window) -> dict[str, int]:
    return {"x": window.x, "y": window.y, "w": window.w, "h": window.h}


def _pick(row: Mapping[str, Any], names: Sequence[str]) -> str:
    values = (row[name] for name in names if not _is_empty(row.get(name)))
    value = next(values, "")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # tables with empty fields turn the whole numbers of a column into 1.0
    return str(value).strip()


def _is_empty(value: object) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def _read_float(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _lower(row: Mapping[Any, Any]) -> Mapping[str, Any]:
    return {str(name).strip().lower(): value for name, value in row.items() if name is not None}
