"""A store behind a bad network: unreachable for a while, slow, silent, or with altered bytes."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from dino_assets.errors import StoreAccessError, StoreError, StoreUnavailableError
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.store.requests import QUICK_BYTES
from dino_assets.store.retrying import Retries
from dino_assets_tests.worlds.answering import answer, answering
from dino_assets_tests.worlds.lines import Line, line_to
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.servers import HOST, free_port

LARGE = np.random.default_rng(0).bytes(3 * QUICK_BYTES)
SHORT_STALL = RequestLimits(stall_s=0.5, retries=30, retry_for_s=60)


@pytest.fixture
def line(s3_bucket: StorageSettings):
    with line_to(str(s3_bucket.endpoint)) as line:
        yield line


def store_over(line: Line, bucket: StorageSettings, limits: RequestLimits) -> ObjectStore:
    return open_store(replace(bucket, endpoint=line.endpoint, limits=limits))


def store_at(endpoint: str, limits: RequestLimits = SHORT_STALL) -> ObjectStore:
    settings = StorageSettings("s3://some-bucket", Path(), endpoint)
    return open_store(replace(settings, access_key="a", secret_key="s", limits=limits))


class Clock:
    """A clock that advances only during ``sleep``."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def fail_until(end_s: float, limits: RequestLimits) -> float:
    """Fail every attempt until ``end_s``; return the time of the last attempt."""
    clock = Clock()
    retries = Retries(limits, clock=clock, sleep=clock.sleep)
    while clock.now < end_s:
        retries.wait(StoreUnavailableError("away"))
    return clock.now


def test_retries__survives_an_outage_of_a_minute():
    for _ in range(20):  # the pauses are random
        assert 60 <= fail_until(60, RequestLimits()) < 66


def test_retries__gives_up_within_two_minutes():
    with raising(StoreUnavailableError, match="away Gave up after .+ attempts in"):
        fail_until(120, RequestLimits())


def test_retries__gives_up_a_long_upload_after_five_interruptions():
    clock = Clock()
    retries = Retries(RequestLimits(), clock=clock, sleep=clock.sleep)

    def interrupt() -> None:
        clock.sleep(80)
        retries.note_progress()
        retries.wait(StoreUnavailableError("broken off"), lost_bytes=True)

    for _ in range(4):
        interrupt()
    with raising(StoreUnavailableError, match="after 5 attempts"):
        interrupt()


@pytest.mark.parametrize("verb", ["put", "put a large one", "get", "list", "delete"])
def test_call__repeats_until_the_server_is_back(line: Line, s3_bucket, verb: str):
    store = store_over(line, s3_bucket, RequestLimits())
    data = LARGE if verb == "put a large one" else b"x"
    store.put("away/key", data)
    line.go_away()
    timer = threading.Timer(1.5, line.come_back)
    timer.start()
    if verb == "get":
        assert store.get("away/key") == data
    elif verb == "list":
        assert [info.key for info in store.list("away")] == ["away/key"]
    elif verb == "delete":
        store.delete("away/key")
    else:
        store.put("away/key", data)
        assert store.get("away/key") == data
    timer.join()


def test_put__slow_upload_may_take_longer_than_the_stall_limit(line: Line, s3_bucket):
    store = store_over(line, s3_bucket, replace(SHORT_STALL, retries=0))
    line.bytes_per_s = 300_000
    store.put("slow/key", LARGE)  # 2.6 s, in one attempt
    line.bytes_per_s = None
    assert store.get("slow/key") == LARGE


def test_put__stalled_upload_is_sent_again(line: Line, s3_bucket):
    store = store_over(line, s3_bucket, SHORT_STALL)
    line.silent_after = lambda n: 100_000 if n == 1 else None
    store.put("stalled/key", LARGE)
    assert store.get("stalled/key") == LARGE
    assert line.connections >= 2


def test_put__upload_interrupted_twice_is_sent_again(line: Line, s3_bucket):
    store = store_over(line, s3_bucket, SHORT_STALL)
    line.reset_after = lambda n: 100_000 if n <= 2 else None
    store.put("broken/key", LARGE)
    assert store.get("broken/key") == LARGE


def test_put__uploads_share_a_connection():
    with answering(lambda h, n: answer(h, 200)) as server, line_to(server.endpoint) as line:
        store = store_at(line.endpoint, replace(SHORT_STALL, retries=0))
        for n in range(5):
            store.put(f"several/{n}", LARGE)
        assert line.connections == 1
        line.go_away()
        line.come_back()
        store.put("one/more", LARGE)
        assert line.connections == 2
    assert server.requests == 6 * ["PUT"]


@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentSHA256Mismatch"])
@pytest.mark.parametrize("data", [b"x", LARGE])
def test_put__bytes_altered_in_transit_are_sent_again(code: str, data: bytes):
    refusal = f"<Error><Code>{code}</Code></Error>".encode()
    with answering(lambda h, n: answer(h, *((400, refusal) if n == 1 else (200,)))) as server:
        store_at(server.endpoint).put("k", data)
        assert server.requests == ["PUT", "PUT"]
    with (
        answering(lambda h, n: answer(h, 400, refusal)) as server,
        raising(StoreUnavailableError, match="received other bytes than were sent", key="k"),
    ):
        store_at(server.endpoint, RequestLimits(retries=1)).put("k", data)


def test_put__server_that_refuses_signed_addresses():
    def respond(handler, n):
        is_signed = "X-Amz-Signature" in handler.path
        answer(handler, 403 if is_signed else 200)

    with answering(respond) as server:
        store = store_at(server.endpoint)
        store.put("k", LARGE)
        assert server.requests == ["PUT", "PUT"]
        store.put("k", LARGE)  # the signed address is not tried a second time
        assert server.requests == ["PUT", "PUT", "PUT"]


def test_put__refused_large_object_shows_no_signature():
    with (
        answering(lambda h, n: answer(h, 403)) as server,
        raising(StoreAccessError, match="access denied", key="k") as caught,
    ):
        store_at(server.endpoint).put("k", LARGE)
    assert "Signature" not in str(caught.value)


@pytest.mark.parametrize("data", [b"x", LARGE])
def test_put__failure_has_the_same_message_for_every_size(data: bytes):
    limits = RequestLimits(retries=1)
    with (
        answering(lambda h, n: answer(h, 503, b"<Error><Code>SlowDown</Code></Error>")) as server,
        pytest.raises(StoreUnavailableError) as busy_error,
    ):
        store_at(server.endpoint, limits).put("a/b", data)
    endpoint = f"http://{HOST}:{free_port()}"
    with pytest.raises(StoreUnavailableError) as absence_error:
        store_at(endpoint, limits).put("a/b", data)
    advice = (
        "the store cannot be reached or is temporarily unavailable. Check that it is running and that the "
        "endpoint is right."
    )
    prefix = "put 'a/b' in store 's3://some-bucket':"
    assert str(busy_error.value) == (
        f"{prefix} {advice} (PUT {server.endpoint}/some-bucket/a/b, 503 Service Unavailable, SlowDown) "
        "Gave up after 2 attempts in 0 s."
    )
    assert str(absence_error.value) == (
        f"{prefix} {advice} (PUT {endpoint}/some-bucket/a/b: no connection (Connection refused)) "
        "Gave up after 2 attempts in 0 s."
    )


def test_put__through_a_proxy(monkeypatch: pytest.MonkeyPatch):
    requests: list[str] = []

    def respond(handler, n):
        requests.append(
            f"{handler.path.partition('?')[0]} {handler.headers['Proxy-Authorization']}"
        )
        answer(handler, 200)

    with answering(respond) as proxy:
        monkeypatch.setenv("http_proxy", proxy.endpoint.replace("//", "//me:secret@"))
        store_at("http://store.invalid:9000").put("k", LARGE)
    assert requests == ["http://store.invalid:9000/some-bucket/k Basic bWU6c2VjcmV0"]


def test_stream__resumes_an_interrupted_read():
    ranges: list[str | None] = []

    def respond(handler, n):
        ranges.append(handler.headers["Range"])
        if n == 1:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(LARGE)))
            handler.send_header("Last-Modified", "Tue, 21 Oct 2025 07:28:00 GMT")
            handler.send_header("ETag", '"e"')
            handler.end_headers()
            handler.wfile.write(LARGE[:300_000])
            handler.close_connection = True
        else:
            assert handler.headers["If-Match"] == '"e"'
            start = int(handler.headers["Range"].removeprefix("bytes=").partition("-")[0])
            content_range = f"bytes {start}-{len(LARGE) - 1}/{len(LARGE)}"
            answer(handler, 206, LARGE[start:], Content_Range=content_range)

    with answering(respond) as server:
        store = store_at(server.endpoint)
        store.stream_bytes = 50_000
        assert b"".join(store.stream("k")) == LARGE
    assert ranges[0] is None
    assert str(ranges[1]) > "bytes=1"


def test_stream__does_not_count_the_readers_own_time():
    def respond(handler, n):
        start = int((handler.headers["Range"] or "bytes=0-")[6:].partition("-")[0])
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(LARGE) - start))
        handler.send_header("Content-Range", f"bytes {start}-{len(LARGE) - 1}/{len(LARGE)}")
        handler.send_header("Last-Modified", "Tue, 21 Oct 2025 07:28:00 GMT")
        handler.send_header("ETag", '"e"')
        handler.end_headers()
        handler.wfile.write(LARGE[start : start + 300_000])
        handler.close_connection = True

    with answering(respond) as server:
        store = store_at(server.endpoint, RequestLimits(retries=9, retry_for_s=1.5))
        store.stream_bytes = 250_000
        pieces = []
        for piece in store.stream("k"):
            pieces.append(piece)
            time.sleep(1.6)  # longer than `retry_for_s`
        assert b"".join(pieces) == LARGE
        assert len(server.requests) > 2


def test_with_limits__changes_a_bucket_but_not_a_folder(s3_bucket, tmp_path):
    folder = open_store(StorageSettings(url="store", root=tmp_path))
    assert folder.with_limits(SHORT_STALL) is folder
    with answering(lambda h, n: answer(h, 503)) as server:
        store = store_at(server.endpoint)
        with raising(StoreUnavailableError, key="k"):
            store.with_limits(RequestLimits(retries=1)).get("k")
        assert server.requests == ["GET", "GET"]


def test_get__object_replaced_during_the_read():
    def respond(handler, n):
        if n > 1:
            answer(handler, 412)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(4 * 2**20))
        handler.send_header("Last-Modified", "Tue, 21 Oct 2025 07:28:00 GMT")
        handler.send_header("ETag", '"e"')
        handler.end_headers()
        handler.wfile.write(bytes(3 * 2**20))
        handler.close_connection = True

    with (
        answering(respond) as server,
        raising(StoreError, match="the object was replaced while it was being read", key="k"),
    ):
        store_at(server.endpoint).get("k")


KEYS = [f"some/{n:04d}" for n in range(1002)]  # obstore lists pages of a thousand
PAGE = (
    "<ListBucketResult><Name>some-bucket</Name><IsTruncated>{more}</IsTruncated>{token}{keys}"
    "</ListBucketResult>"
)


def test_list__resumes_an_interrupted_listing_after_the_last_key():
    def respond(handler, n):
        query = parse_qs(urlsplit(handler.path).query)
        if "continuation-token" in query:
            answer(handler, 503)
            return
        is_first = "start-after" not in query
        if not is_first:
            assert query["start-after"] == ["some/0999"]
        keys = KEYS[:1000] if is_first else KEYS[1000:]
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>1</Size><ETag>e</ETag>"
            "<LastModified>2025-10-21T07:28:00.000Z</LastModified></Contents>"
            for key in keys
        )
        token = "<NextContinuationToken>t</NextContinuationToken>" if is_first else ""
        answer(
            handler,
            200,
            PAGE.format(more=str(is_first).lower(), token=token, keys=entries).encode(),
        )

    with answering(respond) as server:
        listed_keys = [info.key for info in store_at(server.endpoint).list("some")]
    assert listed_keys == KEYS


def test_move__response_lost_after_the_move():
    def respond(handler, n):
        # The copy, then the deletion, whose response is lost; the second copy finds no object.
        if n == 2:
            handler.close_connection = True
        elif n == 3:
            answer(handler, 404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            answer(handler, 200, b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")

    with answering(respond) as server:
        store_at(server.endpoint).move("from", "to")
        assert server.requests == ["PUT", "POST", "PUT", "HEAD"]
