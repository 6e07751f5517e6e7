"""Stop of the service by SIGTERM: accepted requests are answered, others refused, exit status 0."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.serving import form_request, wait_until
from dino_assets_tests.worlds.serving_process import serving_process

PHOTOS = [photo_bytes(40, 40, seed=seed, kind="PNG") for seed in range(4)]  # 16 tiles each


def in_work(url: str) -> int:
    text = httpx.get(f"{url}/metrics").text
    (line,) = [each for each in text.splitlines() if each.startswith("dino_pictures_in_work ")]
    return int(float(line.split()[1]))


def post(url: str, photo: bytes) -> httpx.Response:
    return httpx.post(f"{url}/embed", files={"file": ("a.png", photo)}, timeout=60)


def test_sigterm__answers_accepted_requests(tmp_path: Path):
    with serving_process(tmp_path, call_s=0.03) as (process, url):
        with ThreadPoolExecutor(4) as clients:
            futures = [clients.submit(post, url, photo) for photo in PHOTOS]
            wait_until(lambda: in_work(url) == 4)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: is_closed(url))
            assert not all(each.done() for each in futures)  # it is stopping and still works
            assert [each.result().status_code for each in futures] == [200] * 4
        assert process.wait(30) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)  # no child process is left
    assert len(list(tmp_path.glob("data/embed_*.npz"))) == 4
    assert "Traceback" not in (next(tmp_path.glob("*.log"))).read_text()


def read_all(line: socket.socket) -> bytes:
    data = b""
    while piece := line.recv(65536):
        data += piece
    return data


def is_closed(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm__refuses_a_body_that_still_arrives(tmp_path: Path):
    request = form_request(PHOTOS[0])
    with serving_process(tmp_path, call_s=0.02) as (process, url):
        host, _, port = url.removeprefix("http://").partition(":")
        with (
            ThreadPoolExecutor(1) as clients,
            socket.create_connection((host, int(port)), timeout=30) as line,
        ):
            line.sendall(request[:-100])
            future = clients.submit(post, url, PHOTOS[1])
            wait_until(lambda: in_work(url) == 1)
            process.send_signal(signal.SIGTERM)
            answer = read_all(line)  # the rest of the body is not read
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'"slug":"shutting-down"' in answer
            assert future.result().status_code == 200
        assert process.wait(30) == 0
    assert len(list(tmp_path.glob("data/embed_*.npz"))) == 1


def test_sigterm__without_requests(tmp_path: Path):
    with serving_process(tmp_path) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
