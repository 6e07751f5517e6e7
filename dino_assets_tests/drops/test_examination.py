"""Drops' sources as the doctor looks at them."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dino_assets.drops.examination import examine_drops, find_empty, find_late
from dino_assets.drops.marks import set_retired
from dino_assets.drops.records import Drop
from dino_assets.drops.registering import register_drop
from dino_assets.drops.registry import read_drop
from dino_assets.drops.sources.opening import open_source
from dino_assets.errors import StoreError
from dino_assets.images.stage.drafting import draft_images
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.raising import raising


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore.in_memory()


def add(store: ObjectStore, folder: Path, name: str, write_photo, *, is_read: bool = True) -> Path:
    """Register a drop of two photographs, and commit its images."""
    for number in (1, 2):
        write_photo(folder / name / f"DJI_000{number}.JPG", seed=number)
    drop, _ = register_drop(store, name, source=str(folder / name), root=folder)
    if is_read:
        commit(store, draft_images(drop, open_source(drop.source, root=folder), threads=1))
    return folder / name


def test_examine_drops__all_files_exist(store: ObjectStore, tmp_path: Path, write_photo):
    assert examine_drops(store, root=tmp_path).sound == 0
    add(store, tmp_path, "a", write_photo)
    add(store, tmp_path, "b", write_photo, is_read=False)
    report = examine_drops(store, root=tmp_path)
    assert (report.sound, report.retired, report.unseen, report.verdicts) == (2, 0, 0, ())


def test_examine_drops__one_verdict_per_problem(store: ObjectStore, tmp_path: Path, write_photo):
    folders = {name: add(store, tmp_path, name, write_photo) for name in "abcd"}
    folders["a"].rename(tmp_path / "elsewhere")
    (folders["b"] / "DJI_0002.JPG").unlink()
    write_photo(folders["c"] / "DJI_0003.JPG", seed=3)
    for path in folders["d"].iterdir():
        path.unlink()
    store.put("drops/e.json", b"no record")
    report = examine_drops(store, root=tmp_path)
    assert [verdict.subject for verdict in report.verdicts] == ["a", "b", "c", "d", "e"]
    a, b, c, d, e = (verdict.sentence for verdict in report.verdicts)
    assert "mounted" in a
    assert "1 of its 2 photographs is gone, the first is 'DJI_0002.JPG'" in b
    assert "1 photograph came since the drop was read, the first is 'DJI_0003.JPG'" in c
    assert c.endswith("`dino-assets drops register c`, then `dino-assets run c`")
    assert "no file at" in d
    assert "is not a valid record" in e
    assert [(v.passed, v.warns) for v in report.verdicts] == [
        (False, False), (True, True), (True, True), (False, False), (False, False),
    ]  # fmt: skip
    # Of an embedded drop only rounds need the pictures.
    store.put("manifests/embeddings/space/a.json", b"")
    (first_verdict, *_) = examine_drops(store, root=tmp_path).verdicts
    assert (first_verdict.subject, first_verdict.passed, first_verdict.warns) == ("a", True, True)
    set_retired(store, "a", True)
    report = examine_drops(store, root=tmp_path)
    assert (report.retired, [verdict.subject for verdict in report.verdicts]) == (1, list("bcde"))


def test_examine_drops__new_times_and_files_that_are_never_read(
    store: ObjectStore, tmp_path: Path, write_photo
):
    folders = {name: add(store, tmp_path, name, write_photo) for name in "ab"}
    os.utime(folders["a"] / "DJI_0001.JPG", (1, 1))
    (folders["b"] / "_SUCCESS").write_bytes(b"")
    (verdict,) = examine_drops(store, root=tmp_path).verdicts
    assert (verdict.subject, verdict.passed, verdict.warns) == ("a", True, True)
    assert "other times than when the drop was read" in verdict.sentence


def test_find_late__last_names_first_within_the_budget(
    store: ObjectStore, tmp_path: Path, write_photo
):
    manifests = {}
    for name in ("2026-05-01", "2026-05-02", "gone", "whole"):
        folder = add(store, tmp_path, name, write_photo)
        manifests[read_drop(store, name)] = read_manifest(store, OutputId("images", name))
        if name < "gone":
            write_photo(folder / "DJI_0003.JPG", seed=3)
    (tmp_path / "gone").rename(tmp_path / "elsewhere")
    late, unseen = find_late(store, manifests, root=tmp_path)
    assert {name: changes.came for name, changes in late.items()} == {
        "2026-05-01": ("DJI_0003.JPG",),
        "2026-05-02": ("DJI_0003.JPG",),
    }
    assert unseen == 0
    times = iter([0.0, 0.0, 0.0, 0.0, 9.0])
    late, unseen = find_late(store, manifests, root=tmp_path, clock=lambda: next(times))
    assert (list(late), unseen) == (["2026-05-02"], 1)


def hold_nothing(store: ObjectStore, folder: Path, name: str) -> Drop:
    """Register a drop that holds only notes, like an unmounted card."""
    (folder / name).mkdir()
    for note in ("README.md", "._DJI_0001.JPG"):
        (folder / name / note).write_text("flown in June")
    return register_drop(store, name, source=str(folder / name), root=folder)[0]


def test_examine_drops__source_without_photographs(store: ObjectStore, tmp_path: Path, write_photo):
    hold_nothing(store, tmp_path, "notes")
    add(store, tmp_path, "a", write_photo, is_read=False)
    report = examine_drops(store, root=tmp_path)
    (verdict,) = report.verdicts
    assert (report.sound, verdict.subject, verdict.passed) == (1, "notes", False)
    assert "only 2 other files. Check" in verdict.sentence
    # Pictures that were there, and notes that are there still.
    for path in add(store, tmp_path, "b", write_photo).iterdir():
        path.rename(path.with_suffix(".md"))
    assert [v.subject for v in examine_drops(store, root=tmp_path).verdicts] == ["b", "notes"]


def test_find_empty__sources_that_can_be_listed(store: ObjectStore, tmp_path: Path, write_photo):
    notes = hold_nothing(store, tmp_path, "notes")
    add(store, tmp_path, "a", write_photo, is_read=False)
    full_drop, gone_drop = (
        read_drop(store, "a"),
        replace(notes, name="gone", source=str(tmp_path / "nowhere")),
    )
    (tmp_path / "mount").mkdir()
    empty_drop = replace(notes, name="bare", source=str(tmp_path / "mount"))
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "a.txt").symlink_to("nowhere")
    link = replace(notes, name="link", source=str(tmp_path / "link"))
    drops = [notes, full_drop, gone_drop, empty_drop, link]
    assert find_empty(drops, root=tmp_path) == {"notes", "bare"}
    assert find_empty(drops, root=tmp_path, budget_s=0) == set()


@pytest.mark.parametrize("is_read", [True, False])
def test_examine_drops__list_with_missing_files(
    store: ObjectStore, tmp_path: Path, write_photo, is_read: bool
):
    write_photo(tmp_path / "card" / "1.jpg")
    (tmp_path / "card" / "list.csv").write_text("image_path\n1.jpg\n2.jpg\n")
    drop, _ = register_drop(store, "a", source="card/list.csv", root=tmp_path)
    if is_read:
        commit(store, draft_images(drop, open_source(drop.source, root=tmp_path), threads=1))
    (verdict,) = examine_drops(store, root=tmp_path).verdicts
    assert (verdict.passed, verdict.warns) == (True, True)
    assert verdict.sentence.startswith(
        "1 of the 2 files in its list is missing, the first is '2.jpg'"
    )


def test_examine_drops__stops_after_the_budget(store: ObjectStore, tmp_path: Path, write_photo):
    for name in "abc":
        add(store, tmp_path, name, write_photo)
    times = iter([0.0, 1.0, 5.0, 5.0])
    report = examine_drops(store, root=tmp_path, clock=lambda: next(times), budget_s=5)
    assert (report.sound, report.unseen) == (1, 2)


def test_examine_drops__store_is_missing(tmp_path: Path):
    class Gone(ObjectStore):
        def list(self, *_, **__):
            raise StoreError("gone", store=self.url)

    gone_store = ObjectStore.in_memory()
    gone_store.__class__ = Gone
    with raising(StoreError, store=gone_store.url):
        examine_drops(gone_store, root=tmp_path)
