"""The report over a real drop: what is found, where it is shown, and what the check says."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dino_assets.errors import NotCommittedError
from dino_assets.images.report.making import PAGE, TABLE, pair_similar_pictures
from dino_assets.images.report.shots import Shot
from dino_assets.images.stage.judging import judge_findings, read_findings
from dino_assets.store.commits.listing import export_files
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.inboxes import commit_images, drone_photo, fill_bytes
from dino_assets_tests.worlds.outputs import pushing

TODAY = date(2026, 1, 1)


def shot(number: int, **options: object) -> bytes:
    """Make a picture of a flight: each shows different ground."""
    position = (47.0 + number * 1e-4, 11.0)
    return drone_photo(**{"seed": number, "size": (640, 480), "at": position} | options)


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def flight(**others: bytes) -> dict[str, bytes]:
    names = [f"100MEDIA/DJI_{n:04d}.JPG" for n in range(1, 11)]
    return {name: shot(n) for n, name in enumerate(names, start=1)} | others


def report(memory: ObjectStore, folder: Path, files: dict[str, bytes]) -> CommittedTable:
    return commit_images(memory, "d", fill_bytes(folder, files))


def kinds(table: CommittedTable) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for finding in read_findings(table, "d"):
        paths.setdefault(finding.kind, []).append(finding.path)
    return paths


def test_report__a_sound_flight(memory: ObjectStore, tmp_path: Path):
    table = report(memory, tmp_path / "f", flight())
    assert kinds(table) == {}
    assert table.manifest("d").facts["findings"] == {}
    verdict = judge_findings(table, "d", today=TODAY)
    assert (verdict.passed, verdict.warns) == (True, False)


def test_report__all_kinds_of_findings(memory: ObjectStore, tmp_path: Path):
    files = flight()
    path = "100MEDIA/DJI_{:04d}.JPG".format
    del files[path(6)]  # a gap
    files[path(3)] = shot(3, blur=4)
    files[path(4)] = shot(4, taken=datetime(2015, 1, 1))  # noqa: DTZ001
    files[path(8)] = photo_bytes(640, 480, seed=77)
    files[path(11)] = files[path(9)]
    files[path(12)] = shot(10, taken=datetime(2024, 6, 14, 10, 6))  # noqa: DTZ001
    files[path(13)] = b"no picture"
    paths_by_kind = kinds(report(memory, tmp_path / "f", files))
    assert paths_by_kind.pop("gap")
    assert paths_by_kind.pop("near-duplicate")
    assert paths_by_kind == {
        "quarantined": [path(13)],
        "wrong-year": [path(4)],
        "no-time": [path(8)],
        "no-gps": [path(8)],
        "blurred": [path(3)],
        "duplicate": [path(11)],
    }


def place(number: int, **options: object) -> Shot:
    """Make a picture equal to all others, of 100 m x 50 m of ground at ``east_m``."""
    east_m, side_m = float(options.pop("east_m", 0.0)), float(options.pop("side_m", 50.0))
    west, east = (11 + (east_m + side * side_m) / 111_195 for side in (-1, 1))
    north = side_m / 2 / 111_195
    corners = ((west, north), (east, north), (east, -north), (west, -north))
    look = np.random.default_rng(0).integers(0, 256, 32, dtype=np.uint8).tobytes()
    default = Shot(f"{number:04d}.JPG", f"{number:064x}", 1, True, look=look, corners=corners)
    return replace(default, **options)


def test_pair_similar_pictures__of_the_same_ground():
    """A tenth of the short side is 5 m."""
    shots = [place(0), place(1, east_m=4.9), place(2, east_m=9.5), place(3, east_m=40)]
    shots += [place(4, side_m=41), place(5, side_m=39)]
    # 4.1 m reach 0 only; 2 is near 1 and not near 0; 5 was taken from too low.
    assert pair_similar_pictures(shots) == [(0, 1), (1, 2), (0, 4), (4, 5)]
    assert pair_similar_pictures(shots[::-1]) == [(5, 4), (4, 3), (5, 1), (1, 0)]  # by path


def test_pair_similar_pictures__without_a_footprint():
    no_corners = {"corners": None}
    shots = [place(0), place(1, **no_corners), place(2, **no_corners)]
    shots += [
        place(n, **no_corners, latitude=latitude, longitude=11.0)
        for n, latitude in ((3, 40.0), (4, 40.00004))
    ]
    shots += [place(5, **no_corners, latitude=40.0001, longitude=11.0)]
    shots += [place(6, **no_corners, latitude=0.0, longitude=0.0)]  # no fix is no place
    assert pair_similar_pictures(shots) == [(1, 2), (3, 4), (1, 6)]


def test_pair_similar_pictures__across_the_180th_meridian():
    one, other = (
        place(n, corners=None, latitude=0.5, longitude=lon)
        for n, lon in enumerate((179.99999, -179.99999))
    )
    assert pair_similar_pictures([one, other]) == [(0, 1)]


def test_pair_similar_pictures__equal_bytes_are_duplicates():
    image_id = place(0).image_id
    assert pair_similar_pictures([place(0), place(1, image_id=image_id), place(2)]) == [(0, 2)]
    assert pair_similar_pictures([]) == []
    assert pair_similar_pictures([place(0, look=None), place(1)]) == []


def test_report__repetitive_ground_is_no_group(memory: ObjectStore, tmp_path: Path):
    """Twelve pictures of the same rows, each 11 m on: none; hovering over them: all but the first."""
    options = {"seed": 1, "size": (640, 480)}
    clock = datetime(2024, 6, 14, 10)  # noqa: DTZ001
    for name, step, expected in (("along", 1e-4, 0), ("hover", 0.0, 11)):
        files = {
            f"100MEDIA/DJI_{n:04d}.JPG": shot(
                n, **options, at=(47.0 + n * step, 11.0), taken=clock + timedelta(seconds=n)
            )
            for n in range(12)
        }
        table = report(ObjectStore.in_memory(), tmp_path / name, files)
        findings = [f for f in read_findings(table, "d") if f.kind == "near-duplicate"]
        assert len(findings) == expected
        assert {f.other for f in findings} <= {"100MEDIA/DJI_0000.JPG"}


def test_report__videos_fill_gaps(memory: ObjectStore, tmp_path: Path):
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


def test_report__of_a_drop_made_by_an_earlier_version(memory: ObjectStore, tmp_path: Path):
    table = report(memory, tmp_path / "f", flight())
    rows = table.read("d")
    draft = Draft(
        Recipe(OutputId("images", "d"), "2"),
        pushing([*rows.to_batches(), {"usable": 10, "quarantined": 0}]),
        rows.schema,
    )
    commit(memory, draft)
    table = open_table(memory, "images")
    with pytest.raises(NotCommittedError, match="earlier version"):
        read_findings(table, "d")
    verdict = judge_findings(table, "d", today=TODAY)
    assert (verdict.passed, verdict.warns) == (True, True)


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
    assert "dated 2031-05-03, in the future" in verdict.sentence
    assert not judge_findings(table, "d", today=date(2031, 5, 3)).warns


def test_report__only_thermal_pictures_do_not_warn(memory: ObjectStore, tmp_path: Path):
    name = 'drone-dji:AbsoluteAltitude="+600.00"'
    infrared = (name, f'drone-dji:ImageSource="InfraredCamera" {name}')
    files = {f"DJI_{n:04d}.JPG": shot(n, xmp=infrared) for n in range(1, 4)}
    table = report(memory, tmp_path / "f", files)
    assert table.manifest("d").facts["thermal"] == 3
    assert not judge_findings(table, "d", today=TODAY).warns


def test_report__open_table_still_reads_rows_beside_the_files(memory: ObjectStore, tmp_path: Path):
    report(memory, tmp_path / "f", flight())
    assert open_table(memory, "images").rows == 10
