"""A bucket prefix as a source."""

import itertools
import shutil
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import fingerprint
from dino_assets.errors import DiskFullError, SourceError, StoreError
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import s3_settings
from dino_assets_tests.worlds.cards import count_open_files, listing
from dino_assets_tests.worlds.raising import raising


@pytest.fixture
def bucket(s3_endpoint: str, tmp_path: Path):
    """An empty bucket, a function that uploads as other tools do, and its source."""
    import boto3

    settings = s3_settings(s3_endpoint, tmp_path)
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="test-access",
        aws_secret_access_key="test-secret",
    )

    def upload(*keys: str, prefix: str = "some/prefix/", body: bytes | None = None) -> None:
        for key in keys:
            data = key.encode() if body is None else body
            client.put_object(Bucket=settings.url.split("/")[2], Key=prefix + key, Body=data)

    yield upload, BucketSource(open_store(settings))
    client.close()


def test_bucket__keys_written_by_other_tools(bucket):
    upload, source = bucket
    keys = [
        "100MEDIA/DJI_0001.JPG", "101MEDIA/DJI_0001.JPG", "a b.jpg", "ü/文.jpg", "x#1.jpg", "50%.jpg",
        "per%20cent.jpg", "a+b.jpg", "q?.jpg", "[1].jpg", "{x}.jpg", "~t.jpg", "*.jpg", "a\\b.jpg",
    ]  # fmt: skip
    upload(*keys)
    upload("outside.jpg", prefix="some/")
    upload("beside.jpg", prefix="some/prefix-2/")
    assert listing(source) == dict.fromkeys(keys)
    assert [source.read(key).decode() for key in keys] == keys
    assert {e.path: e.size for e in source.entries()} == {k: len(k.encode()) for k in keys}


@pytest.mark.slow
def test_bucket__more_keys_than_a_page(bucket):
    upload, source = bucket
    keys = [f"{number:04d}.jpg" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, keys))
    assert [entry.path for entry in source.entries()] == keys


def test_bucket__a_folder_marker_is_no_photograph(bucket):
    upload, source = bucket
    upload("100MEDIA/", body=b"")
    upload("100MEDIA/a.jpg")
    assert {e.path: e.size for e in source.entries()} == {"100MEDIA": 0, "100MEDIA/a.jpg": 14}


def test_bucket__empty(bucket):
    assert bucket[1].entries() == []


def test_bucket__object_deleted_after_listing(bucket):
    with raising(SourceError, reason="missing", path="a.jpg"):
        bucket[1].read("a.jpg")


@pytest.mark.parametrize("key", ["a//b.jpg", "./a.jpg", "x/../a.jpg", "a\tb.jpg", "a - b//c.jpg"])
def test_bucket__invalid_key_is_named(bucket, key: str):
    bucket[0]("good.jpg", key)
    with raising(SourceError, reason="odd-key") as caught:
        bucket[1].entries()
    if " - " in key:  # obstore's text is cut there
        assert "some/prefix/a" in caught.value.path
    else:
        assert caught.value.path == f"some/prefix/{key}"


def test_bucket__fingerprint_follows_the_content(bucket):
    upload, source = bucket
    upload("a.jpg", body=b"one")
    first_fingerprint = fingerprint(source.entries())
    upload("a.jpg", body=b"one")
    assert fingerprint(source.entries()) == first_fingerprint  # the ETag is the content's
    upload("a.jpg", body=b"two")
    assert fingerprint(source.entries()) != first_fingerprint


def test_bucket__no_such_bucket(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    source = open_source("minio://there-is-none/x", root=tmp_path)
    with raising(StoreError, reason="no-bucket"):
        source.entries()


def test_bucket__labels_and_open_file(bucket, tmp_path: Path):
    upload, source = bucket
    upload("wheat/a.jpg", "b.jpg")
    assert {e.path: e.label for e in source.entries()} == {"wheat/a.jpg": "wheat", "b.jpg": None}
    source.scratch = tmp_path / "scratch"
    source.scratch.mkdir()
    open_files = count_open_files()
    with source.open_file("wheat/a.jpg") as file:
        assert file.read_bytes() == b"wheat/a.jpg"
        assert file.stat().st_size == 11
        assert list(source.scratch.iterdir()) == []  # nothing to be left behind
    assert count_open_files() <= open_files + 1  # a pooled connection
    with (
        raising(SourceError, reason="missing", path="gone.jpg"),
        source.open_file("gone.jpg"),
    ):
        pass
    assert source.read("b.jpg", max_bytes=5) == b"b.jpg"
    with raising(SourceError, reason="too-large", path="b.jpg"):
        source.read("b.jpg", max_bytes=4)


class Chunked(ObjectStore):
    """A store whose objects come in 64 chunks of a MiB, as from a network."""

    def stream(self, key: str) -> Iterator[bytes]:
        return itertools.repeat(bytes(2**20), 64)


def test_bucket__large_object_in_memory_once():
    source = BucketSource(Chunked.in_memory())
    tracemalloc.start()
    try:
        data = source.read("a.tif")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(data) is bytes
    assert len(data) == 64 * 2**20
    assert peak < 1.3 * len(data)


class Unread(ObjectStore):
    """A store that nothing may be fetched from."""

    def stream(self, key: str) -> Iterator[bytes]:
        pytest.fail(f"{key} was fetched in vain")


def test_bucket__open_file_on_a_full_disk(small_disk: Path):
    size = 3 * 2**20
    unread_store = Unread.in_memory()
    unread_store.put("a.tif", bytes(size))
    with (
        raising(DiskFullError, needed_bytes=size, free_bytes=shutil.disk_usage(small_disk).free),
        BucketSource(unread_store, scratch=small_disk).open_file("a.tif"),
    ):
        pass
    # Somebody else takes the room meanwhile.
    store = ObjectStore.in_memory()
    store.put("a.tif", bytes(size))
    source = BucketSource(store, scratch=small_disk, measure_free=lambda folder: 10**12)
    open_files = count_open_files()
    with raising(DiskFullError, needed_bytes=size, match="set TMPDIR"), source.open_file("a.tif"):
        pass
    assert count_open_files() == open_files
