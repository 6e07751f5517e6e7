"""Buckets and bounds."""

import hashlib
import itertools
import os
import shutil
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from dino_assets.drops.records import SourceEntry
from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import fingerprint
from dino_assets.errors import DiskFullError, SourceError, StoreError
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import s3_settings
from dino_assets_tests.worlds.source_files import (
    count_open_files,
    listing,
    put,
    remove,
    replace_by_folder,
    replace_by_link,
    replace_by_pipe,
    replace_parent_by_link,
)


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


def test_bucket__keys_as_other_tools_write_them(bucket):
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
    upload(*keys)
    assert [entry.path for entry in source.entries()] == keys


def test_bucket__a_folder_marker_is_no_photograph(bucket):
    upload, source = bucket
    upload("100MEDIA/", body=b"")
    upload("100MEDIA/a.jpg")
    assert {e.path: e.size for e in source.entries()} == {"100MEDIA": 0, "100MEDIA/a.jpg": 14}


def test_bucket__empty(bucket):
    assert bucket[1].entries() == []


def test_bucket__gone_since_the_listing(bucket):
    with pytest.raises(
        SourceError, match=r"^cannot read 'a\.jpg': there is no such object any more"
    ):
        bucket[1].read("a.jpg")


@pytest.mark.parametrize("key", ["a//b.jpg", "./a.jpg", "x/../a.jpg", "a\tb.jpg", "a - b//c.jpg"])
def test_bucket__a_key_that_cannot_be_a_path_is_named(bucket, key: str):
    bucket[0]("good.jpg", key)
    with pytest.raises(SourceError, match=r"Rename or remove this object\.$") as caught:
        bucket[1].entries()
    if " - " in key:  # obstore's text is cut there
        assert "some/prefix/a" in str(caught.value)
    else:
        assert f"because of the key {'some/prefix/' + key!r}: " in str(caught.value)


def test_bucket__fingerprint_follows_the_content(bucket):
    upload, source = bucket
    upload("a.jpg", body=b"one")
    before = fingerprint(source.entries())
    upload("a.jpg", body=b"one")
    assert fingerprint(source.entries()) == before  # the ETag is the content's
    upload("a.jpg", body=b"two")
    assert fingerprint(source.entries()) != before


def test_bucket__no_such_bucket(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    source = open_source("minio://there-is-none/x", root=tmp_path)
    with pytest.raises(StoreError, match="the bucket does not exist"):
        source.entries()


def test_fingerprint__every_field_counts():
    entry = SourceEntry("a", 1, "2")
    others = [
        [],
        [SourceEntry("b", 1, "2")],
        [SourceEntry("a", 2, "2")],
        [SourceEntry("a", 1, "3")],
        [SourceEntry("a", 1, "2", "link")],
        [entry, entry],
        [SourceEntry("a", 12, "")],
        [SourceEntry("a\n", 1, "2")],
    ]
    found = {fingerprint(entries) for entries in [[entry], *others]}
    assert len(found) == 1 + len(others)
    assert fingerprint(iter([entry])) == fingerprint([entry])


def test_fingerprint__changes_when_anything_changes(card: Path):
    put(card, "a.jpg", "sub/b.jpg")
    source = FolderSource(card, shown="card")
    seen = {fingerprint(source.entries())}
    assert fingerprint(source.entries()) in seen

    def is_new() -> bool:
        found = fingerprint(source.entries())
        if found in seen:
            return False
        seen.add(found)
        return True

    put(card, "c.jpg")
    assert is_new()
    (card / "c.jpg").rename(card / "d.jpg")
    assert is_new()
    os.utime(card / "a.jpg", ns=(1, 1))
    assert is_new()
    (card / "a.jpg").write_bytes(b"longer than before")
    os.utime(card / "a.jpg", ns=(1, 1))
    assert is_new()
    (card / "d.jpg").unlink()
    assert is_new()
    (card / "e.jpg").symlink_to("a.jpg")
    assert is_new()
    put(card, "notes.txt")  # not a photograph, still a sign that the copy goes on
    assert is_new()
    assert not is_new()


def test_fingerprint__does_not_depend_on_the_place(card: Path, tmp_path: Path):
    put(card, "a.jpg", "sub/b.jpg")
    before = fingerprint(FolderSource(card, shown="card").entries())
    card.rename(tmp_path / "moved")
    assert fingerprint(FolderSource(tmp_path / "moved", shown="x").entries()) == before


def test_folder__labels_are_the_top_folders(card: Path):
    put(card, "wheat/a.jpg", "wheat/north/b.jpg", "rye/a.jpg", "top.jpg", "x/100MEDIA/c.jpg")
    labels = {e.path: e.label for e in FolderSource(card, shown="card").entries()}
    assert labels == {
        "wheat/a.jpg": "wheat", "wheat/north/b.jpg": "wheat", "rye/a.jpg": "rye", "top.jpg": None,
        "x/100MEDIA/c.jpg": None,
    }  # fmt: skip
    assert all(e.metadata is None for e in FolderSource(card, shown="card").entries())


def test_folder__open_file(card: Path):
    put(card, "100MEDIA/a.jpg")
    source = FolderSource(card, shown="card")
    opened = count_open_files()
    with source.open_file("100MEDIA/a.jpg") as file:
        (card / "100MEDIA" / "a.jpg").unlink()  # what was opened stays
        assert file.read_bytes() == file.read_bytes() == b"100MEDIA/a.jpg"
    assert count_open_files() == opened


@pytest.mark.parametrize(
    "change",
    [replace_by_link, replace_by_pipe, replace_by_folder, replace_parent_by_link, remove],
)
def test_folder__open_file_of_what_was_replaced(card: Path, change: Callable[[Path], None]):
    put(card, "100MEDIA/a.jpg")
    change(card / "100MEDIA" / "a.jpg")
    opened = count_open_files()
    with (
        pytest.raises(SourceError, match=r"^cannot read '100MEDIA/a\.jpg': "),
        FolderSource(card, shown="card").open_file("100MEDIA/a.jpg"),
    ):
        pass
    assert count_open_files() == opened


def test_folder__read_is_bounded(card: Path):
    put(card, "12345")
    source = FolderSource(card, shown="card")
    assert source.read("12345", max_bytes=5) == b"12345"
    with pytest.raises(SourceError, match=r"^cannot read '12345': it has more than 4 bytes$"):
        source.read("12345", max_bytes=4)


def test_folder__a_file_that_tells_no_size_is_read():
    source = FolderSource(Path("/proc/self").resolve(), shown="x")
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    assert source.read("status").startswith(b"Name:")
    with pytest.raises(SourceError, match="more than 10 bytes"):
        source.read("status", max_bytes=10)


def test_folder__a_folder_replaced_by_a_link_while_it_is_listed(
    card: Path, monkeypatch: pytest.MonkeyPatch
):
    put(card, "sub/a.jpg", "z.jpg")
    put(card.parent / "outside", "secret-name.jpg")
    source = FolderSource(card, shown="card")
    opening = source._open_folder

    def swap(folder: str) -> int:
        if folder == "sub/":
            (card / "sub").rename(card.parent / "moved")
            (card / "sub").symlink_to(card.parent / "outside")
        return opening(folder)

    monkeypatch.setattr(source, "_open_folder", swap)
    opened = count_open_files()
    assert listing(source) == {"sub/": "unreadable", "z.jpg": None}
    assert count_open_files() == opened


def test_folder__a_device_is_listed_and_not_opened(card: Path):
    try:
        os.mknod(card / "null.jpg", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device needs root")
    source = FolderSource(card, shown="card")
    assert listing(source) == {"null.jpg": "special-file"}
    with pytest.raises(SourceError, match="not a regular file"):
        source.read("null.jpg")


def test_folder__the_strangest_names(card: Path):
    names = ["a\x01\x1b[31m.jpg", "trailing .jpg ", "\t.jpg", "x" * 251 + ".jpg", "é.jpg", "e\u0301.jpg",
             "\u202egpj.exe.jpg", "...jpg", "\\.jpg"]  # fmt: skip
    put(card, *names)
    os.link(card / "é.jpg", card / "hard link.jpg")
    source = FolderSource(card, shown="card")
    assert listing(source) == dict.fromkeys([*names, "hard link.jpg"])
    assert [source.read(name).decode() for name in names] == names
    assert source.read("hard link.jpg").decode() == "é.jpg"


def test_folder__a_zero_byte_is_no_name(card: Path):
    with pytest.raises(SourceError, match="no file has such a name"):
        FolderSource(card, shown="card").read("a\0.jpg")


def test_bucket__labels_and_open_file(bucket, tmp_path: Path):
    upload, source = bucket
    upload("wheat/a.jpg", "b.jpg")
    assert {e.path: e.label for e in source.entries()} == {"wheat/a.jpg": "wheat", "b.jpg": None}
    source.scratch = tmp_path / "scratch"
    source.scratch.mkdir()
    opened = count_open_files()
    with source.open_file("wheat/a.jpg") as file:
        assert file.read_bytes() == b"wheat/a.jpg"
        assert file.stat().st_size == 11
        assert list(source.scratch.iterdir()) == []  # nothing to be left behind
    assert count_open_files() <= opened + 1  # a pooled connection
    with (
        pytest.raises(SourceError, match=r"cannot read 'gone\.jpg': there is no such object"),
        source.open_file("gone.jpg"),
    ):
        pass
    assert source.read("b.jpg", max_bytes=5) == b"b.jpg"
    with pytest.raises(SourceError, match=r"'b\.jpg': it has more than 4 bytes"):
        source.read("b.jpg", max_bytes=4)


def test_bucket__a_large_object_is_held_once(monkeypatch: pytest.MonkeyPatch):
    chunk = bytes(2**20)
    source = BucketSource(ObjectStore.in_memory())
    monkeypatch.setattr(source.store, "stream", lambda key: itertools.repeat(chunk, 64))
    tracemalloc.start()
    try:
        data = source.read("a.tif")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(data) is bytes
    assert len(data) == 64 * 2**20
    assert peak < 1.3 * len(data)


def test_bucket__open_file_on_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch):
    store = ObjectStore.in_memory()
    store.put("a.tif", bytes(3 * 2**20))
    source = BucketSource(store, scratch=small_disk)
    with monkeypatch.context() as patched:
        patched.setattr(store, "stream", lambda key: pytest.fail("fetched in vain"))
        with pytest.raises(DiskFullError, match=r"'a\.tif' has 0\.00 GB") as caught:
            source.open_file("a.tif").__enter__()
    assert caught.value.needed_bytes == 3 * 2**20
    # Somebody else takes the room meanwhile.
    roomy = shutil.disk_usage("/")._replace(free=10**12)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: roomy)
    opened = count_open_files()
    with pytest.raises(DiskFullError, match="Make room, or set TMPDIR"):
        source.open_file("a.tif").__enter__()
    assert count_open_files() == opened


def test_fingerprint__as_it_was_before_there_were_labels():
    before = hashlib.sha256(b"wheat/a.jpg\x001\x002\x00\n").hexdigest()
    assert fingerprint([SourceEntry("wheat/a.jpg", 1, "2")]) == before
    assert fingerprint([SourceEntry("wheat/a.jpg", 1, "2", label="wheat")]) == before
