"""Digests of manifests: a cache that is missing, old, damaged or written by two at once."""

import gzip
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dino_assets.errors import CorruptObjectError, StoreFullError
from dino_assets.store.commits.digests import FEW, digest_key, load_digest
from dino_assets.store.commits.indexes import add_row
from dino_assets.store.commits.manifests import list_manifests, manifest_key, read_manifest
from dino_assets.store.commits.protocol import Manifest, OutputId
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectInfo, ObjectStore
from dino_assets.store.upkeep.collecting import collect
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.worlds.outputs import contents, rows_draft
from dino_assets_tests.worlds.store_doubles import FlippingStore, WatchedStore, fail

NAME = "manifests/things/space1"
DROPS = FEW + 8


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def output(number: int) -> OutputId:
    return OutputId("things", f"flight-{number:02d}", "space1")


def put(store: ObjectStore, number: int, *, value: int = 0) -> Manifest:
    draft = rows_draft([number, value], output=output(number), version=str(value))
    return commit(store, draft).manifest


def fill(store: ObjectStore, drops: int = DROPS) -> list[Manifest]:
    return [put(store, number) for number in range(drops)]


def read(store: ObjectStore) -> tuple[list[Manifest], Counter[str]]:
    """List all manifests, and count the reads and writes of each kind of object."""
    calls: Counter[str] = Counter()
    watched_store = WatchedStore(
        store, before=lambda verb, key: calls.update([f"{verb} {key.split('/')[0]}"])
    )
    return list_manifests(watched_store, "things", "space1"), calls


def test_list_manifests__reads_many_only_once(store: ObjectStore):
    manifests = fill(store)
    listing, calls = read(store)
    assert listing == manifests
    assert calls == {
        "list manifests": 1,
        "get digests": 1,
        "get manifests": DROPS,
        "put digests": 1,
    }
    listing, calls = read(store)
    assert listing == manifests
    assert calls == {"list manifests": 1, "get digests": 1}


def test_list_manifests__few_without_digest(memory: ObjectStore):
    manifests = fill(memory, FEW)
    for _ in range(2):
        assert read(memory) == (manifests, {"list manifests": 1, "get manifests": FEW})


def test_list_manifests__reads_changed_manifests(store: ObjectStore):
    manifests = fill(store)
    read(store)
    manifests[3] = put(store, 3, value=7)
    store.delete(manifest_key(output(5)))
    manifests.append(put(store, DROPS))
    listing, calls = read(store)
    assert listing == [m for m in manifests if m.recipe.output != output(5)]
    assert calls == {"list manifests": 1, "get digests": 1, "get manifests": 2}


def test_list_manifests__many_changes_write_a_new_digest(memory: ObjectStore):
    fill(memory)
    read(memory)
    for number in range(DROPS):
        memory.delete(manifest_key(output(number)))
    manifests = [put(memory, 100 + number) for number in range(DROPS)]
    listing, calls = read(memory)
    assert listing == manifests
    assert calls["put digests"] == 1
    # It has no rows of deleted manifests.
    assert load_digest(memory, NAME).keys() == {manifest_key(m.recipe.output) for m in manifests}


def lose(store: ObjectStore) -> None:
    store.delete(digest_key(NAME))


def flip(store: ObjectStore) -> None:
    """Flip a bit before compressing, so that gzip's own checksum is right."""
    data = gzip.decompress(store.get(digest_key(NAME)))
    store.put(digest_key(NAME), gzip.compress(data.replace(b"flight-07", b"flight-01", 1)))


def cut(store: ObjectStore) -> None:
    store.put(digest_key(NAME), store.get(digest_key(NAME))[:-20])


def spoil(data: bytes) -> Callable[[ObjectStore], None]:
    return lambda store: store.put(digest_key(NAME), data)


@pytest.mark.parametrize(
    "harm",
    [lose, flip, cut, spoil(b""), spoil(b"no gzip"), spoil(gzip.compress(b"{}\n[]"))],
    ids=["lost", "flipped", "cut", "empty", "foreign", "other format"],
)
def test_list_manifests__missing_or_damaged_digest(
    memory: ObjectStore, harm: Callable[[ObjectStore], None]
):
    manifests = fill(memory)
    read(memory)
    harm(memory)
    listing, calls = read(memory)
    assert listing == manifests
    assert calls["get manifests"] == DROPS
    assert read(memory) == (manifests, {"list manifests": 1, "get digests": 1})


def test_list_manifests__older_digest_is_restored(memory: ObjectStore):
    """For example from a backup, or from a writer that began long ago."""
    fill(memory)
    read(memory)
    older_digest = memory.get(digest_key(NAME))
    manifests = [put(memory, number, value=9) for number in range(DROPS)]
    read(memory)
    memory.put(digest_key(NAME), older_digest)
    assert read(memory)[0] == manifests


def test_list_manifests__digest_cannot_be_written(memory: ObjectStore):
    manifests = fill(memory)

    def refuse(verb: str, key: str) -> None:
        if verb == "put":
            raise StoreFullError("full, for the test", key=key)

    for _ in range(2):
        assert list_manifests(WatchedStore(memory, before=refuse), "things", "space1") == manifests
    assert not list(memory.list("digests"))


def test_list_manifests__replaced_between_listing_and_reading(store: ObjectStore):
    """A manifest newer than its listed stamp does not become a row of the digest."""
    fill(store)
    old_objects = {info.key: store.get(info.key) for info in store.list("manifests")}
    key = manifest_key(output(4))
    replacements: list[Manifest] = []

    def replace_one(verb: str, at: str) -> None:
        if verb == "get" and at == key and not replacements:
            replacements.append(put(store, 4, value=5))

    listing = list_manifests(WatchedStore(store, before=replace_one), "things", "space1")
    assert listing[4] == replacements[0]
    assert key not in load_digest(store, NAME)
    store.put(key, old_objects[key])
    assert read(store)[0][4] == read_manifest(store, output(4)) != replacements[0]


class Undated(WatchedStore):
    """A store without ETags."""

    def list(self, prefix: str = ""):
        return (replace(info, etag=None) for info in super().list(prefix))


def test_list_manifests__server_without_etags(memory: ObjectStore):
    manifests = fill(memory)
    for _ in range(2):
        assert list_manifests(Undated(memory), "things", "space1") == manifests
    assert load_digest(memory, NAME) == {}


def test_list_manifests__damaged_manifest_is_an_error_every_time(memory: ObjectStore):
    fill(memory)
    read(memory)
    memory.put(manifest_key(output(2)), b"rot")
    for _ in range(2):
        with pytest.raises(CorruptObjectError, match="flight-02"):
            read(memory)
    put(memory, 2)
    assert len(read(memory)[0]) == DROPS


def test_list_manifests__digest_has_no_bits_flipped_in_transit(memory: ObjectStore):
    manifests = fill(memory)
    assert list_manifests(FlippingStore(memory, times=1), "things", "space1") == manifests
    assert read(memory) == (manifests, {"list manifests": 1, "get digests": 1})


def test_list_manifests__unavailable_store_is_an_error(memory: ObjectStore):
    fill(memory)
    with pytest.raises(OSError, match="down, for the test"):
        list_manifests(WatchedStore(memory, before=fail), "things", "space1")


def test_list_manifests__two_readers_write_digests_at_once(memory: ObjectStore):
    """The last digest wins, and every reader sees the committed manifests."""
    manifests = fill(memory)
    inner_listings: list[list[Manifest]] = []

    def read_too(verb: str, key: str) -> None:
        if verb == "put" and key == digest_key(NAME) and not inner_listings:
            manifests.append(put(memory, DROPS))
            inner_listings.append(read(memory)[0])

    outer_listing = list_manifests(WatchedStore(memory, before=read_too), "things", "space1")
    assert (outer_listing, inner_listings[0]) == (manifests[:-1], manifests)
    assert read(memory) == (manifests, {"list manifests": 1, "get digests": 1, "get manifests": 1})


def test_get_tagged__etag_belongs_to_the_bytes(store: ObjectStore):
    store.put("a/b", b"1")
    (info,) = store.list("a")
    assert isinstance(info, ObjectInfo)
    assert store.get_tagged("a/b") == (b"1", info.etag)
    store.put("a/b", b"2")
    data, etag = store.get_tagged("a/b")
    (later_info,) = store.list("a")
    assert (data, etag) == (b"2", later_info.etag)
    assert etag != info.etag


def test_verify__only_repair_deletes_digests_and_indexes(memory: ObjectStore):
    manifests = fill(memory)
    read(memory)
    add_row(memory, "things", ("a", "b"), list)
    caches = {info.key for area in ("digests", "indexes") for info in memory.list(area)}
    assert len(caches) == 2
    assert list(verify(memory)) == []
    collection = collect(memory, min_age=timedelta(0))
    assert (collection.parts, collection.receipts, collection.staging) == ([], [], [])
    assert caches <= contents(memory).keys()
    assert list(verify(memory, should_repair=True)) == []
    assert not caches & contents(memory).keys()
    assert read(memory)[0] == manifests


def test_collect__digest_is_not_a_reference(memory: ObjectStore):
    """Only manifests decide which parts are kept."""
    manifests = fill(memory)
    read(memory)
    memory.delete(manifest_key(output(3)))
    collection = collect(memory, now=datetime.now(UTC) + timedelta(days=1), min_age=timedelta(0))
    assert collection.parts == [part.key for part in manifests[3].parts]
