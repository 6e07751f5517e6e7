"""The findings as a CSV: safe in a spreadsheet, and joined by path where that is known."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_assets.images.report.findings import Finding
from dino_assets.images.report.findings_table import (
    count_apostrophes,
    read_findings_csv,
    write_findings_csv,
)

NAMES = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\ufeff=1"]


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("path", NAMES)
def test_write_findings_csv__no_cell_is_a_formula(path: str):
    findings = [Finding("gap", path, None, "x"), Finding("duplicate", "a", path, path)]
    first, second = rows_of(write_findings_csv(findings))
    assert (first["path"], first["added_apostrophes"]) == (f"'{path}", "path")
    assert (second["other"], second["detail"]) == (f"'{path}", f"'{path}")
    assert second["added_apostrophes"] == "other detail"
    assert count_apostrophes(findings) == 2


def test_write_findings_csv__any_name():
    path = 'a "b",\n<script>\udcff;é'
    findings = [Finding("blurred", path, "other", "x")]
    assert rows_of(write_findings_csv(findings)) == [
        {
            "kind": "blurred", "path": path.replace("\udcff", "\\udcff"), "other": "other",
            "detail": "x", "added_apostrophes": "",
        }
    ]  # fmt: skip
    assert count_apostrophes(findings) == 0


@given(st.lists(st.sampled_from([*NAMES, *(f"'{name}" for name in NAMES), "a.jpg"]), min_size=3))
def test_read_findings_csv__restores_names(names: list[str]):
    findings = [
        Finding("duplicate", *cells) for cells in zip(names, names[1:], names[2:], strict=False)
    ]
    assert read_findings_csv(write_findings_csv(findings)) == findings


def test_read_findings_csv__of_an_earlier_version():
    data = b"kind,path,other,detail\r\ngap,'=1,,x\r\n"
    assert read_findings_csv(data) == [Finding("gap", "'=1", None, "x")]
