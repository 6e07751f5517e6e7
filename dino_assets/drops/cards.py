"""What the files on a card are, by their names alone: kinds, raw twins, class folders."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

NameKind = Literal["photo", "side-file", "video", "litter", "other"]

PHOTO_SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".heif", ".dng",
    )
)  # fmt: skip
SIDE_SUFFIXES = frozenset(
    (
        ".thm", ".scr", ".srt", ".mrk", ".lrf", ".lrv", ".xmp", ".aae", ".nav", ".obs", ".rnx",
        ".sbf", ".ubx", ".bin", ".rtk", ".rtl", ".rtb", ".imu", ".pos", ".eph", ".ldr", ".ldrt",
        ".clc", ".cli", ".cmi", ".mnf", ".sig", ".rpt", ".rpos", ".log", ".txt", ".csv", ".tsv",
        ".json", ".dat", ".idx", ".db", ".gpx", ".kml", ".kmz", ".wpml", ".geojson", ".xml", ".ini",
        ".cfg", ".md5", ".sha256", ".pdf", ".html", ".wav", ".aac", ".mp3",
    )
)  # fmt: skip
VIDEO_SUFFIXES = frozenset(
    (
        ".mp4", ".mov", ".avi", ".m4v", ".mts", ".m2ts", ".mpg", ".mpeg", ".3gp", ".mkv", ".webm",
        ".wmv", ".insv", ".360", ".h264", ".h265",
    )
)  # fmt: skip
# What file systems, desktops and network drives put beside a photographer's files; in lower case.
LITTER_FOLDERS = frozenset(
    (
        "__macosx", "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
        "recycler", "system volume information", "lost+found", "lost.dir", "network trash folder",
        "temporary items",
    )
)  # fmt: skip
LITTER_NAMES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "wpsettings.dat"))
JPEG_SUFFIXES = (".jpg", ".jpeg")

# Folders that a camera or a flight app makes. First DCF: three digits and five free characters.
_CAMERA_FOLDER = re.compile(
    r"[1-9]\d\d[A-Z0-9_]{5}"
    r"|DCIM|MISC|PANORAMA|HYPERLAPSE|TIMELAPSE|PRIVATE|AVCHD|MP_ROOT|MEDIA|CLIP|THMBNL|SUBTITLE"
    r"|DJI_\d{3}|DJI_\d{8,14}_.*|\d{4}SET"
    r"|(19|20)\d\d([-_.]?(0[1-9]|1[0-2])([-_.]?(0[1-9]|[12]\d|3[01])([ T_-]?[\d:h.-]{4,8})?)?)?",
    re.IGNORECASE,
)


def is_photo_name(path: str) -> bool:
    """Tell whether a file's name says photograph, and its folders are a photographer's."""
    folder, _, name = path.rpartition("/")
    return _suffix(name) in PHOTO_SUFFIXES and name[:2] != "._" and not is_litter_folder(folder)


def name_kind(path: str) -> NameKind:
    """What a file is by its name; ``litter`` is what an operating system or network drive left."""
    folder, _, name = path.rpartition("/")
    if name[:2] == "._" or name.lower() in LITTER_NAMES or is_litter_folder(folder):
        return "litter"
    suffix = _suffix(name)
    if suffix in PHOTO_SUFFIXES:
        return "photo"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix in SIDE_SUFFIXES:
        return "side-file"
    return "litter" if name[:1] == "." else "other"


def find_twins(paths: Iterable[str]) -> dict[str, str]:
    """Raw files whose photograph is there as JPEG too: each DNG's path with its JPEG's.

    The folder is the same; stem and suffix are compared without case. Of several JPEGs the first
    by name counts.
    """
    raws: list[str] = []
    photos: dict[tuple[str, str], str] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        stem, dot, suffix = name.lower().rpartition(".")
        if not stem or stem[:2] == "._":
            continue
        if suffix == "dng":
            raws.append(path)
        elif dot + suffix in JPEG_SUFFIXES:
            known = photos.setdefault((folder, stem), path)
            if path < known:
                photos[folder, stem] = path
    found = {}
    for path in raws:
        folder, _, name = path.rpartition("/")
        photo = photos.get((folder, name.lower().rpartition(".")[0]))
        if photo is not None:
            found[path] = photo
    return found


def label_of(path: str) -> str | None:
    """The class that a file's top folder names, or None.

    None at the top, and wherever a camera, a card or a date has named any of the folders.
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
    """Tell whether an operating system, a desktop or a network drive made one of these folders."""
    return any(
        (name[:1] == "." and name not in (".", "..")) or name in LITTER_FOLDERS
        for name in folder.lower().split("/")
    )
