"""Stores of many drops: what is read of them once is read from digests, and what changed is seen at once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dino_assets.drops.arrivals import PastRuns
from dino_assets.drops.finished import find_done_drops, list_stamps
from dino_assets.drops.late import LateWatch
from dino_assets.drops.listing import describe_drops
from dino_assets.drops.marks import set_retired, tag_drop
from dino_assets.drops.records import Drop
from dino_assets.drops.registry import DropReader, find_drops, read_drop
from dino_assets.drops.survey import Memory, survey_inbox
from dino_assets.embeddings.stage.pool import choose_pool
from dino_assets.errors import CorruptObjectError, UnknownDropError
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.histories import SPACE, name_drop, write_history
from dino_assets_tests.worlds.store_doubles import WatchedStore

DROPS = 40
NAMES = [name_drop(number) for number in range(DROPS)]
ONE_NAME = name_drop(7)


@pytest.fixture
def long(local_store: ObjectStore, tmp_path: Path) -> ObjectStore:
    """Finished drops that somebody has read once."""
    local_store.put("drops/x.json", b"{}")
    local_store.delete("drops/x.json")
    assert local_store.folder is not None
    write_history(
        local_store.folder, range(DROPS), sources=tmp_path / "inbox", fingerprint="f00d" * 16
    )
    find_drops(local_store)
    describe_drops(local_store)
    assert len(list(local_store.list("digests"))) == 4
    return local_store


def sources(tmp_path: Path) -> dict[str, str]:
    return {name: str(tmp_path / "inbox" / name) for name in NAMES}


def find_finished(store: ObjectStore, tmp_path: Path) -> set[str]:
    """Find finished drops like a daemon that has just started."""
    stamps = list_stamps(store)
    return find_done_drops(store, stamps, sources(tmp_path), remembered={}).finished


def test_readers__read_digests_only(long: ObjectStore, tmp_path: Path):
    keys: list[str] = []
    watched_store = WatchedStore(
        long, before=lambda verb, key: keys.append(key) if verb == "get" else None
    )
    assert list(find_drops(watched_store)) == NAMES
    describe = describe_drops(watched_store)
    states = [str(state) for state in describe(read_drop(long, ONE_NAME))]
    assert states == ["images 1", "tiles 1", "embeddings 1"]
    assert find_finished(watched_store, tmp_path) == set(NAMES)
    pool = choose_pool(open_table(watched_store, "embeddings", space=SPACE))
    assert pool.drops == tuple(NAMES)
    assert {key.split("/")[0] for key in keys} == {"digests", "manifests"}
    assert [key for key in keys if key.startswith("manifests")] == ["manifests/weights/_/_.json"]


def test_find_drops__same_result_as_read_drop(long: ObjectStore):
    tag_drop(long, ONE_NAME, ["woods", "meadow"])
    set_retired(long, name_drop(8), True)
    for _ in range(2):
        assert find_drops(long) == {name: read_drop(long, name) for name in NAMES}


def retire(store: ObjectStore) -> None:
    set_retired(store, ONE_NAME, True)


def move(store: ObjectStore) -> None:
    record = json.loads(store.get(f"drops/{ONE_NAME}.json"))
    store.put(f"drops/{ONE_NAME}.json", json.dumps(record | {"source": "/elsewhere"}).encode())


def look_new(store: ObjectStore) -> None:
    record = json.loads(store.get(f"drops/{ONE_NAME}.json"))
    store.put(f"drops/{ONE_NAME}.json", json.dumps(record | {"fingerprint": "beef" * 16}).encode())


def rot_record(store: ObjectStore) -> None:
    store.put(f"drops/{ONE_NAME}.json", b"rot")


def rot_manifest(store: ObjectStore) -> None:
    store.put(manifest_key(OutputId("tiles", ONE_NAME)), b"rot")


def lose_manifest(store: ObjectStore) -> None:
    store.delete(manifest_key(OutputId("images", ONE_NAME)))


@pytest.mark.parametrize(
    "change", [retire, move, look_new, rot_record, rot_manifest, lose_manifest]
)
def test_find_done_drops__notices_changes(
    long: ObjectStore, tmp_path: Path, change: Callable[[ObjectStore], None]
):
    change(long)
    assert find_finished(long, tmp_path) == set(NAMES) - {ONE_NAME}
    done_drops = find_done_drops(long, list_stamps(long), sources(tmp_path), remembered={})
    assert done_drops.retired == ({ONE_NAME} if change is retire else set())


def test_choose_pool__retired_and_restored_among_many(long: ObjectStore):
    for is_retired in (True, False):
        set_retired(long, ONE_NAME, is_retired)
        pool = choose_pool(open_table(long, "embeddings", space=SPACE))
        assert (ONE_NAME in pool.drops) != is_retired
        assert len(pool.drops) == DROPS - is_retired


def test_find_drops__one_damaged_record_among_many(long: ObjectStore):
    rot_record(long)
    for _ in range(2):
        drops = find_drops(long)
        assert isinstance(drops[ONE_NAME], CorruptObjectError)
        assert sum(isinstance(drop, Drop) for drop in drops.values()) == DROPS - 1


def test_find_drops__deleted_since_it_was_listed(long: ObjectStore):
    """Another process deletes it now; its facts may remain."""
    tag_drop(long, ONE_NAME, ["woods"])

    def delete(verb: str, key: str) -> None:
        if verb == "get" and key == f"drops/{ONE_NAME}.json":
            long.delete(key)

    assert list(find_drops(WatchedStore(long, before=delete))) == [
        n for n in NAMES if n != ONE_NAME
    ]
    assert list(find_drops(long)) == [n for n in NAMES if n != ONE_NAME]


def test_drop_reader__same_result_as_read_drop(long: ObjectStore):
    rot_record(long)
    reader = DropReader(long)
    assert reader(NAMES[0]) == read_drop(long, NAMES[0])
    with pytest.raises(CorruptObjectError):
        reader(ONE_NAME)
    with pytest.raises(UnknownDropError):
        reader("nobody")


def test_survey_inbox__a_new_folder_beside_many_finished_ones(
    long: ObjectStore, tmp_path: Path, write_photo: Callable[..., Path]
):
    class NoRuns:
        in_flight: frozenset[str] = frozenset()

        def past(self, drop: str, content: str) -> PastRuns:
            return PastRuns()

    for name in NAMES:
        (tmp_path / "inbox" / name).mkdir(parents=True)
    write_photo(tmp_path / "inbox" / "Süd" / "1.jpg")
    (tmp_path / "inbox" / "Süd" / "_SUCCESS").touch()
    survey = survey_inbox(
        long,
        "inbox",
        root=tmp_path,
        runs=NoRuns(),
        memory=Memory(),
        remembered={},
        late_watch=LateWatch(),
        clock=lambda: 1.0,
    )
    assert survey.finished == set(NAMES)
    assert [launch.drop.startswith("Sued-") for launch in survey.launches] == [True]
