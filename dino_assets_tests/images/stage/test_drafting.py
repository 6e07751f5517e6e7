import hashlib
import logging
import os
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from dino_assets.drops.records import MAX_FILE_BYTES, Drop
from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.source import fingerprint
from dino_assets.errors import CommitRefusedError, ConfigError, NotCommittedError, SourceError
from dino_assets.images.decoding import MAX_PIXELS, decode_image
from dino_assets.images.inspection import inspect_image
from dino_assets.images.rows import SCHEMA, ReadingOptions
from dino_assets.images.scores import score_pixels
from dino_assets.images.stage import drafting as stage
from dino_assets.images.stage.drafting import draft_images
from dino_assets.images.stage.judging import judge_images
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import Draft, Manifest, OutputId, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import photo_bytes, s3_settings
from dino_assets_tests.worlds.inboxes import CountingSource, commit_images, fill, make_drop
from dino_assets_tests.worlds.outputs import pushing

FLIGHT = {"100MEDIA/DJI_0001.JPG": (64, 48), "101MEDIA/DJI_0001.JPG": (30, 20), "b.jpg": (8, 9)}


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    return fill(tmp_path / "flight", FLIGHT)


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def manifest_of(store: ObjectStore, name: str = "d") -> Manifest:
    return open_table(store, "images").manifest(name)


# --- rows -----------------------------------------------------------------------------------


def test_draft_images__a_row_per_photograph(store: ObjectStore, flight: Path):
    table = commit_images(store, "d", flight)
    rows = table.read("d").to_pylist()
    assert [row["path"] for row in rows] == sorted(FLIGHT)
    for row in rows:
        data = (flight / row["path"]).read_bytes()
        expected = {
            "drop": "d", "path": row["path"], "bytes": len(data), "is_usable": True, "reason": None,
            "detail": None, **vars(inspect_image(data)), **vars(score_pixels(decode_image(data))),
            "is_mosaic": False, "place_quality": "none",
        }  # fmt: skip
        assert {name: value for name, value in row.items() if value is not None} == {
            name: value for name, value in expected.items() if value is not None
        }
        assert (row["width"], row["height"]) == FLIGHT[row["path"]]
    assert dict(manifest_of(store).facts) == {
        "usable": 3, "quarantined": 0, "reasons": {}, "other_files": 0, "other_suffixes": {},
        "thermal": 0, "raw_twins": 0, "findings": {"no-time": 3, "no-gps": 3, "gap": 1, "roll-over": 1},
    }  # fmt: skip


def test_draft_images__every_file_is_counted(memory: ObjectStore, flight: Path):
    (flight / "cut.jpg").write_bytes(photo_bytes()[:2000])
    (flight / "text.JPG").write_text("no picture")
    (flight / "empty.png").touch()
    (flight / "link.jpg").symlink_to(flight / "b.jpg")
    (flight / "linked-folder").symlink_to(flight / "100MEDIA")
    os.mkfifo(flight / "pipe")
    (flight / "caf\udce9.jpg").write_bytes(photo_bytes())
    (flight / "notes.SRT").write_text("00:01")
    (flight / "._b.jpg").write_bytes(b"macOS")
    (flight / "video.MP4").write_bytes(b"film")
    rows = commit_images(memory, "d", flight).read("d").to_pylist()
    assert {row["path"]: row["reason"] for row in rows if not row["is_usable"]} == {
        "caf\\xe9.jpg": "undecodable-name",
        "cut.jpg": "truncated",
        "empty.png": "empty",
        "link.jpg": "link",
        "linked-folder": "link",
        "pipe": "special-file",
        "text.JPG": "not-an-image",
    }
    assert all(row["detail"] for row in rows if not row["is_usable"])
    assert all(row["image_id"] is None and row["width"] is None for row in rows if row["reason"])
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    facts = manifest_of(memory).facts
    assert (facts["usable"], facts["quarantined"], facts["other_files"]) == (3, 7, 3)
    assert facts["reasons"] == {
        "empty": 1, "link": 2, "not-an-image": 1, "special-file": 1, "truncated": 1,
        "undecodable-name": 1,
    }  # fmt: skip
    assert facts["other_suffixes"] == {"._*": 1, ".mp4": 1, ".srt": 1}
    assert len(rows) + facts["other_files"] == len(FolderSource(flight, shown="").entries())


def test_draft_images__missing_files_of_a_list(memory: ObjectStore, flight: Path):
    (flight / "l.csv").write_text("image_path\nb.jpg\ngone.jpg\n../outside.jpg\n")
    rows = commit_images(memory, "d", flight / "l.csv").read("d").to_pylist()
    assert [(row["path"], row["reason"]) for row in rows] == [
        ("../outside.jpg", "outside"), ("b.jpg", None), ("gone.jpg", "missing"),
    ]  # fmt: skip


def test_draft_images__a_list_is_judged_by_content(memory: ObjectStore, flight: Path):
    for name in ("no-suffix", "odd.dat", "._side.jpg"):
        (flight / name).write_bytes(photo_bytes())
    (flight / "notes.SRT").write_text("00:01")
    (flight / "l.txt").write_text("no-suffix\nodd.dat\nnotes.SRT\n._side.jpg\n")
    rows = commit_images(memory, "d", flight / "l.txt").read("d").to_pylist()
    assert [(row["path"], row["reason"]) for row in rows] == [
        ("._side.jpg", None), ("no-suffix", None), ("notes.SRT", "not-an-image"), ("odd.dat", None),
    ]  # fmt: skip
    facts = manifest_of(memory).facts
    assert (facts["usable"], facts["other_files"], facts["other_suffixes"]) == (3, 0, {})


def test_draft_images__other_suffixes_the_most_frequent(memory: ObjectStore, flight: Path):
    for name in ("a.LRF", "b.lrf", "c.mrk", "plain", *(f"x.s{n:02d}" for n in range(30))):
        (flight / name).touch()
    commit_images(memory, "d", flight)
    facts = manifest_of(memory).facts
    assert facts["other_files"] == 34
    assert len(facts["other_suffixes"]) == 20
    assert facts["other_suffixes"] == {
        ".lrf": 2, ".mrk": 1, **{f".s{n:02d}": 1 for n in range(18)},
    }  # fmt: skip


def test_draft_images__turned_photograph(memory: ObjectStore, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.jpg").write_bytes(photo_bytes(40, 30, exif=exif))
    (row,) = commit_images(memory, "d", tmp_path / "f").read("d").to_pylist()
    assert (row["width"], row["height"], row["orientation"]) == (30, 40, 6)
    assert (row["stored_width"], row["stored_height"]) == (40, 30)


def test_draft_images__more_rows_than_a_batch(memory: ObjectStore, tmp_path: Path):
    for count in (3, 4, 5, 8, 9):
        folder = fill(tmp_path / str(count), {f"{n}.jpg": (8, 8) for n in range(count)})
        drop, source = make_drop(f"d{count}", folder), FolderSource(folder, shown="f")
        commit(memory, draft_images(drop, source, threads=1, batch_rows=4))
        table = open_table(memory, "images")
        assert [row["path"] for row in table.read(f"d{count}").to_pylist()] == [
            f"{n}.jpg" for n in range(count)
        ]


def test_draft_images__pixel_limit_is_part_of_the_recipe(memory: ObjectStore, flight: Path):
    source = FolderSource(flight, shown="f")
    drop = make_drop("d", flight)
    assert not commit(memory, draft_images(drop, source, threads=1)).was_reused
    small = commit(
        memory, draft_images(drop, source, threads=1, reading=ReadingOptions(max_pixels=100))
    )
    assert not small.was_reused
    assert small.manifest.facts["reasons"] == {"too-large": 2}


@pytest.mark.parametrize("max_pixels", [0, -1, MAX_PIXELS + 1])
def test_draft_images__impossible_pixel_limit(flight: Path, max_pixels: int):
    source = CountingSource(flight)
    with pytest.raises(ConfigError) as caught:
        draft_images(make_drop("d", flight), source, threads=1, reading=ReadingOptions(max_pixels))
    assert (caught.value.setting, caught.value.value) == ("max_pixels", max_pixels)


def test_draft_images__huge_file_is_not_read(memory: ObjectStore, flight: Path):
    with (flight / "huge.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: takes no disk
    source = CountingSource(flight)
    rows = commit_images(memory, "d", flight, source=source).read("d").to_pylist()
    assert "huge.png" not in source.was_read
    assert rows[-1]["reason"] == "too-large"
    assert rows[-1]["detail"] == "536,870,913 bytes, the limit is 536,870,912"


def test_draft_images__file_that_cannot_be_read_is_a_row(memory: ObjectStore, flight: Path):
    class Failing(CountingSource):
        def read(self, path: str) -> bytes:
            if path == "b.jpg":
                raise SourceError("cannot read 'b.jpg': Input/output error")
            return super().read(path)

    table = commit_images(memory, "d", flight, source=Failing(flight))
    (bad_row,) = [row for row in table.read("d").to_pylist() if not row["is_usable"]]
    assert (bad_row["reason"], bad_row["detail"]) == (
        "unreadable", "cannot read 'b.jpg': Input/output error",
    )  # fmt: skip


def test_draft_images__unreachable_inbox_fails_the_drop(memory: ObjectStore, flight: Path):
    def unplug(path: str) -> None:
        raise ConnectionError("the store does not answer")

    with pytest.raises(ConnectionError):
        commit_images(memory, "d", flight, source=CountingSource(flight, on_read=unplug))
    assert not memory.exists(manifest_key(OutputId("images", "d")))


def test_draft_images__from_a_bucket(memory: ObjectStore, s3_endpoint: str, tmp_path: Path):
    inbox = open_store(s3_settings(s3_endpoint, tmp_path))
    inbox.put("100MEDIA/a.JPG", photo_bytes(40, 30))
    inbox.put("b.jpg", b"no picture")
    drop = Drop("d", "s3://bucket", "", "d")
    commit(memory, draft_images(drop, BucketSource(inbox), threads=2))
    rows = open_table(memory, "images").read("d")
    assert rows.select(["path", "width", "reason"]).to_pylist() == [
        {"path": "100MEDIA/a.JPG", "width": 40, "reason": None},
        {"path": "b.jpg", "width": None, "reason": "not-an-image"},
    ]


# --- promises -------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["added", "grown", "removed", "became a link"])
def test_draft_images__drop_that_changes_while_it_is_read(
    store: ObjectStore, flight: Path, change: str
):
    def alter(path: str) -> None:
        target = flight / "b.jpg"
        if path != "100MEDIA/DJI_0001.JPG":
            return
        if change == "added":
            (flight / "new.txt").write_text("x")
        elif change == "grown":
            target.write_bytes(target.read_bytes() + b"more")
        else:
            target.unlink()
            if change == "became a link":
                target.symlink_to("elsewhere")

    with pytest.raises(CommitRefusedError) as caught:
        commit_images(store, "d", flight, source=CountingSource(flight, on_read=alter))
    assert caught.value.reason == "changed"
    with pytest.raises(NotCommittedError):
        manifest_of(store)
    assert commit_images(store, "d", flight).manifest("d").rows >= 2  # now it holds still


def test_draft_images__refused_draft_keeps_the_earlier_result(memory: ObjectStore, flight: Path):
    manifest = commit_images(memory, "d", flight).manifest("d")
    (flight / "c.jpg").write_bytes(photo_bytes(seed=9))
    source = CountingSource(flight, on_read=lambda path: (flight / "x").write_text(path * 2))
    with pytest.raises(CommitRefusedError):
        commit_images(memory, "d", flight, source=source)
    assert manifest_of(memory) == manifest


def test_draft_images__unmounted_card_does_not_replace_a_result(store: ObjectStore, flight: Path):
    manifest = commit_images(store, "d", flight).manifest("d")
    drop = make_drop("d", flight)
    flight.rename(flight.parent / "away")
    flight.mkdir()  # the mount point
    with pytest.raises(CommitRefusedError) as caught:
        commit(store, draft_images(drop, FolderSource(flight, shown="f"), threads=1))
    assert caught.value.reason == "no-photographs"
    assert manifest_of(store) == manifest


def test_draft_images__no_photographs_among_other_files(memory: ObjectStore, tmp_path: Path):
    (tmp_path / "f").mkdir()
    for name in ("a.mrk", "b.lrf", "c.LRF", "d"):
        (tmp_path / "f" / name).write_bytes(b"x")
    message = r"it lists only files that are not read \(2 \.lrf, 1 \.mrk, 1 no suffix\)\. Check"
    with pytest.raises(CommitRefusedError, match=message):
        commit_images(memory, "d", tmp_path / "f")
    with pytest.raises(NotCommittedError):
        manifest_of(memory)


def test_draft_images__only_quarantined_files(memory: ObjectStore, tmp_path: Path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.jpg").touch()
    assert commit_images(memory, "d", tmp_path / "f").read("d").num_rows == 1


# --- reuse and replay -----------------------------------------------------------------------


def test_draft_images__rerun_reads_no_picture(store: ObjectStore, flight: Path):
    commit_images(store, "d", flight)
    source = CountingSource(flight)
    rerun = commit(store, draft_images(make_drop("d", flight), source, threads=2))
    assert rerun.was_reused
    assert source.was_read == []
    (flight / "c.jpg").write_bytes(photo_bytes(seed=9))
    changed_run = commit(store, draft_images(make_drop("d", flight), source, threads=2))
    assert not changed_run.was_reused
    assert sorted(source.was_read) == sorted([*FLIGHT, "c.jpg"])


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_draft_images__same_files_same_bytes(flight: Path, tmp_path: Path, threads: int):
    """In any place, with any number of threads, bad files included."""
    (flight / "cut.jpg").write_bytes(photo_bytes()[:2000])
    (flight / "text.jpg").write_text("no picture")
    manifests = set()
    for place, count in ((flight, threads), (tmp_path / "moved", 3)):
        if place != flight:
            flight.rename(place)
        fresh_store = ObjectStore.in_memory()
        source = FolderSource(place, shown=str(place))
        commit(fresh_store, draft_images(make_drop("d", place), source, threads=count))
        manifests.add(fresh_store.get(manifest_key(OutputId("images", "d"))))
    assert len(manifests) == 1


def test_draft_images__recipe_is_known_before_anything_is_read(flight: Path):
    source = CountingSource(flight)
    draft = draft_images(make_drop("d", flight), source, threads=1)
    assert source.was_read == []
    assert draft.recipe == Recipe(
        OutputId("images", "d"),
        stage.CODE_VERSION,
        {
            "max_pixels": MAX_PIXELS,
            "ground_m": None,
            "readers": ["pillow_heif", "rasterio", "rawpy"],
        },
        {"source": fingerprint(source.entries())},
    )


def test_draft_images__logs_progress(
    memory: ObjectStore, flight: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, "dino_assets.images.stage.drafting"):
        commit_images(memory, "d", flight)
    assert "d: 3 of 3 files, " in caplog.text
    assert "files/s" in caplog.text


# --- judge_images ---------------------------------------------------------------------------


def good_row(path: str, **values: object) -> dict[str, object]:
    row: dict[str, object] = {
        "drop": "d", "path": path, "bytes": 1, "is_usable": True,
        "image_id": hashlib.sha256(path.encode()).hexdigest(), "width": 4, "height": 3,
    }  # fmt: skip
    return row | values


def judge(rows: list[dict[str, object]]) -> tuple[bool, str]:
    store = ObjectStore.in_memory()

    def produce():
        yield pa.RecordBatch.from_pylist(rows, SCHEMA)
        yield {}

    commit(store, Draft(Recipe(OutputId("images", "d"), "1"), pushing(produce), SCHEMA))
    verdict = judge_images(open_table(store, "images"), "d")
    assert verdict.subject == "d"
    return verdict.passed, verdict.sentence


def test_judge_images__good_table():
    bad_row = good_row("b", is_usable=False, reason="empty", image_id=None, width=None)
    assert judge([good_row("a"), bad_row]) == (
        True,
        "2 rows, each path once, each bad file with a reason",
    )
    assert judge([]) == (True, "0 rows, each path once, each bad file with a reason")


@pytest.mark.parametrize(
    ("planted", "sentence"),
    [
        (good_row("a"), "1 repeated paths, 0 usable rows without"),
        (good_row("b", image_id=None), "0 repeated paths, 1 usable rows without id or size"),
        (good_row("b", image_id="ab"), "1 usable rows without id or size"),
        (good_row("b", image_id="G" * 64), "1 usable rows without id or size"),
        (good_row("b", image_id="a" * 65), "1 usable rows without id or size"),
        (good_row("b", image_id="a" * 64 + "\n"), "1 usable rows without id or size"),
        (good_row("b", width=0), "1 usable rows without id or size"),
        (good_row("b", height=-1), "1 usable rows without id or size"),
        (good_row("b", height=None), "1 usable rows without id or size"),
        (good_row("b", is_usable=False), "1 quarantined rows without a reason"),
        (good_row("b", is_usable=False, reason=""), "1 quarantined rows without a reason"),
    ],
)
def test_judge_images__planted_fault(planted: dict[str, object], sentence: str):
    passed, verdict = judge([good_row("a"), planted, good_row("c")])
    assert not passed
    assert sentence in verdict


def test_judge_images__committed_drops_pass(memory: ObjectStore, flight: Path):
    (flight / "text.jpg").write_text("no picture")
    table = commit_images(memory, "d", flight)
    assert judge_images(table, "d").passed
