"""Reader of a CSV or text list of files: delimiter, columns, and all values of its rows."""

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

# The comma comes first, as the choice for a table with one column, which has no delimiter.
DELIMITERS = (",", ";", "\t")
LABEL = "label"
MAX_RECORD_LINES = 100  # a row with more lines is really several rows after a stray quote
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list: a file, its label, and the names and values of further columns."""

    path: str
    label: str | None = None
    values: Sequence[tuple[str, str]] = ()


def read_list(file: Path, *, column: str, shown: str) -> Iterator[Listed]:
    """Read the files that a list names: each line of a ``.txt``, or a column of a CSV.

    Raises:
        SourceError: the list is UTF-16 text, or an error of ``read_csv``.
        OSError: the list cannot be read.
    """
    with file.open("rb") as opened:
        start = opened.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise SourceError(
            f"the list {shown!r} is UTF-16 text; expected UTF-8. Save it as UTF-8 (in Excel: 'CSV UTF-8')",
            reason="encoding",
            path=shown,
        )
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
        if file.suffix.lower() == ".txt":
            yield from (Listed(line.strip()) for line in lines if line.strip())
        else:
            yield from read_csv(lines, column=column, shown=shown)


def read_csv(lines: Iterable[str], *, column: str, shown: str) -> Iterator[Listed]:
    """Read the rows that name a file; column names are compared without case.

    Fields without a column name are kept under a number, such as ``column 7``.

    Raises:
        SourceError: the column is missing, a column name occurs twice, a quote is not closed, or a field
            other than the path is not UTF-8. A path that is not UTF-8 raises no error here; later, only its
            own row is refused.
    """
    numbered = enumerate(lines, start=1)
    # Skip empty lines above the table; its head ends within MAX_RECORD_LINES.
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
    """Read each row with the number of its first line."""
    began = 0

    def take_lines() -> Iterator[str]:
        nonlocal began
        for number, line in numbered:
            began = began or number
            if number - began >= MAX_RECORD_LINES:
                raise _unclosed(shown, began, f"a row of more than {MAX_RECORD_LINES} lines")
            yield line

    # Strict: otherwise an unclosed quote makes all following rows part of its field.
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
        f"cannot read the row of the list {shown!r} that begins in line {line}: {why}. If a field contains a "
        'quote, put the field in quotes and write the quote twice: "5"" pipe".',
        reason="row",
        path=shown,
        line=line,
    )


def _refuse_other_text(fields: list[str], path_at: int | None, *, shown: str, began: int) -> None:
    """Raise an error if a label, a value or a column name is not UTF-8 text.

    A path that is not UTF-8 raises no error here; later, only its own row is refused.
    """
    for at, value in enumerate(fields):
        if at != path_at and not is_decodable(value):
            raise SourceError(
                f"the list {shown!r} is not UTF-8 text, see {show_name(value)!r} in line {began}. Save "
                "it as UTF-8 (in Excel: 'CSV UTF-8')",
                reason="encoding",
                path=shown,
                line=began,
            )


def _explain_joined(
    row: list[str], path_at: int, label_at: int | None, *, delimiter: str
) -> str | None:
    """Return why a row seems to be several rows that a stray quote has joined, or None if it does not.

    A field other than the path and the label may have several lines, such as a note.
    """
    for at, value in enumerate(row):
        if "\n" not in value and "\r" not in value:
            continue
        if at in (path_at, label_at) and _LINE_END.search(value.strip()):
            return "a path or label continues on the next line"
        for line in _LINE_END.split(value)[1:]:
            cut = line.split(delimiter)
            path = cut[path_at].strip().rpartition("/")[2] if path_at < len(cut) > 1 else ""
            if is_photo_name(path):
                return f"one of its fields contains another row, the row of {path!r}"
    return None


def _stated_delimiter(line: str) -> str | None:
    """Read the delimiter from a first line such as ``sep=;``, which Excel writes; None for any other line."""
    stated = line.strip("\r\n")
    return stated[4:] if len(stated) == 5 and stated[:4].lower() == "sep=" else None


def _find_delimiter(head: list[str], column: str) -> str:
    """Find the delimiter that gives the wanted column, else the one that gives the most columns."""

    def rank(delimiter: str) -> tuple[bool, int]:
        names = [name.casefold() for name in _read_head(head, delimiter)]
        return column.casefold() in names, len(names)

    return max(DELIMITERS, key=rank)


def _read_head(head: list[str], delimiter: str) -> list[str]:
    # Not strict: the delimiter can be recognised even if a quote is not closed.
    try:
        return [name.strip() for name in next(csv.reader(head, delimiter=delimiter), [])]
    except csv.Error:  # a field beyond csv's limit
        return []


def _find_columns(names: list[str], column: str, shown: str) -> tuple[int, int | None]:
    folded = [name.casefold() for name in names]
    if column.casefold() not in folded:
        raise SourceError(
            f"the list {shown!r} has no column {column!r}. Its columns: {', '.join(names) or 'none'}. Rename "
            "the column that holds the paths",
            reason="column-missing",
            path=shown,
        )
    twice = [name for name, count in Counter(filter(None, folded)).items() if count > 1]
    if twice:
        raise SourceError(
            f"the list {shown!r} has the column {twice[0]!r} more than once. Give each column its own name",
            reason="column-twice",
            path=shown,
        )
    return folded.index(column.casefold()), folded.index(LABEL) if LABEL in folded else None


def _name_field(names: list[str], at: int) -> str:
    """Name a field's column; a field without a column name gets its number, such as ``column 7``."""
    return names[at] if at < len(names) and names[at] else f"column {at + 1}"
