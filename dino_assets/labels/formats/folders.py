"""Class folders: a folder per class with its pictures, as ImageNet has them."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from dino_assets.labels.formats.records import FileRow, LabelFile

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ".dng", ".bmp")


def is_picture(path: PurePosixPath) -> bool:
    """Check whether a file is a picture, by its name."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def decode_folders(paths: Iterable[PurePosixPath]) -> LabelFile:
    """Decode the paths of pictures, relative to the folder with the classes.

    The class is the name of the innermost folder. A picture in no folder has no class.
    """
    rows, unlabelled = [], 0
    for path in sorted(paths):
        if not is_picture(path):
            continue
        if len(path.parts) < 2:
            unlabelled += 1
        else:
            rows.append(FileRow(str(path), path.name, path.parent.name))
    return LabelFile("folders", tuple(rows), (), unlabelled)
