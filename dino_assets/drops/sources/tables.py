"""Reading a CSV or text list of files: its delimiter, its columns, and every value in its rows."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, dropwhile, islice
from pathlib import Path

from dino_assets.drops.cards import is_photo_name
from dino_assets.drops.sources.folders import is_decodable, show_name
from dino_assets.errors import SourceError

# The comma first: a table with one column has no delimiter at all.
DELIMITERS = (",", ";", "\t")
LABEL = "label"
MAX_RECORD_LINES = 100  # a note of a hundred lines is rows behind a stray quote
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list: a file, its label, and further columns with what they say."""

    path: str
    label: str | None = None
    values: Sequence[tuple[str, str]] = ()


def read_list(file: Path, *, column: str, shown: str) -> Iterator[Listed]:
    """The files that a list names: of a ``.txt`` its lines, of any other one a column of a CSV.

    Raises:
        SourceError: it is UTF-16 text, or as ``read_csv``.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        start = opened.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise SourceError(
            f"the list {shown!r} is UTF-16 text: save it as UTF-8 (Excel calls it 'CSV UTF-8')",
            reason="encoding",
            path=shown,
        )
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
        if file.suffix.lower() == ".txt":
            yield from (Listed(line.strip()) for line in lines if line.strip())
        else:
            yield from read_csv(lines, column=column, shown=shown)


def read_csv(lines: Iterable[str], *, column: str, shown: str) -> Iterator[Listed]:
    """The rows that name a file. Column names are compared without case; fields without one are kept.

    Raises:
        SourceError: no column of this name, one name twice, quotes that do not close, or text that is
            not UTF-8 anywhere but in a path.
    """
    numbered = enumerate(lines, start=1)
    # A table begins below its empty lines, and the head of one must end before long.
    head = list(islice(dropwhile(lambda each: not each[1].strip(), numbered), MAX_RECORD_LINES))
    delimiter = _stated_delimiter(head[0][1]) if head else None
    if delimiter is None:
        delimiter = _find_delimiter([line for _, line in head], column)
    else:
        del head[0]
    records = _read_records(chain(head, numbered), delimiter=delimiter, shown=shown)
    began, row = next((each for each in records if any(map(str.strip, each[1]))), (1, []))
    names = [name.strip() for name in row]
    _refuse_other_text(names, None, shown=shown, began=began)
    path_at, label_at = _find_columns(names, column, shown)
    for began, row in records:
        fields = [value.strip() for value in row]
        _refuse_other_text(fields, path_at, shown=shown, began=began)
        if why := _explain_joined(row, path_at, label_at, delimiter=delimiter):
            raise _unclosed(shown, began, why)
        if path_at >= len(fields) or not fields[path_at]:
            continue
        label = fields[label_at] if label_at is not None and label_at < len(fields) else ""
        values = [
            (_name_field(names, at), value)
            for at, value in enumerate(fields)
            if value and at not in (path_at, label_at)
        ]
        yield Listed(fields[path_at], label or None, values)


def _read_records(
    numbered: Iterator[tuple[int, str]], *, delimiter: str, shown: str
) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of the line where it began."""
    began = 0

    def take_lines() -> Iterator[str]:
        nonlocal began
        for number, line in numbered:
            began = began or number
            if number - began >= MAX_RECORD_LINES:
                raise _unclosed(shown, began, f"a row of more than {MAX_RECORD_LINES} lines")
            yield line

    # Strict: without it a quote that nothing closes takes all that follows as its text.
    reader = csv.reader(take_lines(), delimiter=delimiter, strict=True)
    while True:
        began = 0
        try:
            row = next(reader, None)
        except csv.Error as err:
            raise _unclosed(shown, began, str(err)) from err
        if row is None:
            return
        yield began, row


def _unclosed(shown: str, line: int, why: str) -> SourceError:
    return SourceError(
        f"cannot read the list {shown!r}: the row that begins in line {line}: {why}. A field with "
        'a quote in it is written in quotes, and the quote twice: "5"" pipe".',
        reason="row",
        path=shown,
        line=line,
    )


def _refuse_other_text(fields: list[str], path_at: int | None, *, shown: str, began: int) -> None:
    """A path that is not UTF-8 costs one row; a label or column would be wrong without a word."""
    for at, value in enumerate(fields):
        if at != path_at and not is_decodable(value):
            raise SourceError(
                f"the list {shown!r} is not UTF-8 text, see {show_name(value)!r} in line {began}: save "
                "it as UTF-8 (Excel calls it 'CSV UTF-8')",
                reason="encoding",
                path=shown,
                line=began,
            )


def _explain_joined(
    row: list[str], path_at: int, label_at: int | None, *, delimiter: str
) -> str | None:
    """Why a row seems to be several, which a stray quote joins up to the next one; a note may be long."""
    for at, value in enumerate(row):
        if "\n" not in value and "\r" not in value:
            continue
        if at in (path_at, label_at) and _LINE_END.search(value.strip()):
            return "a path or label runs over the end of its line"
        for line in _LINE_END.split(value)[1:]:
            cut = line.split(delimiter)
            path = cut[path_at].strip().rpartition("/")[2] if path_at < len(cut) > 1 else ""
            if is_photo_name(path):
                return f"one of its fields holds another row, that of {path!r}"
    return None


def _stated_delimiter(line: str) -> str | None:
    """What Excel's own first line, ``sep=;``, states."""
    stated = line.strip("\r\n")
    return stated[4:] if len(stated) == 5 and stated[:4].lower() == "sep=" else None


def _find_delimiter(head: list[str], column: str) -> str:
    """The one under which the column is there; else the one that cuts the most."""

    def rank(delimiter: str) -> tuple[bool, int]:
        names = [name.casefold() for name in _read_head(head, delimiter)]
        return column.casefold() in names, len(names)

    return max(DELIMITERS, key=rank)


def _read_head(head: list[str], delimiter: str) -> list[str]:
    # Not strict: with a quote that nothing closes, it is told from the others all the same.
    try:
        return [name.strip() for name in next(csv.reader(head, delimiter=delimiter), [])]
    except csv.Error:  # a field beyond csv's limit
        return []


def _find_columns(names: list[str], column: str, shown: str) -> tuple[int, int | None]:
    folded = [name.casefold() for name in names]
    if column.casefold() not in folded:
        raise SourceError(
            f"{shown!r} has the columns {', '.join(names) or 'none'}; a column {column!r} is needed",
            reason="column-missing",
            path=shown,
        )
    twice = [name for name, count in Counter(filter(None, folded)).items() if count > 1]
    if twice:
        raise SourceError(
            f"{shown!r} has the column {twice[0]!r} more than once; give each its own name",
            reason="column-twice",
            path=shown,
        )
    return folded.index(column.casefold()), folded.index(LABEL) if LABEL in folded else None


def _name_field(names: list[str], at: int) -> str:
    """A field beyond the last column, or under none, still has a place."""
    return names[at] if at < len(names) and names[at] else f"column {at + 1}"
