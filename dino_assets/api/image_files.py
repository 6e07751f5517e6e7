"""Lists of image files: from a folder by a pattern, a CSV, a text list, or a table."""

import errno
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from dino_assets.api.constants import IMAGE_EXTENSIONS
from dino_assets.drops.cards import is_litter_folder
from dino_assets.drops.sources.folders import show_name
from dino_assets.drops.sources.tables import read_list
from dino_assets.errors import ConfigError, SourceError
from dino_assets.settings.urls import expand_path

IMAGE_COL = "image_path"
ALL_IMAGES = tuple(f"*{ending}" for ending in IMAGE_EXTENSIONS)
LISTS = (".csv", ".tsv", ".txt")
_SHOWN_ENDINGS = 5


@dataclass(frozen=True)
class ImageFiles:
    """Ids and paths of image files."""

    ids: list[str]
    paths: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, size: int) -> "Iterator[ImageFiles]":
        """Split the list into pieces of ``size``."""
        for first in range(0, len(self), size):
            piece = slice(first, first + size)
            yield ImageFiles(self.ids[piece], self.paths[piece])


def find_images(source: Any, *, image_col: str = IMAGE_COL) -> ImageFiles:
    """List the pictures of a folder, a CSV, a text list, one file, several paths, or a DataFrame.

    Raises:
        SourceError, ConfigError: there are no pictures, or the list cannot be read.
    """
    if isinstance(source, ImageFiles):
        return source
    if hasattr(source, "columns"):
        return take_column(source, image_col)
    if not isinstance(source, str | os.PathLike):
        return name_paths(source)
    path = expand_path(os.fspath(source))
    if path.is_dir():
        return find_in_directory(path, ALL_IMAGES)
    if path.suffix.lower() in LISTS:
        return read_image_list(path, image_col)
    return name_paths([source])


def name_paths(image_paths: Iterable[str | os.PathLike[str]]) -> ImageFiles:
    """List pictures by their paths; ids are the paths as given.

    Raises:
        ConfigError: ``image_paths`` is a single path instead of a list, or an entry is not a path.
    """
    if isinstance(image_paths, str | bytes | os.PathLike):
        raise ConfigError(
            f"image_paths is one path, {image_paths!r}; a list of paths is expected",
            setting="image_paths",
            value=image_paths,
        )
    ids = []
    for each in image_paths:
        if not isinstance(each, str | os.PathLike):
            raise ConfigError(
                f"image_paths holds a {type(each).__name__}, {each!r}; paths are expected. To embed "
                "pictures in memory, use extract_batch.",
                setting="image_paths",
                value=each,
            )
        ids.append(str(os.fspath(each)))  # str: a NumPy array holds its own kind of strings
    return ImageFiles([show_name(each) for each in ids], ids)


def take_column(table: Any, image_col: str) -> ImageFiles:
    """List the pictures in a DataFrame's column; entries that are not paths are left out.

    Raises:
        ConfigError: the table lacks the column.
    """
    columns = [str(each) for each in table.columns]
    if image_col not in columns:
        raise ConfigError(
            f"the table has no column {image_col!r}; its columns are {', '.join(columns) or 'none'}. Rename "
            "the column that holds the paths.",
            setting="image_col",
            value=image_col,
            reason="column-missing",
        )
    return name_paths([each for each in table[image_col].to_list() if isinstance(each, str | Path)])


def read_image_list(path: str | os.PathLike[str], image_col: str = IMAGE_COL) -> ImageFiles:
    """List the pictures of a CSV, or of a text file with a path per line; ids are the paths as written.

    A relative path is looked up in the list's folder, then in the working directory.

    Raises:
        SourceError: the file cannot be read, or lacks the column; the message lists its columns.
    """
    file = expand_path(os.fspath(path))
    shown = os.fspath(path)
    try:
        ids = [listed.path for listed in read_list(file, column=image_col, shown=shown)]
    except SourceError:
        raise
    except OSError as err:
        raise SourceError(
            f"cannot read the list {shown!r}: {err.strerror}. Check the path.",
            reason="missing" if err.errno == errno.ENOENT else "unreadable",
            path=shown,
        ) from err
    home = os.fspath(file.parent)
    return ImageFiles([show_name(each) for each in ids], [_place(each, home) for each in ids])


def _place(listed: str, home: str) -> str:
    if listed.startswith("~"):  # a home folder
        return listed
    below = os.path.join(home, listed)  # noqa: PTH118 - an absolute path stays unchanged
    is_elsewhere = not os.path.lexists(below) and os.path.lexists(listed)
    return listed if is_elsewhere else below


def find_in_directory(directory: str | os.PathLike[str], patterns: Sequence[str]) -> ImageFiles:
    """List the files below a folder that match at least one of the patterns, sorted by path.

    A pattern without a slash is compared with file names, in every subfolder. A pattern with a slash is
    compared with paths below the folder. Upper and lower case are equal. Ids are the paths below the folder.
    Links are followed. Files of operating systems (``._*``, hidden folders, thumbnails of network drives) are
    left out.

    Raises:
        SourceError: the folder does not exist, or cannot be listed.
        ConfigError: no file matches; the message lists the file endings in the folder.
    """
    shown = os.fspath(directory)
    folder = expand_path(shown)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        reason = "not-a-folder" if folder.exists() else "missing"
        raise SourceError(f"{shown!r} {what}; give a folder of pictures", reason=reason, path=shown)
    folded = [pattern.casefold().removeprefix("./") for pattern in patterns]
    ids: list[str] = []
    others: Counter[str] = Counter()
    for path in _walk(folder, shown):
        if any(_matches(path.casefold(), pattern) for pattern in folded):
            ids.append(path)
        else:
            others[PurePosixPath(path).suffix.lower() or "without an ending"] += 1
    if not ids:
        raise ConfigError(
            f"no file in {shown!r} matches {' or '.join(map(repr, patterns))}; {_describe(others)}",
            setting="pattern",
            value=tuple(patterns),
            reason="no-match",
        )
    ids.sort()
    home = os.fspath(folder)
    return ImageFiles([show_name(each) for each in ids], [f"{home}/{each}" for each in ids])


def _walk(folder: Path, shown: str) -> Iterator[str]:
    """Yield every file's path below the folder; enter a folder once, even if several links lead to it."""

    def refuse(err: OSError) -> None:
        if err.filename == os.fspath(folder):
            raise SourceError(
                f"cannot list {shown!r}: {err.strerror}", reason="unlistable", path=shown
            ) from err
        raise SourceError(
            f"cannot list {err.filename!r}: {err.strerror}", reason="unlistable", path=shown
        ) from err

    entered: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = os.stat(place)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(each for each in folders if not is_litter_folder(each))
        below = os.path.relpath(place, folder)
        prefix = "" if below == "." else f"{below}/"
        yield from (prefix + name for name in names if name[:2] != "._")


def _matches(path: str, pattern: str) -> bool:
    """Check whether a path matches a pattern, both in lower case.

    A pattern without a slash is compared with the file's name. In a pattern with slashes, ``**`` stands for
    any number of folders.
    """
    if "/" not in pattern:
        return fnmatchcase(path.rpartition("/")[2], pattern)
    return _match_parts(path.split("/"), pattern.split("/"))


def _match_parts(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_match_parts(parts[skip:], patterns[1:]) for skip in range(len(parts) + 1))
    is_match = bool(parts) and fnmatchcase(parts[0], patterns[0])
    return is_match and _match_parts(parts[1:], patterns[1:])


def _describe(others: Counter[str]) -> str:
    if not others:
        return "the folder is empty"
    common = [f"{count} {ending}" for ending, count in others.most_common(_SHOWN_ENDINGS)]
    more = len(others) - len(common)
    return f"the folder holds {', '.join(common)}{f' and {more} other endings' if more else ''}"
