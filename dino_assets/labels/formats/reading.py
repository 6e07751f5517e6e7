"""Reading of labels from a file, a zip file or a folder, whose format is recognised."""

import json
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dino_assets.drops.boxes.reading import read_yolo_folder
from dino_assets.drops.boxes.yolo import is_names_file
from dino_assets.errors import InvalidBoxesError, InvalidLabelsError
from dino_assets.labels.export_settings import LabelFormat
from dino_assets.labels.formats.boxes import decode_coco, decode_yolo
from dino_assets.labels.formats.cvat import decode_cvat
from dino_assets.labels.formats.folders import decode_folders, is_picture
from dino_assets.labels.formats.label_studio import decode_tasks, is_tasks
from dino_assets.labels.formats.records import MAX_FILE_BYTES, LabelFile
from dino_assets.labels.formats.tables import decode_csv, decode_features, read_geopackage
from dino_assets.labels.formats.unpacking import OF_MACOS, list_names, unpack

_MAX_SEARCHED_JSON = 20
_EXPECTED = (
    "Expected COCO, Label Studio or GeoJSON (.json, .geojson), CVAT (annotations.xml), CSV, GeoPackage (.gpkg), "
    "a YOLO folder (data.yaml, labels/*.txt), class folders, or a .zip with one of them."
)


def read_label_file(path: Path, *, format: LabelFormat | None = None) -> LabelFile:  # noqa: A002
    """Read labels from a file, a zip file or a folder; ``format`` chooses one of several formats in a folder.

    Raises:
        InvalidLabelsError: it does not exist, cannot be read, is too large, has an unknown format, or no
            row of it has a class.
        MissingExtraError: it is a GeoPackage, and pyogrio is not installed.
    """
    try:
        file = _read(path, format)
    except OSError as err:
        reason = "missing" if isinstance(err, FileNotFoundError) else "unreadable"
        raise InvalidLabelsError(
            f"the labels at {str(path)!r} cannot be read: {err.strerror or err}. Check the path.",
            path=str(path),
            reason=reason,
        ) from err
    if not file.rows and not file.rejected:
        raise InvalidLabelsError(
            f"{str(path)!r} has no label: {file.unlabelled} rows or pictures without a class. {_EXPECTED}",
            path=str(path),
            reason="no-label",
        )
    return file


def _read(path: Path, wanted: LabelFormat | None) -> LabelFile:
    if path.is_dir():
        return _read_folder(path, wanted, shown=path)
    size = path.stat().st_size
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return _read_zip(path, wanted)
    if suffix == ".gpkg":
        return _explain(path, "other-format", read_geopackage, path)
    if size > MAX_FILE_BYTES:
        raise InvalidLabelsError(
            f"{str(path)!r} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read. Import it in parts.",
            path=str(path),
            reason="too-large",
        )
    data = path.read_bytes()
    if suffix == ".xml":
        return _explain(path, "not-xml", decode_cvat, data)
    if suffix in (".csv", ".tsv"):
        return _explain(path, "not-csv", decode_csv, data)
    if suffix in (".json", ".geojson"):
        return _decode_json(path, data)
    raise _refuse_format(path, f"files ending in {suffix!r} are of no known format")


def _decode_json(path: Path, data: bytes) -> LabelFile:
    try:
        body = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as err:
        raise InvalidLabelsError(
            f"{str(path)!r} is not a JSON file: {err}. {_EXPECTED}",
            path=str(path),
            where=f"line {err.lineno}" if isinstance(err, json.JSONDecodeError) else "",
            reason="not-json",
        ) from err
    kind = _recognise(body)
    if kind == "coco":
        return decode_coco(body)
    if kind == "geojson":
        return _explain(path, "columns", decode_features, body)
    if kind == "label-studio":
        return decode_tasks(body)
    keys = ", ".join(map(repr, list(body)[:5])) if isinstance(body, Mapping) else ""
    what = (
        f"it is an object with {keys or 'no keys'}" if isinstance(body, Mapping) else "it is a list"
    )
    raise _refuse_format(path, what)


def _recognise(body: Any) -> LabelFormat | None:
    if isinstance(body, Mapping):
        if body.get("type") == "FeatureCollection":
            return "geojson"
        if isinstance(body.get("images"), list) and isinstance(body.get("annotations"), list):
            return "coco"
        return None
    return "label-studio" if is_tasks(body) else None


def _read_zip(path: Path, wanted: LabelFormat | None) -> LabelFile:
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            unpack(archive, folder, shown=path)
            try:
                return _read_folder(folder, wanted, shown=path)
            except InvalidLabelsError as err:
                # The user knows the zip file, and not the folder in which it was unpacked.
                message = str(err).replace(place, str(path))
                raise InvalidLabelsError(
                    message, path=str(path), where=err.where, reason=err.reason
                ) from err
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as err:
        raise InvalidLabelsError(
            f"{str(path)!r} cannot be unpacked: {err}", path=str(path), reason="not-zip"
        ) from err


def _read_folder(folder: Path, wanted: LabelFormat | None, *, shown: Path) -> LabelFile:
    formats = _list_formats(folder)
    if wanted is not None:
        formats = {kind: place for kind, place in formats.items() if kind == wanted}
    if len(formats) > 1:
        names = ", ".join(f"{kind} ({place.name})" for kind, place in formats.items())
        raise InvalidLabelsError(
            f"{str(shown)!r} has labels in several formats: {names}. Choose one with --format, or name its file.",
            path=str(shown),
            reason="several",
        )
    if not formats:
        what = f"labels as {wanted}" if wanted else "labels in a known format"
        raise _refuse_format(shown, f"the folder has no {what}")
    ((kind, place),) = formats.items()
    if kind == "yolo":
        try:
            return decode_yolo(*read_yolo_folder(place))
        except InvalidBoxesError as err:
            raise InvalidLabelsError(str(err), path=str(shown), reason=err.reason) from err
    if kind == "folders":
        return decode_folders(list_names(place))
    return _read(place, None)


def _list_formats(folder: Path) -> dict[LabelFormat, Path]:
    """List the formats in a folder, or in its only folder, with the file or folder of each."""
    places: dict[LabelFormat, Path] = {}
    for name in ("annotations.xml",):
        if (folder / name).is_file():
            places["cvat"] = folder / name
    below = folder / "annotations"
    files = [*sorted(folder.glob("*")), *(sorted(below.glob("*.json")) if below.is_dir() else ())]
    searched = 0
    for path in files:
        suffix = path.suffix.lower()
        if not path.is_file() or path.name.startswith("."):
            continue
        if suffix in (".json", ".geojson") and searched < _MAX_SEARCHED_JSON:
            searched += 1
            kind = _recognise_file(path)
            if kind:
                places.setdefault(kind, path)
        elif suffix in (".csv", ".tsv"):
            places.setdefault("csv", path)
        elif suffix == ".gpkg":
            places.setdefault("geopackage", path)
    has_texts = any((folder / "labels").rglob("*.txt")) if (folder / "labels").is_dir() else False
    if has_texts or any(
        is_names_file(path.name) and any(folder.rglob("*.txt")) for path in files if path.is_file()
    ):
        places["yolo"] = folder
    if places:
        return places
    inner = [p for p in folder.iterdir() if p.is_dir() and p.name[0] != "." and p.name != OF_MACOS]
    below_it = _list_formats(inner[0]) if len(inner) == 1 else {}
    # A folder of pictures beside label files is no class.
    if set(below_it) - {"folders"}:
        return below_it
    if any(is_picture(path) and len(path.parts) > 1 for path in list_names(folder)):
        return {"folders": folder}
    return below_it


def _recognise_file(path: Path) -> LabelFormat | None:
    if path.stat().st_size > MAX_FILE_BYTES:
        return None
    try:
        return _recognise(json.loads(path.read_bytes().decode("utf-8-sig")))
    except (ValueError, RecursionError):
        return None


def _explain(path: Path, reason: str, decode: Any, argument: Any) -> LabelFile:
    """Call a decoder; replace its ValueError by an error that names the file."""
    try:
        file: LabelFile = decode(argument)
    except ValueError as err:
        where, _, rest = str(err).partition(": ")
        is_place = where.startswith("line ") and bool(rest)
        raise InvalidLabelsError(
            f"{str(path)!r} cannot be used: {err}. {_EXPECTED}",
            path=str(path),
            where=where if is_place else "",
            reason=reason,
        ) from err
    return file


def _refuse_format(path: Path, what: str) -> InvalidLabelsError:
    return InvalidLabelsError(
        f"{str(path)!r} has no labels that can be read: {what}. {_EXPECTED}",
        path=str(path),
        reason="other-format",
    )
