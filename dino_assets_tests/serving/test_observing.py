"""Logs, metrics and answers of the service; none shows pixels, paths or secrets."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from dino_assets.serving.observing import LineWriter, describe_error
from dino_assets.settings.records import StorageSettings
from dino_assets.store.objects import open_store
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.networks import write_sample
from dino_assets_tests.worlds.servers import HOST, free_port
from dino_assets_tests.worlds.serving import Painter, make_settings, noting_lines, wait_until
from dino_assets_tests.worlds.store_doubles import Strike, WatchedStore

PHOTO = photo_bytes(40, 40, kind="PNG")
PIXELS = b"these are pixels that nobody may see"
SECRET = "the-secret-of-the-store"


def photo_of_words() -> bytes:
    """Make a BMP whose pixels are the bytes of a sentence."""
    row = np.frombuffer(PIXELS[:36], np.uint8).reshape(1, 12, 3)
    sink = io.BytesIO()
    Image.fromarray(np.repeat(row, 12, axis=0)[..., ::-1]).save(sink, "BMP")
    assert PIXELS in sink.getvalue()
    return sink.getvalue()


def test_log__one_json_line_per_request(serve: Serve):
    served = serve()
    with noting_lines() as lines:
        answer = served.embed(PHOTO, "a\r\nb.png").json()
        served.embed(b"GIF89a")
        wait_until(lambda: len(lines) == 2)
    first, second = lines
    assert {"time", "seconds", "request_id", "sent_bytes"} < set(first)
    assert (first["method"], first["route"], first["status"]) == ("POST", "/embed", 200)
    assert first["id"] == answer["id"]
    assert first["shape"] == answer["shape"]
    assert first["original_size"] == [40, 40]
    assert first["upload_bytes"] == len(PHOTO)
    assert first["how"] == "computed"
    assert (second["status"], second["slug"]) == (422, "unusable-picture")
    assert all("\n" not in json.dumps(line) for line in lines)


def test_log__stalled_reader_blocks_no_request():
    """What the reader of stdout does not take waits; what is too much is counted, and no call waits."""
    read_end, write_end = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), "rw", strict=True))
    writer = LineWriter(write_end, most_lines=1000)
    log = logging.Logger("stalled")
    log.addHandler(writer)
    for number in range(5000):
        log.info("%s", f"{number} {'x' * 200}")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(read_end))
    reader.start()
    writer.flush()
    log.info("%s", "the last one")
    writer.flush()
    write_end.close()
    reader.join(60)
    read_end.close()
    numbers = [int(line.split()[0]) for line in lines if "x" in line]
    counts = [json.loads(line)["count"] for line in lines if "lines-left-out" in line]
    assert numbers[:1000] == list(range(1000))
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 5000
    assert sum(counts) == 5000 - len(numbers)
    assert lines[-1] == "the last one\n"


def test_outputs__show_no_pixels_paths_or_secrets(serve: Serve, tmp_path: Path, capsys):
    """Every kind of failed request is sent; answers, log lines and metrics are searched."""
    storage = StorageSettings(url="data", root=tmp_path, secret_key=SECRET)

    def fail(verb: str, key: str) -> None:
        raise RuntimeError(f"{SECRET} at {tmp_path}")

    engine = Painter()
    inner_store = open_store(storage)
    store = WatchedStore(inner_store, before=Strike(12, fail))
    served = serve(engine, store=store, settings=make_settings(tmp_path))
    photo = photo_of_words()
    answers = [served.embed(photo, str(tmp_path / "photo.bmp"))]
    answers.append(served.embed(photo[:-10]))
    answers.append(served.embed(photo, tokens=SECRET[:4]))
    answers.append(served.client.post("/embed", content=photo))
    answers.append(served.client.post("/embed", files={"other": ("a", photo)}))
    engine.fault = RuntimeError(f"{PIXELS!r} in {tmp_path}")
    answers.append(served.embed(photo, dtype="fp32"))
    engine.fault = None
    answers += [served.embed(photo_bytes(16, 16, seed=n, kind="PNG")) for n in range(3)]
    assert 500 in {answer.status_code for answer in answers}
    answers += [served.client.get(path) for path in ("/metrics", "/health", "/ready", "/x")]
    texts = [answer.text + repr(answer.headers) for answer in answers]
    wait_until(lambda: (tmp_path / "data").is_dir())
    printed = capsys.readouterr()
    for text in [*texts, printed.out, printed.err]:
        assert PIXELS.decode()[:20] not in text
        assert SECRET not in text
        assert str(tmp_path) not in text
        assert "Traceback" not in text
    for info in inner_store.list():
        if info.key.endswith(".json"):
            assert str(tmp_path).encode() not in inner_store.get(info.key)


def test_describe_error__class_and_place_without_the_text():
    try:
        json.loads(SECRET)
    except ValueError as err:
        description = describe_error(err)
    assert description.startswith("JSONDecodeError < json.decoder:")
    assert SECRET not in description
    assert "/" not in description


def test_metrics__count_requests(serve: Serve):
    served = serve()
    served.embed(PHOTO)
    served.embed(PHOTO)
    served.embed(b"x")
    served.client.post("/pot")

    def figures() -> dict[str, float]:
        lines = [each for each in served.client.get("/metrics").text.splitlines() if each[0] != "#"]
        return {name: float(value) for name, _, value in (each.rpartition(" ") for each in lines)}

    served.client.get("/ready")
    wait_until(lambda: 'dino_requests_total{method="any",route="none",status="404"}' in figures())
    metrics = figures()
    assert metrics['dino_requests_total{method="POST",route="/embed",status="200"}'] == 2
    assert metrics['dino_problems_total{slug="unusable-picture"}'] == 1
    assert metrics['dino_embeddings_total{how="computed"}'] == 1
    assert metrics['dino_embeddings_total{how="reused"}'] == 1
    assert metrics["dino_tiles_computed"] == 16
    assert metrics["dino_upload_bytes_total"] == 2 * len(PHOTO) + 1
    assert metrics["dino_waiting_tiles"] == metrics["dino_pictures_in_work"] == 0
    assert metrics["dino_ready"] == 1


def test_metrics__invented_addresses_add_no_series(serve: Serve):
    """All unknown addresses and methods are one series."""
    served = serve()
    for number in range(50):
        served.client.request("LOCK", f"/p{number}")
        served.client.get(f"/embeddings/{number}")
    wait_until(lambda: "/embeddings/{embedding_id}" in served.client.get("/metrics").text)
    assert len(served.client.get("/metrics").text.splitlines()) < 200


def test_log__no_second_line_of_uvicorn(serve: Serve):
    serve()
    assert not logging.getLogger("uvicorn.access").hasHandlers()


OFFLINE = """
import socket
real = socket.getaddrinfo
def refuse(host, *rest, **more):
    if host not in ("127.0.0.1", None):
        open("asked", "a").write(f"{host}\\n")
        raise OSError("no name is looked up here")
    return real(host, *rest, **more)
socket.getaddrinfo = refuse
socket.gethostbyname = socket.gethostbyname_ex = lambda host: refuse(host)
inner = socket.socket.connect
def connect(self, address):
    if isinstance(address, tuple) and address[0] != "127.0.0.1":
        open("asked", "a").write(f"{address}\\n")
        raise OSError("nothing is connected to here")
    return inner(self, address)
socket.socket.connect = connect
import sys, uvicorn
uvicorn.run("dino_assets.serving.app:app", port=int(sys.argv[1]))
"""


@pytest.mark.slow
def test_service__needs_no_network(tmp_path: Path, monkeypatch):
    """Without name resolution, a model in a folder is loaded, checked and served."""
    write_sample(tmp_path / "tiny", "dinov2")
    monkeypatch.setenv("DINO_MODEL_ID", "tiny")
    for name in ("HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    port = free_port()
    url = f"http://{HOST}:{port}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", OFFLINE, str(port)], cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: is_ready(url))
        files = {"file": ("a.jpg", photo_bytes())}
        assert httpx.post(f"{url}/embed", files=files, timeout=60).status_code == 200
    finally:
        process.terminate()
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
    assert not (tmp_path / "asked").exists()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.HTTPError:
        return False
