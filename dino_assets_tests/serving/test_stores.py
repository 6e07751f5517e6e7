"""The published curl commands on every kind of store, configured as published."""

import contextlib
import hashlib
import json
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dino_assets.serving.keeping.embedding_store import PIECE_BYTES, EmbeddingStore
from dino_assets.serving.keeping.records import Asker
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.objects import open_store
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Place, Serve
from dino_assets_tests.worlds.servers import HOST
from dino_assets_tests.worlds.serving_process import forked_service

PHOTO = photo_bytes(16, 16, kind="PNG")


def curl(*arguments: str) -> bytes:
    process = subprocess.run(["curl", "-sS", "-f", *arguments], capture_output=True, timeout=60)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_curl__published_commands_on_every_store(place: Place, tmp_path: Path):
    photo = tmp_path / "sample.png"
    photo.write_bytes(photo_bytes(640, 480, kind="PNG"))
    with forked_service(tmp_path, environment=place.environment) as (_, url):
        health = json.loads(curl(f"{url}/health"))
        assert list(health) == ["status", "model", "device", "storage"]
        assert health["storage"] == {"data": "local", "az": "azure"}.get(
            place.uri.partition(":")[0], "minio"
        )
        answer = json.loads(curl("-F", f"file=@{photo}", f"{url}/embed"))
        assert answer["embedding_uri"] == f"{place.uri}/embed_{answer['id']}.npz"
        assert answer["metadata"]["filename"] == "sample.png"
        curl("-o", str(tmp_path / "read.npz"), f"{url}/embeddings/{answer['id']}")
        assert json.loads(curl("-F", f"file=@{photo}", f"{url}/embed")) == answer
    # The stored file reads back equal.
    data = place.store.get(f"embed_{answer['id']}.npz")
    assert data == (tmp_path / "read.npz").read_bytes()
    with np.load(tmp_path / "read.npz") as arrays:
        assert list(arrays["embeddings"].shape) == answer["shape"]


def test_commit__pieces_on_every_store(place: Place):
    """A file above the limit of one request is put in pieces, and is whole afterwards."""
    place.store.chunk_bytes = PIECE_BYTES
    embeddings = EmbeddingStore(place.store, retention_days=1)
    pieces = [bytes([number]) * 2**20 for number in range(41)]
    asker = Asker("", "r")
    sidecar = embeddings.commit("0" * 32, pieces, image_sha256="", about={}, asker=asker)
    assert sidecar.file_sha256 == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert sidecar.file_bytes == 41 * 2**20
    data = b"".join(embeddings.read(sidecar, start=0, length=sidecar.file_bytes))
    assert data == b"".join(pieces)


@pytest.mark.slow
def test_embed__a_wrong_key(serve: Serve, swift_storage: StorageSettings):
    """Swift checks signatures; moto, the other S3 server of the tests, does not."""
    wrong_storage = replace(swift_storage, secret_key="testing1234")
    answer = serve(store=open_store(wrong_storage)).embed(PHOTO)
    assert (answer.status_code, answer.json()["slug"]) == (503, "store-refused")
    assert "dino-assets doctor" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    assert "testing1234" not in answer.text


@contextlib.contextmanager
def bad_server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Run a server that reads a request's first bytes, then calls ``behave``."""
    with socket.create_server((HOST, 0)) as listener, contextlib.ExitStack() as lines:

        def work() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line = lines.enter_context(listener.accept()[0])
                    with contextlib.suppress(OSError):
                        line.recv(4096)
                        behave(line)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield f"http://{HOST}:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def reset(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def reset_during_an_answer(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc")
    reset(line)


def say_nothing(line: socket.socket) -> None:
    pass


def answer_500(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")
    line.close()


@pytest.mark.parametrize("behave", [reset, reset_during_an_answer, say_nothing, answer_500])
def test_embed__a_server_that_behaves_badly(serve: Serve, tmp_path: Path, behave):
    limits = RequestLimits(connect_s=1, stall_s=1, retries=1, retry_for_s=2)
    with bad_server(behave) as endpoint:
        storage = StorageSettings(
            "minio://some-bucket", tmp_path, endpoint, access_key="a", secret_key="b", limits=limits
        )
        served = serve(store=open_store(storage))
        response = served.embed(PHOTO)
        answer = response.json()
        assert (response.status_code, answer["slug"]) == (503, "store-unavailable")
        assert response.headers["retry-after"] == "10"
        assert "dino-assets doctor" in answer["detail"]
        assert "secret" not in response.text
        assert served.client.get("/health").status_code == 200
        assert served.service.admission.load.requests == 0
