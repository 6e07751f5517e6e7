"""Findings of a drop as a CSV that is safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable
from typing import cast

from dino_assets.images.report.findings import Finding, Kind

FINDINGS_CSV = "findings.csv"  # lies beside the page, which shows some of each kind only
# This column names the cells of the row that got an apostrophe. Remove the apostrophe before joining by path.
APOSTROPHES = "added_apostrophes"
_CELLS = ("kind", "path", "other", "detail")
_UNSAFE_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_findings_csv(findings: Iterable[Finding]) -> bytes:
    r"""Write the findings as a CSV in which a spreadsheet finds no formula.

    A cell that begins like a formula gets an apostrophe before it, and the column ``added_apostrophes`` names
    the cell. Characters that UTF-8 cannot encode (from file names that are not text) are written as
    ``\udcff``.
    """
    sink = io.BytesIO()
    # Encoded row by row: the text of a million rows would need four times the memory.
    text = io.TextIOWrapper(sink, "utf-8", "backslashreplace", newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow((*_CELLS, APOSTROPHES))
    for finding in findings:
        cells = (finding.kind, finding.path, finding.other or "", finding.detail)
        unsafe = [name for name, cell in zip(_CELLS, cells, strict=True) if _is_unsafe(cell)]
        quoted = (f"'{cell}" if _is_unsafe(cell) else cell for cell in cells)
        writer.writerow([*quoted, " ".join(unsafe)])
    text.flush()
    return sink.getvalue()


def read_findings_csv(data: bytes) -> list[Finding]:
    """Read findings from the CSV, and remove the added apostrophes.

    A CSV of an earlier version does not name the cells with an added apostrophe. There, apostrophes are kept.
    """
    rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    findings = []
    for row in rows:
        added = (row.get(APOSTROPHES) or "").split()
        kind, path, other, detail = (
            row[name].removeprefix("'") if name in added else row[name] for name in _CELLS
        )
        findings.append(Finding(cast(Kind, kind), path, other or None, detail))
    return findings


def count_apostrophes(findings: Iterable[Finding]) -> int:
    """Count the findings whose ``path`` or ``other`` gets an apostrophe."""
    return sum(_is_unsafe(f.path) or _is_unsafe(f.other or "") for f in findings)


def _is_unsafe(cell: str) -> bool:
    # Spreadsheets ignore leading spaces and byte order marks.
    return cell.lstrip(" \u00a0\ufeff").startswith(_UNSAFE_STARTS)
