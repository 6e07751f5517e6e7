"""Bits flipped in transit only: a second read succeeds, and a repair deletes nothing."""

import pytest

from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits.manifests import find_manifest, list_manifests, manifest_key
from dino_assets.store.commits.parts import fetch_part, read_part, verify_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.receipts import find_receipt
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.worlds.outputs import OUTPUT, contents, full_draft, local_file
from dino_assets_tests.worlds.store_doubles import FlippingStore

pytestmark = pytest.mark.usefixtures("two_rows_per_part")


@pytest.fixture
def manifest(store: ObjectStore, tmp_path) -> Manifest:
    return commit(store, full_draft(store, local_file(tmp_path))).manifest


def test_read__one_bit_flipped_in_transit_is_no_error(
    store: ObjectStore, manifest: Manifest, tmp_path
):
    def flipping() -> ObjectStore:
        return FlippingStore(store, times=1)

    assert find_manifest(flipping(), OUTPUT) == manifest
    assert list_manifests(flipping(), OUTPUT.asset, OUTPUT.space) == [manifest]
    assert find_receipt(flipping(), OUTPUT, "shard-1") == find_receipt(store, OUTPUT, "shard-1")
    for part in manifest.parts:
        assert read_part(flipping(), part) == store.get(part.key)
        fetch_part(flipping(), part, tmp_path / "fetched")
        assert (tmp_path / "fetched").read_bytes() == store.get(part.key)
        verify_part(flipping(), part)


def test_read__two_different_reads_are_an_unsteady_error(store: ObjectStore, manifest: Manifest):
    for read in (find_manifest, lambda store, _: read_part(store, manifest.parts[0])):
        with pytest.raises(CorruptObjectError) as caught:
            read(FlippingStore(store, times=2), OUTPUT)
        assert not caught.value.is_steady


def test_read__stored_damage_is_a_steady_error(store: ObjectStore, manifest: Manifest):
    for key in (manifest_key(OUTPUT), manifest.parts[0].key):
        store.put(key, b"something else")
    for read in (find_manifest, lambda store, _: read_part(store, manifest.parts[0])):
        with pytest.raises(CorruptObjectError) as caught:
            read(store, OUTPUT)
        assert caught.value.is_steady


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("records", [(), (OUTPUT.asset,)])
@pytest.mark.usefixtures("manifest")
def test_verify__repair_deletes_nothing_undamaged(store: ObjectStore, times, records):
    objects_before = contents(store)
    faults = list(verify(FlippingStore(store, times=times), should_repair=True, records=records))
    assert contents(store) == objects_before
    assert bool(faults) == (times > 1)
