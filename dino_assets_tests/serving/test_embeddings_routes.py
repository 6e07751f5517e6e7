"""Routes to read and delete embeddings: ETags, ranges, audit records."""

import io
from collections import Counter

import httpx
import numpy as np
import pytest

from dino_assets.errors import ObjectNotFoundError
from dino_assets.serving.answering import find_range
from dino_assets.serving.keeping import embedding_store
from dino_assets.serving.problems import Problem
from dino_assets.store.commits.sealing import unseal
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.serving import Served
from dino_assets_tests.worlds.store_doubles import FlippingStore

PHOTO = photo_bytes(200, 200, kind="PNG")  # 576 tiles


@pytest.fixture
def served(serve: Serve, store) -> Served:
    """A service on every kind of store."""
    return serve(store=store)


@pytest.fixture
def path(served: Served) -> str:
    return f"/embeddings/{served.embed(PHOTO).json()['id']}"


def stored(served: Served, path: str) -> bytes:
    return served.running.store.get(f"embed_{path.rpartition('/')[2]}.npz")


def actions(served: Served) -> Counter[str]:
    store = served.running.store
    records = [unseal(store.get(info.key), store="", key="") for info in store.list("audit")]
    return Counter(each["action"] for each in records)


def test_read__the_file_as_it_was_written(served, path):
    answer = served.client.get(path)
    assert answer.status_code == 200
    assert answer.content == stored(served, path)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-embedding-expires"]
    assert "embed_" in answer.headers["content-disposition"]
    with np.load(io.BytesIO(answer.content)) as arrays:
        assert arrays["embeddings"].shape == (576, 4, 3)


def test_read__matching_etag_sends_nothing(served, path):
    etag = served.client.get(path).headers["etag"]
    assert etag.startswith('"')
    for etags in (etag, f'"other", W/{etag}', "*"):
        answer = served.client.get(path, headers={"if-none-match": etags})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert served.client.get(path, headers={"if-none-match": '"other"'}).status_code == 200
    assert actions(served) == {"extract": 1, "read": 2}


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-5", slice(5, 6)),
        ("bytes=0-99999999", slice(0, None)),
        ("BYTES = 3 - 4", slice(3, 5)),
    ],
)
def test_read__ranges(served, path, asked, part):
    data = stored(served, path)
    answer = served.client.get(path, headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == data[part]
    start, end, _ = part.indices(len(data))
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(data)}"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "lines=0-1", "bytes=x-y", "bytes=-", "bytes=9-3"]
)
def test_read__invalid_or_several_ranges_send_the_whole_file(served, path, asked):
    answer = served.client.get(path, headers={"range": asked})
    assert (answer.status_code, len(answer.content)) == (200, len(stored(served, path)))


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_read__range_after_the_end(served, path, asked):
    answer = served.client.get(path, headers={"range": asked})
    assert (answer.status_code, answer.json()["slug"]) == (416, "range-not-satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(stored(served, path))}"


def test_read__if_range_of_an_older_file_sends_the_whole_file(served, path):
    etag = served.client.get(path).headers["etag"]
    same_answer = served.client.get(path, headers={"range": "bytes=0-9", "if-range": etag})
    assert same_answer.status_code == 206
    other_answer = served.client.get(path, headers={"range": "bytes=0-9", "if-range": '"other"'})
    assert other_answer.status_code == 200


def test_read__head_has_no_body_and_leaves_no_record(served, path):
    answer = served.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(stored(served, path))
    assert actions(served) == {"extract": 1}


def test_read__first_bytes_hold_the_small_arrays(served, path):
    """The small arrays can be read without the rest of the file."""
    answer = served.client.get(path, headers={"range": "bytes=0-65535"})
    assert answer.content.startswith(b"PK\x03\x04")
    assert b"cls.npy" in answer.content[:60]


def test_read__in_pieces(serve: Serve, local_store, monkeypatch):
    monkeypatch.setattr(embedding_store, "PIECE_BYTES", 1000)
    served = serve()
    path = f"/embeddings/{served.embed(PHOTO).json()['id']}"
    data = stored(served, path)
    assert served.client.get(path).content == data
    assert served.client.get(path, headers={"range": "bytes=10-5009"}).content == data[10:5010]


def test_read__changed_bytes_cut_the_answer_off(serve: Serve, local_store, monkeypatch):
    monkeypatch.setattr(embedding_store, "PIECE_BYTES", 1000)
    served = serve()
    path = f"/embeddings/{served.embed(PHOTO).json()['id']}"
    data = bytearray(stored(served, path))
    data[5000] ^= 1
    local_store.put(f"embed_{path.rpartition('/')[2]}.npz", bytes(data))
    with pytest.raises(httpx.RemoteProtocolError):  # cut off before its last piece
        served.client.get(path)
    monkeypatch.setattr(embedding_store, "PIECE_BYTES", 10**9)
    assert served.client.get(path).json()["slug"] == "damaged"


def test_read__missing_file(served, path):
    served.running.store.delete(f"embed_{path.rpartition('/')[2]}.npz")
    answer = served.client.get(path)
    assert (answer.status_code, answer.json()["slug"]) == (404, "no-embedding")


def test_delete__removes_all_but_the_audit_records(served, path):
    assert served.client.delete(path).status_code == 204
    for request in (served.client.get, served.client.delete):
        assert (request(path).status_code, request(path).json()["slug"]) == (404, "no-embedding")
    store = served.running.store
    assert {info.key.partition("/")[0] for info in store.list()} == {"audit"}
    assert actions(served) == {"extract": 1, "delete": 1}
    answer = served.embed(PHOTO).json()
    assert answer["id"] == path.rpartition("/")[2]
    assert served.client.get(path).status_code == 200
    assert actions(served) == {"extract": 2, "delete": 1, "read": 1}


def test_delete__removes_a_file_without_sidecar(served, path):
    """A killed request leaves a file without a sidecar; it is personal data and can be deleted."""
    key = path.rpartition("/")[2]
    served.running.store.delete(f"embed_{key}.json")
    assert served.client.get(path).status_code == 404
    assert served.client.delete(path).status_code == 204
    with pytest.raises(ObjectNotFoundError):
        served.running.store.head(f"embed_{key}.npz")
    assert actions(served) == {"extract": 1, "delete": 1}


def test_audit__records_caller_action_and_time(served, path):
    served.client.get(path)
    store = served.running.store
    for info in store.list("audit"):
        record = unseal(store.get(info.key), store="", key="")
        assert record["embedding_id"] == path.rpartition("/")[2]
        assert record["by"] == "anybody"
        assert record["time"].endswith("Z")
        assert info.key.split("/")[1] == record["time"][:10]
        assert record["request_id"] in info.key
        assert "photo.png" not in str(record)


def test_find_range__sizes():
    assert find_range("", 10) is None
    assert find_range("bytes=2-", 10) == (2, 8)
    assert find_range("bytes=-20", 10) == (0, 10)
    with raising(Problem, slug="range-not-satisfiable"):
        find_range("bytes=10-", 10)


def test_embedding_store__rereads_a_sidecar_after_a_flipped_bit(served, path):
    embedding_id, store = path.rpartition("/")[2], served.running.store
    flipping_store = embedding_store.EmbeddingStore(
        FlippingStore(store, times=1), retention_days=90
    )
    assert flipping_store.open(embedding_id) == served.service.embeddings.open(embedding_id)
