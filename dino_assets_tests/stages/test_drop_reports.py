"""The report over a real drop: what is found, where it is shown, and what the check says."""

from datetime import date, datetime
from pathlib import Path

import pytest

from dino_assets.stages.drop_reports import PAGE, TABLE, judge_findings, read_findings
from dino_assets.stages.states import export_files
from dino_assets.store.objects import ObjectStore
from dino_assets.store.readers import CommittedTable, open_table
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.stages.inboxes import commit_images, drone_photo, fill_bytes

TODAY = date(2026, 1, 1)


def shot(number: int, **options: object) -> bytes:
    """One of a flight: each shows other ground."""
    at = (47.0 + number * 1e-4, 11.0)
    return drone_photo(**{"seed": number, "size": (640, 480), "at": at} | options)


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def flight(**others: bytes) -> dict[str, bytes]:
    names = [f"100MEDIA/DJI_{n:04d}.JPG" for n in range(1, 11)]
    return {name: shot(n) for n, name in enumerate(names, start=1)} | others


def report(memory: ObjectStore, folder: Path, files: dict[str, bytes]) -> CommittedTable:
    return commit_images(memory, "d", fill_bytes(folder, files))


def kinds(table: CommittedTable) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in read_findings(table, "d"):
        found.setdefault(finding["kind"], []).append(finding["path"])
    return found


def test_report__a_sound_flight(memory: ObjectStore, tmp_path: Path):
    table = report(memory, tmp_path / "f", flight())
    assert kinds(table) == {}
    assert table.manifest("d").facts["findings"] == {}
    verdict = judge_findings(table, "d", today=TODAY)
    assert (verdict.passed, verdict.warns) == (True, False)


def test_report__everything_that_is_odd(memory: ObjectStore, tmp_path: Path):
    files = flight()
    path = "100MEDIA/DJI_{:04d}.JPG".format
    del files[path(6)]  # a gap
    files[path(3)] = shot(3, blur=4)
    files[path(4)] = shot(4, taken=datetime(2015, 1, 1))  # noqa: DTZ001
    files[path(8)] = photo_bytes(640, 480, seed=77)
    files[path(11)] = files[path(9)]
    files[path(12)] = shot(10, taken=datetime(2024, 6, 14, 10, 6))  # noqa: DTZ001
    files[path(13)] = b"no picture"
    found = kinds(report(memory, tmp_path / "f", files))
    assert found.pop("gap")
    assert found.pop("near-duplicate")
    assert found == {
        "quarantined": [path(13)],
        "wrong-year": [path(4)],
        "no-time": [path(8)],
        "no-gps": [path(8)],
        "blurred": [path(3)],
        "duplicate": [path(11)],
    }


def test_report__a_gap_that_is_a_film_is_none(memory: ObjectStore, tmp_path: Path):
    files = flight()
    del files["100MEDIA/DJI_0006.JPG"]
    files["100MEDIA/DJI_0006.MP4"] = b"film"
    assert kinds(report(memory, tmp_path / "f", files)) == {}


def test_report__the_page_is_exported(memory: ObjectStore, tmp_path: Path):
    report(memory, tmp_path / "f", flight(**{"bad.jpg": b"no picture"}))
    files = {p.name: p for p in export_files(memory, "images", "d", folder=tmp_path / "out")}
    page = files[PAGE].read_text("utf-8")
    assert "bad.jpg" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert files[TABLE].read_text("utf-8-sig").startswith("kind,path")
    assert files["preview.png"].stat().st_size < 31_000


def test_report__same_files_same_bytes(tmp_path: Path):
    files = flight(**{"bad.jpg": b"no picture"})
    parts = []
    for place in ("a", "b"):
        table = report(ObjectStore.in_memory(), tmp_path / place, files)
        parts.append([part.sha256 for part in table.manifest("d").parts])
    assert parts[0] == parts[1]


def test_judge_findings__warns_and_never_fails(memory: ObjectStore, tmp_path: Path):
    files = flight()
    del files["100MEDIA/DJI_0006.JPG"]
    verdict = judge_findings(report(memory, tmp_path / "f", files), "d", today=TODAY)
    assert (verdict.passed, verdict.warns) == (True, True)
    assert verdict.sentence == "1 gap; see report.html"


def test_judge_findings__pictures_from_the_future(memory: ObjectStore, tmp_path: Path):
    files = {f"DJI_{n:04d}.JPG": shot(n, taken=datetime(2031, 5, n)) for n in range(1, 4)}  # noqa: DTZ001
    table = report(memory, tmp_path / "f", files)
    assert "wrong-year" not in kinds(table)  # they agree with each other, and there is no clock
    verdict = judge_findings(table, "d", today=TODAY)
    assert verdict.warns
    assert "taken on 2031-05-03, which is to come" in verdict.sentence
    assert not judge_findings(table, "d", today=date(2031, 5, 3)).warns


def test_report__thermal_alone_does_not_warn(memory: ObjectStore, tmp_path: Path):
    name = 'drone-dji:AbsoluteAltitude="+600.00"'
    infrared = (name, f'drone-dji:ImageSource="InfraredCamera" {name}')
    files = {f"DJI_{n:04d}.JPG": shot(n, xmp=infrared) for n in range(1, 4)}
    table = report(memory, tmp_path / "f", files)
    assert table.manifest("d").facts["thermal"] == 3
    assert not judge_findings(table, "d", today=TODAY).warns


def test_report__open_table_still_reads_rows_beside_the_files(memory: ObjectStore, tmp_path: Path):
    report(memory, tmp_path / "f", flight())
    assert open_table(memory, "images").rows == 10
