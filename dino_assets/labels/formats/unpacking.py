"""Files that may hold labels: those of a zip file, and the names below a folder."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dino_assets.errors import InvalidLabelsError
from dino_assets.labels.formats.folders import is_picture

MAX_ZIP_BYTES = 2 * 2**30  # of labels; pictures are not unpacked
_UNPACKED = {
    ".json", ".geojson", ".xml", ".csv", ".tsv", ".gpkg", ".txt", ".yaml", ".yml", ".names",
}  # fmt: skip
OF_MACOS = "__MACOSX"  # the folder that its zip files have beside the packed one


def unpack(archive: zipfile.ZipFile, folder: Path, *, shown: Path) -> None:
    """Unpack what may be labels; of pictures, only the names matter."""
    labels: list[zipfile.ZipInfo] = []
    for info in archive.infolist():
        name = PurePosixPath(info.filename)
        if info.is_dir() or OF_MACOS in name.parts:
            continue
        if is_picture(name):
            _make_empty(folder, info.filename)
        elif name.suffix.lower() in _UNPACKED:
            labels.append(info)
    if sum(info.file_size for info in labels) > MAX_ZIP_BYTES:
        raise InvalidLabelsError(
            f"{str(shown)!r} holds more than {MAX_ZIP_BYTES:,} bytes of labels. Import it in parts.",
            path=str(shown),
            reason="too-large",
        )
    for info in labels:
        archive.extract(info, folder)


def _make_empty(folder: Path, name: str) -> None:
    words = [word for word in name.split("/") if word not in ("", ".", "..")]
    place = folder.joinpath(*words)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()


def list_names(folder: Path) -> Iterator[PurePosixPath]:
    """List the files below a folder, relative to it.

    Links are followed, and a link to a file that is not here counts: people sort pictures by links, and only names
    matter. A link to a folder around it is not followed.

    Raises:
        OSError: a folder cannot be read; its files are not left out silently.
    """
    for place, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        here = Path(place)
        whole = here.resolve()
        folders[:] = [name for name in folders if not whole.is_relative_to((here / name).resolve())]
        below = PurePosixPath(*here.relative_to(folder).parts)
        yield from (below / name for name in files)


def _fail(err: OSError) -> None:
    raise err
