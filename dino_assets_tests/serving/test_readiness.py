"""Readiness: model, store and inference, and the answers while something is missing."""

import threading
import time

import pytest

from dino_assets.errors import (
    EngineRefusedError,
    StoreAccessError,
    StoreFullError,
    StoreUnavailableError,
)
from dino_assets.serving.readiness import OVERDUE_S, PROBE_LIMIT_S, StoreProbe, find_overdue_s
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.objects import open_store
from dino_assets_tests.conftest import photo_bytes, s3_settings
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.servers import HOST, free_port
from dino_assets_tests.worlds.serving import Absent, Painter, form_request, make_service, wait_until

PHOTO = photo_bytes(40, 40, kind="PNG")


def ready(served) -> tuple[int, str]:
    answer = served.client.get("/ready")
    return answer.status_code, answer.json().get("detail", "")


def test_ready__not_before_the_numerics_check(serve: Serve, tmp_path, local_store):
    """`/health` answers meanwhile; uploads are refused with Retry-After."""
    gate = threading.Event()

    def open_it(settings, store):
        assert gate.wait(30)
        return make_service(Painter(), store, tmp_path)

    served = serve(open_it=open_it, wait=False)
    assert served.client.get("/health").json()["status"] == "ok"
    assert ready(served) == (503, "the model is being loaded and checked")
    answer = served.embed(PHOTO)
    assert (answer.status_code, answer.json()["slug"]) == (503, "not-ready")
    assert answer.headers["retry-after"] == "5"
    gate.set()
    wait_until(lambda: ready(served)[0] == 200)
    assert served.embed(PHOTO).status_code == 200


def test_ready__never_after_a_failed_numerics_check(serve: Serve, caplog):
    def open_it(settings, store):
        raise EngineRefusedError("no engine computes it as it should")

    served = serve(open_it=open_it, wait=False)
    wait_until(lambda: served.running.opening.fault)
    assert ready(served)[0] == 503
    for detail in (ready(served)[1], served.embed(PHOTO).json()["detail"]):
        assert "EngineRefusedError" in detail
        assert (
            "as it should" not in detail
        )  # the error's text may contain paths: only the log has it
    assert "no engine computes it as it should" in caplog.text
    assert served.client.get("/health").status_code == 200


def test_ready__not_while_an_inference_is_overdue(serve: Serve):
    """With a hanging engine the process still answers, and is not ready."""
    engine = Painter(is_held=True)
    served = serve(engine)
    served.running.overdue_s = 0.2
    assert ready(served)[0] == 200
    with served.connect() as line:
        line.sendall(form_request(PHOTO))
        wait_until(lambda: ready(served)[0] == 503)
        assert "a model call has not ended for" in ready(served)[1]
        assert served.client.get("/health").status_code == 200
        assert "dino_ready 0.0" in served.client.get("/metrics").text
        engine.gate.set()
        wait_until(lambda: ready(served)[0] == 200)


def test_find_overdue_s__depends_on_a_tiles_seconds():
    assert find_overdue_s(0.1) == OVERDUE_S
    assert find_overdue_s(10) == 200


@pytest.fixture
def absent(local_store) -> Absent:
    return Absent(local_store)


def test_ready__not_while_the_store_is_unreachable(
    serve: Serve, absent: Absent, monkeypatch, caplog
):
    monkeypatch.setattr("dino_assets.serving.readiness.PROBE_EVERY_S", 0.0)
    served = serve(store=absent)
    assert ready(served)[0] == 200
    absent.fault = StoreUnavailableError("down, for the test")
    wait_until(lambda: ready(served)[0] == 503)
    assert "StoreUnavailableError" in ready(served)[1]
    assert caplog.text.count("down, for the test") == 1
    absent.fault = None
    wait_until(lambda: ready(served)[0] == 200)


def test_probe__a_store_that_hangs(absent: Absent):
    clock = [100.0]
    absent.hanging.clear()
    probe = StoreProbe(absent, now=lambda: clock[0])
    assert probe.look() is None  # the first check still runs
    clock[0] += PROBE_LIMIT_S + 1
    assert "has not answered for 4 s" in (probe.look() or "")
    assert threading.active_count() < 30
    absent.hanging.set()
    wait_until(lambda: probe.look() == "")


def test_probe__checks_at_intervals(absent: Absent):
    clock, keys = [100.0], []
    head = absent.head
    absent.head = lambda key: (keys.append(key), head(key))[1]  # type: ignore[method-assign]
    probe = StoreProbe(absent, now=lambda: clock[0])
    wait_until(lambda: probe.look() == "")
    for _ in range(10):
        probe.look()
    assert len(keys) == 1
    clock[0] += 6
    wait_until(lambda: probe.look() == "" and len(keys) == 2)


@pytest.mark.parametrize(
    ("fault", "slug"),
    [
        (StoreUnavailableError("x"), "store-unavailable"),
        (StoreAccessError("x"), "store-refused"),
        (StoreFullError("x"), "store-full"),
    ],
)
def test_embed__a_store_that_fails(serve: Serve, absent: Absent, fault, slug):
    served = serve(store=absent)
    absent.fault = fault
    answer = served.embed(PHOTO)
    assert (answer.status_code, answer.json()["slug"]) == (503, slug)
    assert int(answer.headers["retry-after"]) > 0
    absent.fault = None
    assert served.embed(PHOTO).status_code == 200


def names_doctor(answer) -> bool:
    return "dino-assets doctor" in answer.json()["detail"]


def test_embed__missing_bucket(serve: Serve, s3_endpoint, tmp_path):
    storage = s3_settings(s3_endpoint, tmp_path)
    storage = type(storage)(**{**vars(storage), "url": "minio://no-such-bucket-of-ours"})
    answer = serve(store=open_store(storage)).embed(PHOTO)
    assert (answer.status_code, answer.json()["slug"]) == (503, "store-refused")
    assert "doctor --create-bucket" in answer.json()["detail"]


def test_embed__unreachable_server(serve: Serve, tmp_path):
    storage = StorageSettings(
        url="minio://some-bucket",
        root=tmp_path,
        endpoint=f"http://{HOST}:{free_port()}",
        access_key="a",
        secret_key="b",
        limits=RequestLimits(connect_s=1, retries=0, retry_for_s=1),
    )
    served = serve(store=open_store(storage))
    started = time.monotonic()
    answer = served.embed(PHOTO)
    assert (answer.status_code, answer.json()["slug"]) == (503, "store-unavailable")
    assert names_doctor(answer)
    assert answer.headers["retry-after"]
    assert time.monotonic() - started < 30
    assert ready(served)[0] == 503
    assert served.client.get("/health").status_code == 200
