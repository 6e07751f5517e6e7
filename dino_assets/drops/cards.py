"""File names on a camera card: photographs, raw files beside a JPEG, class folders, system folders."""

import re
from collections.abc import Iterable
from functools import lru_cache

PHOTO_SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".heif", ".dng",
    )
)  # fmt: skip
# Litter folders: file systems, desktops and network drives create them beside photographs. In lower case.
LITTER_FOLDERS = frozenset(
    (
        "__macosx", "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
        "recycler", "system volume information", "lost+found", "lost.dir", "network trash folder",
        "temporary items",
    )
)  # fmt: skip
JPEG_SUFFIXES = (".jpg", ".jpeg")

# Folders that a camera or a flight app creates. The first line is the naming rule for camera cards (DCF):
# three digits and five characters.
_CAMERA_FOLDER = re.compile(
    r"[1-9]\d\d[A-Z0-9_]{5}"
    r"|DCIM|MISC|PANORAMA|HYPERLAPSE|TIMELAPSE|PRIVATE|AVCHD|MP_ROOT|MEDIA|CLIP|THMBNL|SUBTITLE"
    r"|DJI_\d{3}|DJI_\d{8,14}_.*|\d{4}SET"
    r"|(19|20)\d\d([-_.]?(0[1-9]|1[0-2])([-_.]?(0[1-9]|[12]\d|3[01])([ T_-]?[\d:h.-]{4,8})?)?)?",
    re.IGNORECASE,
)


def is_photo_name(path: str) -> bool:
    """Check whether a path has a photograph's suffix and is in no folder that a system created.

    Names that begin with ``._`` are not photographs: macOS writes such files beside them.
    """
    folder, _, name = path.rpartition("/")
    return _suffix(name) in PHOTO_SUFFIXES and name[:2] != "._" and not is_litter_folder(folder)


def find_raw_twins(paths: Iterable[str]) -> dict[str, str]:
    """Find raw files that lie beside a JPEG of the same photograph: DNG path → JPEG path.

    The two files are in the same folder, and their names differ only in the suffix and in upper and lower
    case. If there are several such JPEGs, the first by name is returned.
    """
    raws: list[str] = []
    photos: list[str] = []
    for path in paths:
        name = path.rpartition("/")[2].lower()
        stem, dot, suffix = name.rpartition(".")
        if not stem or stem[:2] == "._":
            continue
        if suffix == "dng":
            raws.append(path)
        elif dot + suffix in JPEG_SUFFIXES:
            photos.append(path)
    # Among a million photographs, only those beside a raw file are kept in memory.
    beside: dict[tuple[str, str], str | None] = dict.fromkeys(map(_cut_suffix, raws))
    for path in photos if beside else ():
        place = _cut_suffix(path)
        if place in beside:
            beside[place] = min(path, beside[place] or path)
    return {path: photo for path in raws if (photo := beside[_cut_suffix(path)]) is not None}


def _cut_suffix(path: str) -> tuple[str, str]:
    """Split a path into its folder and its lower-case name without suffix."""
    folder, _, name = path.rpartition("/")
    return folder, name.lower().rpartition(".")[0]


def find_label(path: str) -> str | None:
    """Return the name of a file's top folder, which is the file's class, or None.

    Return None if the file is in no folder, or if one of its folders was named by a camera or a system, or
    after a date.
    """
    return _label_of_folder(path.rpartition("/")[0])


@lru_cache(maxsize=4096)
def _label_of_folder(folder: str) -> str | None:
    names = folder.split("/")
    if is_litter_folder(folder) or any(_CAMERA_FOLDER.fullmatch(name) for name in names):
        return None
    return None if names[0] == ".." else names[0] or None


def find_camera_folder(path: str) -> str:
    """Return the folder of a file without the folders that a camera made, as ``cam3`` of ``cam3/DCIM/100MEDIA``.

    Photographs of several cameras are stored in a folder per camera; a camera starts a new folder of its own
    every few hundred shots.
    """
    folders = path.split("/")[:-1]
    return "/".join(name for name in folders if not _CAMERA_FOLDER.fullmatch(name))


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() if stem else ""


@lru_cache(maxsize=4096)
def is_litter_folder(folder: str) -> bool:
    """Check whether one of the folders in a path was created by a system, a desktop or a network drive.

    Every hidden folder counts as such.
    """
    return any(
        (name[:1] == "." and name not in (".", "..")) or name in LITTER_FOLDERS
        for name in folder.lower().split("/")
    )
