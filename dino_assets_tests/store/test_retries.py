"""Retries of requests to a store, checked by counting requests."""

import queue
import threading
import time
from pathlib import Path

import pytest

from dino_assets.errors import StoreUnavailableError
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.worlds.answering import answer, answering
from dino_assets_tests.worlds.raising import raising

BODY = bytes(range(100))


FEW = RequestLimits(retries=2)
SHORT = RequestLimits(retries=2, stall_s=0.2)
# Enough retries for a response to arrive on a slow machine.
STUBBORN = RequestLimits(retries=30, stall_s=0.3)


def open_at(endpoint: str, limits: RequestLimits = FEW) -> ObjectStore:
    return open_store(
        StorageSettings(
            "s3://some-bucket", Path(), endpoint, access_key="a", secret_key="s", limits=limits
        )
    )


def answer_range(handler) -> None:
    """Send the whole body, or the requested range of it."""
    requested_range = handler.headers.get("Range")
    if requested_range is None:
        return answer(handler, 200, BODY)
    start = int(requested_range.removeprefix("bytes=").partition("-")[0])
    content_range = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
    return answer(handler, 206, BODY[start:], Content_Range=content_range)


@pytest.mark.parametrize("code", [500, 503, 429])
def test_get__one_failure_is_repeated(code: int):
    def respond(handler, n):
        if n == 1:
            answer(handler, code)
        else:
            answer_range(handler)

    with answering(respond) as server:
        assert open_at(server.endpoint).get("k") == BODY
        assert server.requests == ["GET", "GET"]


def test_put__one_failure_is_repeated():
    with answering(lambda h, n: answer(h, 503 if n == 1 else 200)) as server:
        open_at(server.endpoint).put("k", BODY)
        assert server.requests == ["PUT", "PUT"]


@pytest.mark.parametrize("verb", ["get", "head", "put", "delete", "list"])
def test_call__permanent_failure_ends_after_the_retries(verb: str):
    with answering(lambda h, n: answer(h, 500)) as server:
        store = open_at(server.endpoint)
        with raising(StoreUnavailableError, key="k", store=store.url):
            list(store.list("k")) if verb == "list" else getattr(store, verb)(
                "k", *([BODY] if verb == "put" else [])
            )
        assert len(server.requests) == 1 + FEW.retries


@pytest.mark.parametrize("verb", ["get", "put"])
def test_call__silent_server_is_an_error(verb: str):
    with answering(lambda h, n: time.sleep(0.4)) as server:
        store = open_at(server.endpoint, SHORT)
        with pytest.raises(StoreUnavailableError):
            store.get("k") if verb == "get" else store.put("k", BODY)
        assert 1 <= len(server.requests) <= 1 + SHORT.retries


@pytest.mark.parametrize("is_begun", [False, True])
def test_get__stalled_response_is_requested_again(is_begun: bool):
    # The first response stalls until a second request comes, which only a client with a limit sends.
    has_come_again = threading.Event()
    waits: queue.Queue[bool] = queue.Queue()

    def respond(handler, n):
        if n > 1:
            has_come_again.set()
            answer_range(handler)
            return
        if is_begun:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(BODY)))
            handler.send_header("Last-Modified", "Tue, 21 Oct 2025 07:28:00 GMT")
            handler.send_header("ETag", '"e"')
            handler.end_headers()
            handler.wfile.write(BODY[:3])
            handler.wfile.flush()
        waits.put(has_come_again.wait(60))
        handler.close_connection = True

    with answering(respond) as server:
        assert open_at(server.endpoint, STUBBORN).get("k") == BODY
    assert waits.get(timeout=60)


def interrupt(handler, *, after: int, stall_s: float) -> None:
    answer_range_start = handler.headers.get("Range")
    start = int(answer_range_start[6:].partition("-")[0]) if answer_range_start else 0
    handler.send_response(206 if answer_range_start else 200)
    handler.send_header("Content-Length", str(len(BODY) - start))
    if answer_range_start:
        handler.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
    handler.send_header("Last-Modified", "Tue, 21 Oct 2025 07:28:00 GMT")
    handler.send_header("ETag", '"e"')
    handler.end_headers()
    handler.wfile.write(BODY[start : start + after])
    handler.wfile.flush()
    time.sleep(stall_s)
    handler.close_connection = True


def test_get__interrupted_body_is_resumed():
    def respond(handler, n):
        if n == 1:
            interrupt(handler, after=7, stall_s=0)
        else:
            answer_range(handler)

    with answering(respond) as server:
        assert open_at(server.endpoint).get("k") == BODY
        assert server.requests == ["GET", "GET"]


@pytest.mark.parametrize("stall_s", [0, 0.4])
def test_get__body_that_never_ends_is_an_error(stall_s: float):
    with answering(lambda h, n: interrupt(h, after=1, stall_s=stall_s)) as server:
        with raising(StoreUnavailableError, key="k", store="s3://some-bucket"):
            open_at(server.endpoint, SHORT).get("k")
        assert 1 < len(server.requests) <= 2 + SHORT.retries
