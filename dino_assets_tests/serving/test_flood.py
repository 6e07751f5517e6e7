"""Load test: unequal uploads, clients that wait and give up, results, deletion."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from dino_assets.errors import ConfigError, ServiceError
from dino_assets.serving.bench.figures import Figures, format_figures, summarise
from dino_assets.serving.bench.flood import (
    CUT_OFF,
    MOST_FAULTS,
    NO_ANSWER,
    Flood,
    FloodAnswer,
    LoadPicture,
)
from dino_assets.serving.bench.http_client import Connection, parse_address
from dino_assets.serving.bench.session import (
    check_address,
    delete_embeddings,
    look_at_service,
    run_load,
    try_upload,
)
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.serving import Painter, make_settings, serving, wait_until

PICTURE = LoadPicture("a.jpg", photo_bytes(16, 16))
Handle = Callable[[BaseHTTPRequestHandler], tuple[int, bytes, dict[str, str]]]


@contextmanager
def stub(handle: Handle, *, protocol: str = "HTTP/1.1") -> Iterator[str]:
    """Run a server that answers with ``handle``."""

    class Answering(BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body, headers = handle(self)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_DELETE = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("https://[::1]:8000/below", "https://[::1]:8000/below"),
    ],
)
def test_check_address__this_machine(url: str, whole: str):
    assert check_address(url, may_be_remote=False) == whole


@pytest.mark.parametrize("url", ["example.org", "http://10.0.0.1:8000", "127.0.0.1.example.org"])
def test_check_address__another_machine_needs_may_be_remote(url: str):
    with pytest.raises(ConfigError) as caught:
        check_address(url, may_be_remote=False)
    assert caught.value.reason == "remote"
    assert check_address(url, may_be_remote=True)


@pytest.mark.parametrize(
    "url", ["", "ftp://a", "http://", "http://a:b", "http://u:p@a", "http://a?b", "http://a:0"]
)
def test_parse_address__invalid_addresses(url: str):
    with pytest.raises(ConfigError):
        parse_address(url)


@pytest.mark.parametrize("data", [b"\xff\xd8 and so on", b"\x00\x00\x00\x18ftypheic"])
def test_make_upload__every_upload_differs(data: bytes):
    rng = np.random.default_rng(0)
    uploads = [LoadPicture("a", data).make_upload(rng) for _ in range(3)]
    assert len(set(uploads)) == 3
    assert all(data in each for each in uploads)
    is_box = b"free" in uploads[0]
    assert is_box == (b"ftyp" in data)


def test_flood__every_upload_is_computed(tmp_path, local_store):
    engine = Painter()
    with serving(make_settings(tmp_path), local_store, engine) as served:
        flood = Flood(served.url, [[PICTURE]] * 3, seconds=60)
        wait_until(lambda: len(flood.answers) > 3)
        flood.stop(grace_s=30)
    answers = flood.answers
    assert {each.status for each in answers} == {200}
    assert len({each.embedding_id for each in answers}) == len(answers) == len(engine.calls)
    assert {each.tiles for each in answers} == {1}


def test_flood__what_each_client_sends(tmp_path, local_store):
    other_picture = LoadPicture("b.jpg", photo_bytes(40, 16), fields={"tokens": "mean"})
    with serving(make_settings(tmp_path), local_store) as served:
        answers = Flood(served.url, [[PICTURE], [other_picture]], seconds=0.3).wait()
    tiles = {each.picture: each.tiles for each in answers}
    assert tiles["a.jpg"] == 1
    assert tiles["b.jpg"] > 1


def test_flood__a_refused_client_waits_for_retry_after():
    times: list[float] = []

    def refuse_once(request: BaseHTTPRequestHandler) -> tuple[int, bytes, dict[str, str]]:
        times.append(time.monotonic())
        if len(times) == 1:
            return 503, b'{"slug": "busy", "waiting_s": 12.5}', {"Retry-After": "1"}
        return 200, b'{"embedding_uri": "local/embed_7.npz", "num_tiles": 4}', {}

    with stub(refuse_once) as url:
        first, second = Flood(url, [[PICTURE]], seconds=1.2).wait()[:2]
    assert times[1] - times[0] >= 1
    assert (first.is_refusal, first.wait_s, first.forecast_s) == (True, 1, 12.5)
    assert (second.is_return, second.embedding_id, second.tiles) == (True, "7", 4)


def test_flood__a_client_stops_after_several_faults():
    with stub(lambda request: (500, b"oops", {})) as url:
        answers = Flood(url, [[PICTURE]], seconds=30).wait()
    assert [each.status for each in answers] == [500] * MOST_FAULTS


def test_flood__no_server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answers = Flood(f"http://127.0.0.1:{port}", [[PICTURE]], seconds=0.2).wait()
    assert [each.slug for each in answers] == [NO_ANSWER]


def test_flood__ends_without_the_last_answer(tmp_path, local_store):
    engine = Painter(is_held=True)
    with serving(make_settings(tmp_path), local_store, engine) as served:
        flood = Flood(served.url, [[PICTURE]], seconds=60)
        wait_until(lambda: engine.calls)
        flood.stop()
        assert flood.is_done
    assert [each.slug for each in flood.answers] == [CUT_OFF]
    assert len(engine.calls) == 1  # the upload is not sent again


def test_flood__stopped_before_it_began():
    flood = Flood("http://127.0.0.1:1", [[PICTURE]] * 2, seconds=60, at_once=False)
    flood.stop(grace_s=30)
    assert flood.is_done
    assert flood.answers == []


def test_flood__stop_waits_for_open_answers(tmp_path, local_store):
    engine = Painter(is_held=True)
    with serving(make_settings(tmp_path), local_store, engine) as served:
        flood = Flood(served.url, [[PICTURE]] * 2, seconds=60)
        wait_until(lambda: engine.calls)
        threading.Timer(0.2, engine.gate.set).start()
        flood.stop(grace_s=30)
    assert [each.status for each in flood.answers] == [200, 200]
    assert len(engine.calls) == 2


def test_connection__reopens_after_the_server_closed_it():
    paths = []

    def close_silently(request: BaseHTTPRequestHandler) -> tuple[int, bytes, dict[str, str]]:
        paths.append(request.path)
        request.close_connection = True  # without a Connection header in the answer
        return 200, b"{}", {}

    with stub(close_silently) as url:
        connection = Connection(url + "/below/")
        for _ in range(3):
            assert connection.ask("GET", "/health").status == 200
            time.sleep(0.05)
        connection.close()
    assert paths == ["/below/health"] * 3


def make_answer(at_s: float, took_s: float, status: int = 200, **more) -> FloodAnswer:
    return FloodAnswer("a", at_s, took_s, status, tiles=2 if status == 200 else 0, **more)


def test_summarise__by_hand():
    answers = [
        make_answer(11, 1.0),
        make_answer(12, 1.0),
        make_answer(14, 2.0),
        make_answer(13, 0.1, 503),
        make_answer(13, 0.1, 500),
        make_answer(15, 0.1, 0, slug=CUT_OFF),
    ]
    figures = summarise(answers, clients=2, started=10.0, health=[0.001, 0.003, np.inf])
    assert figures == Figures(2, 4.0, 3, 6, 0.75, 1.5, 1.0, 2.0, 1, 1, 1, 0.003, 1)


def test_summarise__no_embedded_picture():
    figures = summarise([make_answer(11, 0.1, 503)], clients=1, started=10.0)
    assert (figures.pictures, figures.pictures_per_s, figures.p50_s, figures.refused) == (
        0,
        0.0,
        None,
        1,
    )


def test_format_figures__is_a_table():
    figures = Figures(8, 4.0, 3, 6, 0.75, 1.5, 0.25, 2.0, 1, 1, 1, 0.003, 0)
    heading, row = format_figures([figures]).splitlines()
    assert len(heading) == len(row)
    assert row.split()[:4] == ["8", "3", "0.75", "1.50"]
    assert "250 ms" in row
    assert "2.00 s" in row


def test_run_load__results_and_ids(tmp_path, local_store):
    ids: list[str] = []
    with serving(make_settings(tmp_path), local_store) as served:
        figures = run_load(served.url, [PICTURE], clients=2, seconds=0.5, keep_id=ids.append)
    assert figures.pictures == len(ids) > 0
    assert figures.failed == figures.unanswered == figures.health_lost == 0
    assert figures.health_p99_s is not None


def test_look_at_service__returns_model_and_engine(tmp_path, local_store):
    with serving(make_settings(tmp_path), local_store) as served:
        description = look_at_service(served.url)
    assert description == {
        "model": "small",
        "device": "cpu",
        "storage": "local",
        "engine": "Painter",
    }


def test_look_at_service__not_ready(tmp_path, local_store):
    gate = threading.Event()

    def open_late(*_: object):
        gate.wait(30)
        raise ConfigError("for the test")

    with serving(make_settings(tmp_path), local_store, open_it=open_late, wait=False) as served:
        with pytest.raises(ServiceError) as caught:
            look_at_service(served.url)
        gate.set()
    assert (caught.value.reason, caught.value.status) == ("not-ready", 503)


@pytest.mark.parametrize(
    "answer", [(200, b'{"status": "fine"}', {}), (404, b"", {}), (200, b"[1]", {})]
)
def test_look_at_service__another_kind_of_server(answer):
    with stub(lambda request: answer) as url, pytest.raises(ServiceError) as caught:
        look_at_service(url)
    assert caught.value.reason == "not-a-service"


def test_look_at_service__server_that_is_not_http():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"220 smtp.example.org ready\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ServiceError) as caught:
            look_at_service(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert caught.value.reason == "no-answer"


def test_try_upload__unusable_picture(tmp_path, local_store):
    no_picture = LoadPicture("a.jpg", b"no picture")
    with (
        serving(make_settings(tmp_path), local_store) as served,
        pytest.raises(ServiceError) as caught,
    ):
        try_upload(served.url, no_picture)
    assert caught.value.reason == "unusable-picture"


def test_delete_embeddings__deletes_all(tmp_path, local_store):
    with serving(make_settings(tmp_path), local_store) as served:
        ids = [try_upload(served.url, PICTURE) for _ in range(6)]
        assert delete_embeddings(served.url, [*ids, "0" * 32]) == []
        assert {served.client.get(f"/embeddings/{each}").status_code for each in ids} == {404}


def test_delete_embeddings__stops_after_one_refusal():
    paths = []

    def refuse(request: BaseHTTPRequestHandler) -> tuple[int, bytes, dict[str, str]]:
        paths.append(request.path)
        return 403, b"{}", {}

    ids = [f"{number:032x}" for number in range(100)]
    with stub(refuse) as url:
        assert delete_embeddings(url, ids) == ids
    assert len(paths) <= 8
