"""Reading a CSV of files: its delimiter, its columns, and every value in its rows."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dino_assets.errors import SourceError
from dino_assets.stages.sources.folders import show_name

# The comma first: a table with one column has no delimiter at all.
DELIMITERS = (",", ";", "\t")
LABEL = "label"


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list: a file, its label, and further columns with what they say."""

    path: str
    label: str | None = None
    values: Sequence[tuple[str, str]] = ()


def read_csv(lines: Iterable[str], *, column: str, shown: str) -> Iterator[Listed]:
    """The rows that name a file. Column names are compared without case; fields without one are kept.

    Raises:
        SourceError: no column of this name, or one name twice.
        csv.Error: no table.
    """
    rest = iter(lines)
    head = _take_head(rest)
    delimiter = _stated_delimiter(head)
    if delimiter is None:
        delimiter = _find_delimiter(head, column)
    else:
        head = _take_head(rest)
    names = _read_head(head, delimiter)
    path_at, label_at = _find_columns(names, column, shown)
    for row in csv.reader(rest, delimiter=delimiter):
        fields = [value.strip() for value in row]
        if path_at >= len(fields) or not fields[path_at]:
            continue
        label = fields[label_at] if label_at is not None and label_at < len(fields) else ""
        values = [
            (_name_field(names, at), show_name(value))
            for at, value in enumerate(fields)
            if value and at not in (path_at, label_at)
        ]
        yield Listed(fields[path_at], show_name(label) or None, values)


def _take_head(lines: Iterator[str]) -> list[str]:
    """The first record's lines: a quoted column name may be broken. Empty lines above are skipped."""
    head: list[str] = []
    for line in lines:
        if head or line.strip():
            head.append(line)
        if head and "".join(head).count('"') % 2 == 0:
            break
    return head


def _stated_delimiter(head: list[str]) -> str | None:
    """What Excel's own first line, ``sep=;``, states."""
    stated = head[0].strip("\r\n") if head else ""
    return stated[4:] if len(stated) == 5 and stated[:4].lower() == "sep=" else None


def _find_delimiter(head: list[str], column: str) -> str:
    """The one under which the column is there; else the one that cuts the most."""

    def rank(delimiter: str) -> tuple[bool, int]:
        names = [name.casefold() for name in _read_head(head, delimiter)]
        return column.casefold() in names, len(names)

    return max(DELIMITERS, key=rank)


def _read_head(head: list[str], delimiter: str) -> list[str]:
    return [show_name(name.strip()) for name in next(csv.reader(head, delimiter=delimiter), [])]


def _find_columns(names: list[str], column: str, shown: str) -> tuple[int, int | None]:
    folded = [name.casefold() for name in names]
    if column.casefold() not in folded:
        raise SourceError(
            f"{shown!r} has the columns {', '.join(names) or 'none'}; a column {column!r} is needed"
        )
    twice = [name for name, count in Counter(filter(None, folded)).items() if count > 1]
    if twice:
        raise SourceError(
            f"{shown!r} has the column {twice[0]!r} more than once; give each its own name"
        )
    return folded.index(column.casefold()), folded.index(LABEL) if LABEL in folded else None


def _name_field(names: list[str], at: int) -> str:
    """A field beyond the last column, or under none, still has a place."""
    return names[at] if at < len(names) and names[at] else f"column {at + 1}"
