"""File names on a camera card: photographs, raw files beside a JPEG, class folders, litter."""

import re
from collections.abc import Iterable
from functools import lru_cache

PHOTO_SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".heif", ".dng",
    )
)  # fmt: skip
# Folders that file systems, desktops and network drives create beside photographs; in lower case.
LITTER_FOLDERS = frozenset(
    (
        "__macosx", "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
        "recycler", "system volume information", "lost+found", "lost.dir", "network trash folder",
        "temporary items",
    )
)  # fmt: skip
JPEG_SUFFIXES = (".jpg", ".jpeg")

# Folders that a camera or a flight app creates. First the DCF standard: three digits and five characters.
_CAMERA_FOLDER = re.compile(
    r"[1-9]\d\d[A-Z0-9_]{5}"
    r"|DCIM|MISC|PANORAMA|HYPERLAPSE|TIMELAPSE|PRIVATE|AVCHD|MP_ROOT|MEDIA|CLIP|THMBNL|SUBTITLE"
    r"|DJI_\d{3}|DJI_\d{8,14}_.*|\d{4}SET"
    r"|(19|20)\d\d([-_.]?(0[1-9]|1[0-2])([-_.]?(0[1-9]|[12]\d|3[01])([ T_-]?[\d:h.-]{4,8})?)?)?",
    re.IGNORECASE,
)


def is_photo_name(path: str) -> bool:
    """Check whether a path has a photograph's suffix and lies in no litter folder."""
    folder, _, name = path.rpartition("/")
    return _suffix(name) in PHOTO_SUFFIXES and name[:2] != "._" and not is_litter_folder(folder)


def find_raw_twins(paths: Iterable[str]) -> dict[str, str]:
    """Find raw files that lie beside a JPEG of the same photograph: DNG path → JPEG path.

    Both are in the same folder. Stem and suffix are compared without case. Of several JPEGs the first
    by name counts.
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
    """Return the class that a file's top folder names, or None.

    None for files without a folder, and where any folder is named by a camera, a card or a date.
    """
    return _label_of_folder(path.rpartition("/")[0])


@lru_cache(maxsize=4096)
def _label_of_folder(folder: str) -> str | None:
    names = folder.split("/")
    if is_litter_folder(folder) or any(_CAMERA_FOLDER.fullmatch(name) for name in names):
        return None
    return None if names[0] == ".." else names[0] or None


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() if stem else ""


@lru_cache(maxsize=4096)
def is_litter_folder(folder: str) -> bool:
    """Check whether an operating system, a desktop or a network drive created one of these folders."""
    return any(
        (name[:1] == "." and name not in (".", "..")) or name in LITTER_FOLDERS
        for name in folder.lower().split("/")
    )
