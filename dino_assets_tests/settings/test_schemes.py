"""The table of storage addresses, extended by a row and an opener."""

from dataclasses import replace

import pytest
from obstore.store import MemoryStore

from dino_assets.definitions import make_storage
from dino_assets.drops.registering import register_drop
from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.opening import open_source
from dino_assets.errors import ConfigError
from dino_assets.settings.environment import load_settings, resolve_storage
from dino_assets.settings.urls import SCHEMES, Scheme, find_scheme, is_bucket_url
from dino_assets.store.backends import OPENERS
from dino_assets.store.buckets import create_bucket
from dino_assets.store.objects import open_store
from dino_assets_tests.worlds.raising import raising


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A kind of storage that this package does not have, added to the table."""
    bucket = MemoryStore()
    monkeypatch.setitem(SCHEMES, "gs", Scheme("google", "gs://bucket"))
    monkeypatch.setitem(OPENERS, "google", lambda settings, **address: bucket)
    return bucket


def test_schemes__row_and_opener_add_a_kind_of_storage(google, tmp_path):
    settings = resolve_storage("gs://photos/in", root=tmp_path)
    store = open_store(settings)
    store.put("a.jpg", b"x")
    assert store.url == "gs://photos/in"
    # It may be an inbox, and a drop keeps its address unchanged.
    source = open_source("gs://photos/in", root=tmp_path)
    assert isinstance(source, BucketSource)
    assert source.read("a.jpg") == b"x"
    drop, _ = register_drop(store, "flight", source="gs://photos/in", root=tmp_path)
    assert drop.source == "gs://photos/in"
    storage, s3 = make_storage(replace(load_settings(tmp_path), storage=settings))
    assert (storage.url, s3) == ("gs://photos/in", None)
    with raising(ConfigError, reason="no-bucket"):  # only S3 buckets can be created
        create_bucket(settings)


def test_schemes__messages_list_an_added_kind(google, tmp_path):
    with pytest.raises(ConfigError, match=r"begins with s3://, minio://, az://, gs://$"):
        open_source("ftp://card", root=tmp_path)


def test_find_scheme__by_the_text_before_the_slashes():
    assert find_scheme("minio://b").alias_of == "s3"
    assert find_scheme("data") is find_scheme("ftp://b") is find_scheme("file:///a") is None
    addresses = ["s3://b", "minio://b", "az://b", "memory://", "data"]
    assert [is_bucket_url(url) for url in addresses] == [True, True, True, False, False]


@pytest.mark.parametrize("name", SCHEMES)
def test_schemes__every_backend_has_an_opener(name: str):
    assert SCHEMES[name].backend in OPENERS
