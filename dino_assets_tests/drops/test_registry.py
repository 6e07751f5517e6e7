import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dino_assets.drops.naming import make_drop_name
from dino_assets.drops.records import Drop
from dino_assets.drops.registering import list_from_inbox, register_drop, register_listing
from dino_assets.drops.registry import (
    find_drop,
    find_drops,
    find_names,
    inbox_address,
    pick_name,
    read_drop,
    write_drop,
)
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.errors import (
    CorruptObjectError,
    DropConflictError,
    InvalidDropNameError,
    SourceError,
    UnknownDropError,
)
from dino_assets.images.stage.drafting import draft_images
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.raising import raising

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def make_flight(root: Path, name: str) -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "a.jpg").write_bytes(b"x")
    return root / name


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flight-07", "7", "2024-06-01_north.v2", "x" * 80, "a.json"])
def test_make_drop_name__a_good_name_is_kept(name: str):
    assert make_drop_name(name) == name


@pytest.mark.parametrize(
    ("original", "slug"),
    [
        ("Flight 7", "Flight-7"),
        ("Überflug Süd 2024", "Ueberflug-Sued-2024"),
        ("U\u0308bung", "Uebung"),  # as Macs write it
        ("Łódź straße", "Lodz-strasse"),
        ("飛行", "FeiXing"),
        ("Страус", "Straus"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("a..b", "a.b"),
        ("a.....b", "a.b"),
        ("Flight 7.", "Flight-7"),
        ("a.", "a"),
        ("a\n", "a"),
        (" a", "a"),
        ("x" * 81, "x" * 71),
        ("caf\udce9", "caf"),
    ],
)
def test_make_drop_name__others_become_slug_and_hash(original: str, slug: str):
    name = make_drop_name(original)
    assert re.fullmatch(re.escape(slug) + "-[0-9a-f]{8}", name)
    assert KEY.fullmatch(name)
    assert make_drop_name(name) == name


def test_make_drop_name__equal_slugs_stay_apart():
    assert len({make_drop_name(name) for name in ("a b", "a  b", "a-b", "a:b", "a b ")}) == 5


@pytest.mark.parametrize("name", ["", " ", "\n\t", "_", "-.-", "\udcff"])
def test_make_drop_name__no_letter_or_digit(name: str):
    with raising(InvalidDropNameError, drop=name, reason="no-letters"):
        make_drop_name(name)


@pytest.mark.parametrize(
    "name", [".", "..", "///", "/", "a/b", "../../etc", "a/", "a\\b", "..\\x", "/mnt/flight"]
)
def test_make_drop_name__refuses_paths(name: str):
    with raising(InvalidDropNameError, drop=name, reason="path"):
        make_drop_name(name)


@settings(max_examples=300, deadline=None)
@given(original=st.text(st.characters(codec="utf-8"), min_size=1, max_size=120))
@example("a" * 80 + " ")
@example("a" * 70 + "..")
@example("a.\u98db.b")
def test_make_drop_name__valid_key_or_error(original: str):
    try:
        name = make_drop_name(original)
    except InvalidDropNameError:
        assert set(original) & {"/", "\\"} or not any(char.isalnum() for char in original)
        return
    assert KEY.fullmatch(name)
    assert ".." not in f"{name}."
    assert make_drop_name(name) == name


@pytest.mark.parametrize(
    ("inbox", "address"),
    [
        ("inbox", "inbox/a"),
        ("/mnt/cards/", "/mnt/cards/a"),
        ("s3://bucket/in/", "s3://bucket/in/a"),
        ("minio://bucket", "minio://bucket/a"),
    ],
)
def test_inbox_address__folder_and_bucket(inbox: str, address: str):
    assert inbox_address(inbox, "a") == address


# --- registering ----------------------------------------------------------------------------


def test_register_drop__writes_a_record(store: ObjectStore, tmp_path: Path):
    folder = make_flight(tmp_path, "inbox/flight-1")
    drop, has_changed = register_drop(store, "flight-1", source="inbox/flight-1", root=tmp_path)
    assert has_changed
    assert drop == Drop("flight-1", str(folder), drop.fingerprint, "flight-1")
    assert re.fullmatch("[0-9a-f]{64}", drop.fingerprint)
    assert read_drop(store, "flight-1") == drop
    assert find_drops(store) == {"flight-1": drop}


def test_register_drop__again_changes_nothing(memory: ObjectStore, tmp_path: Path):
    folder = make_flight(tmp_path, "flight-1")
    first, _ = register_drop(memory, "flight-1", source=str(folder), root=tmp_path)
    record = memory.get("drops/flight-1.json")
    for source in (str(folder), "flight-1", "./x/../flight-1", f"{folder}/"):
        second, has_changed = register_drop(memory, "flight-1", source=source, root=tmp_path)
        assert (second, has_changed) == (first, False)
    assert memory.get("drops/flight-1.json") == record


def test_register_drop__more_pictures_are_the_same_drop(memory: ObjectStore, tmp_path: Path):
    folder = make_flight(tmp_path, "flight-1")
    first, _ = register_drop(memory, "flight-1", source=str(folder), root=tmp_path)
    (folder / "b.jpg").write_bytes(b"y")
    second, has_changed = register_drop(memory, "flight-1", source=str(folder), root=tmp_path)
    assert has_changed
    assert second.fingerprint != first.fingerprint
    assert read_drop(memory, "flight-1") == second


def test_register_drop__another_source_is_a_conflict(memory: ObjectStore, tmp_path: Path):
    folder, other_folder = make_flight(tmp_path, "one"), make_flight(tmp_path, "two")
    drop, _ = register_drop(memory, "flight", source=str(folder), root=tmp_path)
    sentence = f"'flight' is registered from '{folder}', not '{other_folder}'. .* pass --replace"
    with raising(DropConflictError, drop="flight", match=sentence):
        register_drop(memory, "flight", source=str(other_folder), root=tmp_path)
    assert read_drop(memory, "flight") == drop


def test_register_drop__replace(memory: ObjectStore, tmp_path: Path):
    folder, other_folder = make_flight(tmp_path, "one"), make_flight(tmp_path, "two")
    register_drop(memory, "flight", source=str(folder), root=tmp_path)
    drop, has_changed = register_drop(
        memory, "flight", source=str(other_folder), root=tmp_path, may_replace=True
    )
    assert (has_changed, drop.source) == (True, str(other_folder))
    assert read_drop(memory, "flight") == drop


def test_register_drop__replace_refuses_other_pictures(memory: ObjectStore, tmp_path: Path):
    folder, moved_folder, other_folder = (
        make_flight(tmp_path, name) for name in ("one", "moved", "other")
    )
    (moved_folder / "b.jpg").write_bytes(b"one more")
    (other_folder / "a.jpg").write_bytes(b"of this name, and another picture")
    drop, _ = register_drop(memory, "flight", source=str(folder), root=tmp_path)
    commit(memory, draft_images(drop, FolderSource(folder, shown="one"), threads=1))
    with raising(DropConflictError, drop="flight", reason="other-pictures"):
        register_drop(memory, "flight", source=str(other_folder), root=tmp_path, may_replace=True)
    assert read_drop(memory, "flight") == drop
    moved_drop, _ = register_drop(
        memory, "flight", source=str(moved_folder), root=tmp_path, may_replace=True
    )
    assert moved_drop.source == str(moved_folder)


def test_register_drop__original_folder_name_is_stored(memory: ObjectStore, tmp_path: Path):
    folder = make_flight(tmp_path, "Flug 3 / Süd".replace("/", "_"))
    drop, _ = register_drop(memory, folder.name, source=str(folder), root=tmp_path)
    assert drop.original_name == folder.name
    assert drop.name == make_drop_name(folder.name) != folder.name
    assert read_drop(memory, drop.name) == drop


def register_from_inbox(
    store: ObjectStore, name: str, root: Path, *, may_replace: bool = False
) -> tuple[Drop, bool]:
    drop_name, listing = list_from_inbox(store, name, inbox="inbox", root=root)
    return register_listing(store, drop_name, listing, may_replace=may_replace)


def test_list_from_inbox__registered_drop_outside_the_inbox(memory: ObjectStore, tmp_path: Path):
    folder = make_flight(tmp_path / "card", "Flug 3")
    drop, _ = register_drop(memory, "Flug 3", source=str(folder), root=tmp_path)
    (folder / "b.jpg").write_bytes(b"x")
    for name, is_new in ((drop.name, True), ("Flug 3", False)):
        second, has_changed = register_from_inbox(memory, name, tmp_path)
        assert has_changed == is_new
        assert (second.name, second.source, second.original_name) == (
            drop.name,
            drop.source,
            "Flug 3",
        )
        assert second.fingerprint != drop.fingerprint
    with raising(SourceError, reason="missing"):
        register_from_inbox(memory, "unknown", tmp_path)
    shutil.rmtree(folder)
    with raising(SourceError, reason="missing", path=drop.source):
        register_from_inbox(memory, drop.name, tmp_path)


def test_list_from_inbox__inbox_folder_comes_first(memory: ObjectStore, tmp_path: Path):
    card = make_flight(tmp_path / "card", "a")
    register_drop(memory, "a", source=str(card), root=tmp_path)
    folder = make_flight(tmp_path / "inbox", "a")
    with raising(DropConflictError, drop="a"):
        register_from_inbox(memory, "a", tmp_path)
    drop, _ = register_from_inbox(memory, "a", tmp_path, may_replace=True)
    assert drop.source == str(folder)


@pytest.mark.parametrize("called", ["Überflug Süd", "U\u0308berflug Su\u0308d"])
def test_find_drop__by_its_original_name(memory: ObjectStore, tmp_path: Path, called: str):
    folder = make_flight(tmp_path, "Überflug Süd")
    drop, _ = register_drop(memory, "Überflug Süd", source=str(folder), root=tmp_path)
    assert drop.name.startswith("Ueberflug-Sued-")
    assert find_drop(memory, called) == find_drop(memory, drop.name) == drop
    assert find_names(memory, [called, "a", "../b"]) == [drop.name, "a", "../b"]
    with raising(UnknownDropError, drop="Überflug Nord"):
        find_drop(memory, "Überflug Nord")
    with raising(InvalidDropNameError, reason="path"):
        find_drop(memory, "../Süd")


def test_register_drop__keeps_the_name_that_an_earlier_slug_gave(memory, tmp_path: Path):
    folder = make_flight(tmp_path, "Überflug Süd")
    new_name = make_drop_name("Überflug Süd")
    old_name = f"berflug-S-d-{new_name[-8:]}"
    drop, _ = register_drop(memory, "Überflug Süd", source=str(folder), root=tmp_path)
    memory.delete(f"drops/{new_name}.json")
    write_drop(memory, replace(drop, name=old_name))
    second, has_changed = register_drop(memory, "Überflug Süd", source=str(folder), root=tmp_path)
    assert (second.name, has_changed) == (old_name, False)
    assert pick_name("Überflug Süd", [old_name]) == old_name
    assert pick_name("Überflug Süd", ["other"]) == new_name


def test_register_drop__undecodable_folder_name(memory: ObjectStore, tmp_path: Path):
    folder = make_flight(tmp_path, "caf\udce9")
    drop, _ = register_drop(memory, folder.name, source=str(folder), root=tmp_path)
    assert drop.original_name == "caf\\xe9"
    second, has_changed = register_drop(memory, folder.name, source=str(folder), root=tmp_path)
    assert (second, has_changed) == (drop, False)
    assert os.fsencode(read_drop(memory, drop.name).source) == os.fsencode(folder)


def test_register_drop__missing_source_registers_nothing(memory: ObjectStore, tmp_path: Path):
    with raising(SourceError, reason="missing"):
        register_drop(memory, "flight", source="nowhere", root=tmp_path)
    assert find_drops(memory) == {}


@pytest.mark.parametrize("kind", ["folder", "list", "bucket"])
def test_register_drop__no_files_registers_nothing(
    memory: ObjectStore,
    kind: str,
    s3_endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    from dino_assets_tests.conftest import s3_settings

    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    (tmp_path / "empty.txt").write_text("\n")
    source = {"folder": "empty", "list": "empty.txt"}.get(kind)
    source = source or s3_settings(s3_endpoint, tmp_path).url
    with raising(SourceError, reason="empty", path=source):
        register_drop(memory, "flight", source=source, root=tmp_path)
    assert find_drops(memory) == {}


def test_register_drop__bucket_address_stays_as_given(
    memory: ObjectStore, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from dino_assets.store.objects import open_store
    from dino_assets_tests.conftest import s3_settings

    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    settings = s3_settings(s3_endpoint, tmp_path)
    open_store(settings).put("a.jpg", b"x")
    drop, _ = register_drop(memory, "cloud", source=settings.url, root=tmp_path)
    assert drop.source == settings.url


# --- reading --------------------------------------------------------------------------------


def test_read_drop__unknown(memory: ObjectStore):
    with raising(UnknownDropError, drop="nope"):
        read_drop(memory, "nope")


@pytest.mark.parametrize("name", ["../secrets", "a/b", "a b", ".x", "x" * 81, "a..b", "a."])
def test_read_drop__invalid_name(memory: ObjectStore, name: str):
    with raising(InvalidDropNameError, drop=name, reason="not-a-key"):
        read_drop(memory, name)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b'{"name": "x"}',
        b"\xff",
        b'{"name": "x", "extra": 1}',
        b"[" * 100_000,
    ],
)
def test_read_drop__damaged_record(memory: ObjectStore, data: bytes):
    memory.put("drops/x.json", data)
    with raising(CorruptObjectError, key="drops/x.json"):
        read_drop(memory, "x")


@pytest.mark.parametrize("change", [{"name": "y"}, {"source": 7}, {"fingerprint": None}])
def test_read_drop__record_that_contradicts_its_key(memory: ObjectStore, change: dict[str, object]):
    record = {"name": "x", "source": "s", "fingerprint": "f", "original_name": "x"}
    memory.put("drops/x.json", json.dumps(record).encode())
    assert read_drop(memory, "x").source == "s"
    memory.put("drops/x.json", json.dumps(record | change).encode())
    with raising(CorruptObjectError, key="drops/x.json"):
        read_drop(memory, "x")


def test_register_drop__repairs_a_damaged_record(memory: ObjectStore, tmp_path: Path):
    folder = make_flight(tmp_path, "f")
    memory.put("drops/x.json", b"{")
    drop, has_changed = register_drop(memory, "x", source=str(folder), root=tmp_path)
    assert has_changed
    assert read_drop(memory, "x") == drop


def test_find_drops__sorted_and_ignores_foreign_objects(memory: ObjectStore, tmp_path: Path):
    folder = make_flight(tmp_path, "f")
    for name in ("b", "a.json", "C", "a"):
        register_drop(memory, name, source=str(folder), root=tmp_path)
    for key in (
        "drops/a..b.json",
        "drops/a..json",
        "drops/readme.txt",
        "drops/sub/x.json",
        "drops.json",
        "drops-2/x.json",
    ):
        memory.put(key, b"foreign")
    assert list(find_drops(memory)) == ["C", "a", "a.json", "b"]
