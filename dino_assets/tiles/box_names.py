"""Matching of the file names in a detector's file with the pictures of a drop."""

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class NamedPictures:
    """Result of matching file names with pictures: paths by name, unmatched names, ambiguous names.

    A name is ambiguous (``unclear``) if several pictures fit it equally well, or if several names fit one picture.
    """

    path_of: dict[str, str]
    missing: list[str]
    unclear: list[str]


def find_pictures(
    files: Iterable[str], paths: Collection[str], *, without_suffix: bool
) -> NamedPictures:
    """Find the picture that each file name means.

    The detector may have run in a folder above the drop's folder, or below it. So a name and a path
    match if the longer one ends with the shorter one. If several pictures match, the name means the one with
    the most folders in common. With ``without_suffix``, the names are those of label files.
    """
    by_name: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for path in paths:
        words = _split(path, without_suffix=without_suffix)
        if words:
            by_name.setdefault(words[-1], []).append((words, path))
    picked: dict[str, str] = {}
    exact: set[str] = set()
    missing: list[str] = []
    unclear: list[str] = []
    for file in dict.fromkeys(files):
        words = _split(file)
        fitting = [
            (min(len(words), len(others)), words == others, path)
            for others, path in (by_name.get(words[-1], ()) if words else ())
            if _have_same_end(words, others)
        ]
        longest = max((length for length, _, _ in fitting), default=0)
        best = [(is_exact, path) for length, is_exact, path in fitting if length == longest]
        if any(is_exact for is_exact, _ in best):
            best = [each for each in best if each[0]]
        if not fitting:
            missing.append(file)
        elif len(best) > 1:
            unclear.append(file)
        else:
            ((is_exact, picked[file]),) = best
            exact |= {file} if is_exact else set()
    files_of: dict[str, list[str]] = {}
    for file, path in picked.items():
        files_of.setdefault(path, []).append(file)
    path_of: dict[str, str] = {}
    for path, named in files_of.items():
        chosen = exact.intersection(named) or (named if len(named) == 1 else ())
        unclear += [file for file in named if file not in chosen]
        path_of |= dict.fromkeys(chosen, path)
    return NamedPictures(path_of, missing, unclear)


def _split(path: str, *, without_suffix: bool = False) -> tuple[str, ...]:
    # macOS stores letters and their accents apart, and most programs write them together.
    plain = unicodedata.normalize("NFC", path).replace("\\", "/")
    words = [word for word in plain.split("/") if word not in ("", ".")]
    if words and without_suffix:
        stem, dot, _ = words[-1].rpartition(".")
        words[-1] = stem if dot and stem else words[-1]
    return tuple(words)


def _have_same_end(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[-shorter:] == other[-shorter:]
