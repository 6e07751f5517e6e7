"""Limits for request heads: missing, partial, slow, endless."""

import contextlib
import re
import socket
import time

import pytest

from dino_assets.serving.connections import HEAD_BYTES, TimedConnection
from dino_assets.serving.requests.bodies import BodyLimits
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.serving import Painter, Served, form_request, make_settings
from dino_assets_tests.worlds.serving_process import serving_process

PHOTO = photo_bytes(16, 16, kind="PNG")
HALF = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-More: "
WHOLE = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Impatient(TimedConnection):
    head_s = 0.4


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve(connection=Impatient)


def read_all(line: socket.socket) -> bytes:
    """Read all bytes until the server closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := line.recv(65536):
            data += piece
    return data


def read_statuses(line: socket.socket) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", read_all(line))]


@pytest.mark.parametrize(
    ("pieces", "statuses"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([b"\r\n"], [], id="blank line"),
        pytest.param([b"GE"], [408], id="half a word"),
        pytest.param([HALF], [408], id="half a head"),
        pytest.param([WHOLE, b"\r\n"], [200], id="blank line behind"),
        pytest.param([WHOLE, HALF], [200, 408], id="half a head behind"),
        pytest.param([WHOLE + HALF], [200, 408], id="half a head at once"),
    ],
)
def test_connection__without_a_request_is_closed(served, pieces, statuses):
    with served.connect() as line:
        for piece in pieces:
            line.sendall(piece)
            time.sleep(0.1)
        assert read_statuses(line) == statuses


def test_connection__trickling_head_is_closed(served):
    with served.connect() as line, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        line.sendall(HALF)
        for _ in range(100):
            line.sendall(b"x")
            time.sleep(0.02)
        pytest.fail("two seconds of one letter after the other were taken")


def test_connection__head_without_an_end_is_refused(serve):
    with serve().connect() as line:  # the usual limit of time
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(HALF + b"x" * HEAD_BYTES)
            line.sendall(b"x")
        assert read_statuses(line) == [431]


def test_connection__head_of_many_lines_is_refused(serve):
    with serve().connect() as line:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(WHOLE[:-2] + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)))
        assert read_statuses(line) == [431]


def test_connection__long_head_that_ends_is_answered(served):
    with served.connect() as line:
        line.sendall(HALF + b"x" * (HEAD_BYTES // 2) + b"\r\nConnection: close\r\n\r\n")
        assert read_statuses(line) == [200]


def test_connection__slow_body_and_long_work_are_not_closed(serve, tmp_path):
    served = serve(
        Painter(call_s=1.0),
        settings=make_settings(tmp_path, upload_bytes=10**6),
        connection=Impatient,
    )
    served.running.limits = BodyLimits(10**6, silence_s=30)
    request = form_request(PHOTO, more="Connection: close\r\n")
    with served.connect() as line:
        for start in range(0, len(request), -(-len(request) // 6)):
            line.sendall(request[start : start + -(-len(request) // 6)])
            time.sleep(0.2)
        assert read_statuses(line) == [200]


def test_connection__body_after_the_answer_is_not_waited_for(serve, tmp_path):
    served = serve(settings=make_settings(tmp_path, upload_bytes=1000), connection=Impatient)
    with served.connect() as line:
        line.sendall(form_request(b"x" * 10**6)[:200_000])  # above the limit, and incomplete
        assert read_statuses(line) == [413]


def test_connection__serves_many_requests(served):
    for _ in range(3):
        assert served.client.get("/health").status_code == 200
        time.sleep(0.5)
    with served.connect() as line:
        line.sendall(WHOLE * 2 + WHOLE[:-2] + b"Connection: close\r\n\r\n")
        assert read_statuses(line) == [200, 200, 200]


def test_limit_connections__under_plain_uvicorn(tmp_path):
    with serving_process(tmp_path, head_s=0.4) as (_, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as line:
            line.sendall(HALF)
            assert read_statuses(line) == [408]
