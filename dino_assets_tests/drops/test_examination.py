"""Drops' sources as the doctor looks at them."""

from pathlib import Path

import pytest

from dino_assets.drops.examination import examine_drops
from dino_assets.drops.marks import set_retired
from dino_assets.drops.registry import register_drop
from dino_assets.drops.sources.opening import open_source
from dino_assets.errors import StoreError
from dino_assets.images.stage.drafting import draft_images
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.raising import raising


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore.in_memory()


def add(store: ObjectStore, folder: Path, name: str, write_photo, *, is_read: bool = True) -> Path:
    """A drop of two photographs, whose images are made."""
    for number in (1, 2):
        write_photo(folder / name / f"DJI_000{number}.JPG", seed=number)
    drop, _ = register_drop(store, name, source=str(folder / name), root=folder)
    if is_read:
        commit(store, draft_images(drop, open_source(drop.source, root=folder), threads=1))
    return folder / name


def test_examine_drops__all_is_there(store: ObjectStore, tmp_path: Path, write_photo):
    assert examine_drops(store, root=tmp_path).sound == 0
    add(store, tmp_path, "a", write_photo)
    add(store, tmp_path, "b", write_photo, is_read=False)
    seen = examine_drops(store, root=tmp_path)
    assert (seen.sound, seen.retired, seen.unseen, seen.verdicts) == (2, 0, 0, ())


def test_examine_drops__what_is_wrong_with_each(store: ObjectStore, tmp_path: Path, write_photo):
    folders = {name: add(store, tmp_path, name, write_photo) for name in "abcd"}
    folders["a"].rename(tmp_path / "elsewhere")
    (folders["b"] / "DJI_0002.JPG").unlink()
    write_photo(folders["c"] / "DJI_0003.JPG", seed=3)
    for path in folders["d"].iterdir():
        path.unlink()
    store.put("drops/e.json", b"no record")
    seen = examine_drops(store, root=tmp_path)
    assert [verdict.subject for verdict in seen.verdicts] == ["a", "b", "c", "d", "e"]
    a, b, c, d, e = (verdict.sentence for verdict in seen.verdicts)
    assert "mounted" in a
    assert "1 of its 2 photographs is gone, 'DJI_0002.JPG' first" in b
    assert "files came or changed since it was read" in c
    assert "there is no file at" in d
    assert "is not a drop's record" in e
    assert [(v.passed, v.warns) for v in seen.verdicts] == [
        (False, False), (True, True), (True, True), (False, False), (False, False),
    ]  # fmt: skip
    # Of an embedded drop only rounds need the pictures.
    store.put("manifests/embeddings/space/a.json", b"")
    (first, *_) = examine_drops(store, root=tmp_path).verdicts
    assert (first.subject, first.passed, first.warns) == ("a", True, True)
    set_retired(store, "a", True)
    seen = examine_drops(store, root=tmp_path)
    assert (seen.retired, [verdict.subject for verdict in seen.verdicts]) == (1, list("bcde"))


@pytest.mark.parametrize("is_read", [True, False])
def test_examine_drops__a_list_that_names_what_is_not_there(
    store: ObjectStore, tmp_path: Path, write_photo, is_read: bool
):
    write_photo(tmp_path / "card" / "1.jpg")
    (tmp_path / "card" / "list.csv").write_text("image_path\n1.jpg\n2.jpg\n")
    drop, _ = register_drop(store, "a", source="card/list.csv", root=tmp_path)
    if is_read:
        commit(store, draft_images(drop, open_source(drop.source, root=tmp_path), threads=1))
    (verdict,) = examine_drops(store, root=tmp_path).verdicts
    assert (verdict.passed, verdict.warns) == (True, True)
    assert verdict.sentence.startswith("1 of the 2 files in its list is not there, '2.jpg' first")


def test_examine_drops__ends_in_time(store: ObjectStore, tmp_path: Path, write_photo):
    for name in "abc":
        add(store, tmp_path, name, write_photo)
    times = iter([0.0, 1.0, 5.0, 5.0])
    seen = examine_drops(store, root=tmp_path, clock=lambda: next(times), budget_s=5)
    assert (seen.sound, seen.unseen) == (1, 2)


def test_examine_drops__the_store_itself_is_gone(tmp_path: Path):
    class Gone(ObjectStore):
        def list(self, *_, **__):
            raise StoreError("gone", store=self.url)

    gone = ObjectStore.in_memory()
    gone.__class__ = Gone
    with raising(StoreError, store=gone.url):
        examine_drops(gone, root=tmp_path)
