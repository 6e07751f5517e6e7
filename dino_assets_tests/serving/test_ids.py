"""Equal uploads: one inference, one address, and the store requests of a repeated one."""

import io
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from dino_assets.serving.keeping import embedding_store
from dino_assets.store.commits.sealing import unseal
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.serving import Painter, wait_until
from dino_assets_tests.worlds.store_doubles import ClockedStore, WatchedStore

PHOTO = photo_bytes(40, 40, kind="PNG")  # 16 tiles


@pytest.fixture
def asked(store: ObjectStore) -> "Asked":
    return Asked(store)


class Asked(WatchedStore):
    """A store of any kind that records its requests."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner, before=lambda verb, key: self.calls.append((verb, key)))
        self.calls: list[tuple[str, str]] = []

    def kinds(self) -> list[str]:
        """List each request's verb and the kind of its object."""
        return [
            f"{verb} {'audit' if key.startswith('audit/') else key.rpartition('.')[2]}"
            for verb, key in self.calls
            if not key.startswith("serving/")
        ]


def test_embed__writes_file_sidecar_and_audit_record_in_order(serve: Serve, asked: Asked):
    """On every kind of store: the file, the sidecar that commits it, the audit record."""
    served = serve(store=asked)
    assert served.embed(PHOTO).status_code == 200
    assert asked.kinds() == ["head json", "put npz", "put json", "put audit"]


def test_embed__a_retry_costs_one_head(serve: Serve, asked: Asked):
    engine = Painter()
    served = serve(engine, store=asked)
    first = served.embed(PHOTO)
    asked.calls.clear()
    second = served.embed(PHOTO)
    assert asked.kinds() == ["head json"]
    assert (second.status_code, second.content) == (200, first.content)
    assert sum(engine.calls) == 16


def test_embed__checks_the_audit_record_once_after_a_restart(serve: Serve, asked: Asked):
    first = serve(store=asked).embed(PHOTO)
    restarted_service = serve(store=asked)
    asked.calls.clear()
    assert restarted_service.embed(PHOTO).content == first.content
    assert asked.kinds() == ["head json", "get json", "head audit"]
    asked.calls.clear()
    assert restarted_service.embed(PHOTO).content == first.content
    assert asked.kinds() == ["head json"]


def test_embed__writes_an_audit_record_that_a_killed_process_did_not(serve: Serve, local_store):
    first = serve().embed(PHOTO).json()
    (record,) = [info.key for info in local_store.list("audit")]
    record_bytes = local_store.get(record)
    local_store.delete(record)
    assert serve().embed(PHOTO).json() == first
    assert local_store.get(record) == record_bytes


def test_embed__answers_with_each_requests_own_file_name(serve: Serve):
    served = serve()
    answer, other_answer = (served.embed(PHOTO, name).json() for name in ("a.png", "b.png"))
    assert [each["metadata"]["filename"] for each in (answer, other_answer)] == ["a.png", "b.png"]
    assert answer["embedding_uri"] == other_answer["embedding_uri"]


def test_embed__a_hundred_equal_uploads_at_once(serve: Serve, local_store):
    """One inference, one audit record, a hundred equal answers."""
    engine = Painter(is_held=True)
    served = serve(engine)
    with ThreadPoolExecutor(100) as clients:
        futures = [clients.submit(served.embed, PHOTO, "a.png") for _ in range(100)]
        computations = served.service._computations
        wait_until(lambda: sum(each.waiting for each in computations.values()) == 100)
        engine.gate.set()
        answers = [each.result() for each in futures]
    assert {each.status_code for each in answers} == {200}
    assert len({each.content for each in answers}) == 1
    assert sum(engine.calls) == 16
    assert len(list(local_store.list("audit"))) == 1


def test_embed__several_files_at_once_do_not_mix(serve: Serve, local_store):
    served = serve(Painter(threads=2))
    photos = [photo_bytes(40, 16, seed=seed, kind="PNG") for seed in range(12)]
    with ThreadPoolExecutor(12) as clients:
        answers = [each.json() for each in clients.map(served.embed, photos)]
    for photo, answer in zip(photos, answers, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(photo)))
        with np.load(io.BytesIO(local_store.get(f"embed_{answer['id']}.npz"))) as arrays:
            expected = pixels[:, 8:24].mean(axis=(0, 1)) / 255
            np.testing.assert_allclose(arrays["cls"][1], expected, atol=1e-3)
    assert len({answer["id"] for answer in answers}) == 12


def test_embed__two_services_write_equal_bytes(serve: Serve, local_store, tmp_path):
    answer = serve(Painter(threads=2)).embed(PHOTO).json()
    key = f"embed_{answer['id']}.npz"
    data = local_store.get(key)
    other_store = ObjectStore.in_memory()
    serve(Painter(shapes=(1, 4)), store=other_store).embed(PHOTO)
    assert other_store.get(key) == data


def test_embed__stores_nothing_after_a_failed_computation(serve: Serve, local_store):
    engine = Painter(fault=MemoryError("the driver's words"))
    served = serve(engine)
    answer = served.embed(PHOTO)
    assert (answer.status_code, answer.json()["slug"]) == (500, "internal-error")
    assert "driver" not in answer.text
    assert list(local_store.list()) == []
    engine.fault = None
    assert served.embed(PHOTO).status_code == 200


def test_embed__sidecar_has_content_and_expiry(serve: Serve, local_store):
    answer = serve().embed(PHOTO, "a.png").json()
    key = f"embed_{answer['id']}.json"
    sidecar = unseal(local_store.get(key), store="", key=key)
    assert {**sidecar["about"], "expires": sidecar["expires"]}.items() >= answer.items()
    assert sidecar["file_bytes"] == local_store.head(f"embed_{answer['id']}.npz").bytes
    created = datetime.fromisoformat(sidecar["created"])
    assert datetime.fromisoformat(sidecar["expires"]).date() == created.date() + timedelta(days=91)


def test_embed__replaces_an_expired_embedding(serve: Serve, local_store, monkeypatch):
    store, engine = ClockedStore(local_store), Painter()
    served = serve(engine, store=store)
    first = served.embed(PHOTO).json()
    store.age(timedelta(days=92))
    assert (
        served.client.get(f"/embeddings/{first['id']}").status_code == 200
    )  # this service's clock is still before the expiry
    served.service.embeddings._now = lambda: datetime.now(UTC) + timedelta(days=92)
    expired_answer = served.client.get(f"/embeddings/{first['id']}")
    assert (expired_answer.status_code, expired_answer.json()["slug"]) == (410, "expired")
    second = served.embed(PHOTO).json()
    assert second.pop("expires") > first.pop("expires")
    assert second == first
    assert sum(engine.calls) == 32
    assert served.client.get(f"/embeddings/{first['id']}").status_code == 200


def test_embed__another_process_replaces_a_damaged_sidecar(serve: Serve, local_store):
    answer = serve().embed(PHOTO).json()
    local_store.put(f"embed_{answer['id']}.json", b"{}")
    engine = Painter()
    served = serve(engine)
    assert served.client.get(f"/embeddings/{answer['id']}").json()["slug"] == "damaged"
    assert served.embed(PHOTO).json() == answer
    assert sum(engine.calls) == 16
    assert served.client.get(f"/embeddings/{answer['id']}").status_code == 200


def test_embed__stores_large_files_in_pieces(serve: Serve, store: ObjectStore, monkeypatch):
    monkeypatch.setattr(embedding_store, "WHOLE_BYTES", 1000)
    asked_store = Asked(store)
    answer = serve(store=asked_store).embed(photo_bytes(200, 200, kind="PNG"), dtype="fp32").json()
    assert Counter(asked_store.kinds())["put_chunks npz"] == 1
    with np.load(io.BytesIO(store.get(f"embed_{answer['id']}.npz"))) as arrays:
        assert arrays["embeddings"].shape == tuple(answer["shape"])


def test_embedding_store__limits_remembered_ids(local_store, monkeypatch):
    monkeypatch.setattr(embedding_store, "_MOST_REMEMBERED", 3)
    embeddings = embedding_store.EmbeddingStore(local_store, retention_days=1)
    threads = [threading.Thread(target=embeddings._remember, args=(str(n),)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(embeddings._audited) == 3
