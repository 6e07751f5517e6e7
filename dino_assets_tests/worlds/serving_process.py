"""A service in a process of its own, to be stopped and killed: ``uvicorn …worlds.serving_process:app``.

What it does differently from the real one comes in ``SERVING_TEST``, a JSON object: ``call_s`` of its
engine, ``head_s`` for the head of a request, and where it kills itself: at the ``n``-th time that ``point`` is passed.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from dino_assets.embeddings.encoder.tokens import Tokens
from dino_assets.images.decoding import decode_image
from dino_assets.serving.app import make_app
from dino_assets.serving.computing.decoding import Decoding
from dino_assets.serving.connections import TimedConnection
from dino_assets.serving.keeping import embedding_store
from dino_assets.serving.lifespan import open_serving_store
from dino_assets.serving.service import Service
from dino_assets.settings.environment import load_settings
from dino_assets.settings.records import Settings
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.forks import Forked
from dino_assets_tests.worlds.servers import (
    HOST,
    Process,
    free_port,
    running,
    wait_until_it_answers,
)
from dino_assets_tests.worlds.serving import Painter, make_service
from dino_assets_tests.worlds.store_doubles import WatchedStore

REPOSITORY = Path(__file__).resolve().parents[2]
# Where a request can be killed, in the order in which it gets there.
POINTS = (
    "arrived", "before head json", "decoded", "first tile", "last tile", "before put npz",
    "amid put npz", "after put npz", "before put json", "after put json", "before put audit",
    "after put audit",
)  # fmt: skip


class Killer:
    """Kills this process when the wanted point is passed for the wanted time."""

    def __init__(self, point: str, n: int) -> None:
        self.point, self.n = point, n
        self._passed = count(1)

    def pass_by(self, point: str) -> None:
        if point == self.point and next(self._passed) == self.n:
            os.kill(os.getpid(), signal.SIGKILL)


class Fragile(Painter):
    """An engine that may not come back."""

    def __init__(self, killer: Killer, tiles: int, **more: Any) -> None:
        super().__init__(**more)
        self.killer, self.tiles = killer, tiles

    def encode(self, tiles: np.ndarray, *, is_alone: bool = False) -> Tokens:
        self.killer.pass_by("first tile" if not self.calls else "a tile")
        if len(self.calls) == self.tiles - 1:
            self.killer.pass_by("last tile")
        return super().encode(tiles, is_alone=is_alone)


def watch(store: ObjectStore, killer: Killer) -> ObjectStore:
    """A store whose calls are points."""

    def name(key: str) -> str:
        return "audit" if key.startswith("audit/") else key.rpartition(".")[2]

    def pieces(inner: Iterator[bytes]) -> Iterator[bytes]:
        for number, piece in enumerate(inner):
            if number:
                killer.pass_by("amid put npz")
            yield piece

    class Watched(WatchedStore):
        def put_chunks(self, key: str, chunks: Any) -> None:
            self.before("put", key)
            self.inner.put_chunks(key, pieces(chunks))
            self.after("put", key)

    return Watched(
        store,
        before=lambda verb, key: killer.pass_by(f"before {verb} {name(key)}"),
        after=lambda verb, key: killer.pass_by(f"after {verb} {name(key)}"),
    )


def make_test_app(order: dict[str, Any]) -> Any:
    settings = load_settings()
    killer = Killer(order.get("point", ""), order.get("n", 1))
    if order.get("small_pieces"):
        embedding_store.WHOLE_BYTES = 1000
    TimedConnection.head_s = order.get("head_s", TimedConnection.head_s)
    store = watch(open_serving_store(settings.storage), killer)
    engine = Fragile(killer, order.get("tiles", 0), call_s=order.get("call_s", 0.0))

    def open_it(settings: Settings, store: ObjectStore) -> Service:
        def decode(data: bytes) -> np.ndarray:
            pixels = decode_image(data)
            killer.pass_by("decoded")
            return pixels

        service = make_service(engine, store, settings.root, decoding=Decoding(decode=decode))
        inner = service.plan

        async def plan(*given: Any) -> Any:
            killer.pass_by("arrived")
            return await inner(*given)

        service.plan = plan  # type: ignore[method-assign]
        return service

    return make_app(store=store, open_it=open_it)


if "SERVING_TEST" in os.environ:
    app = make_test_app(json.loads(os.environ["SERVING_TEST"]))


def _serve(order: dict[str, Any], port: int) -> None:
    uvicorn.run(make_test_app(order), host=HOST, port=port)


@contextmanager
def serving_process(
    folder: Path, *, environment: dict[str, str] | None = None, **order: Any
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """A service started as people start it, and its address, once it is ready."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    # It runs in ``folder``, where the tests' own package cannot be imported unless uvicorn is told.
    application = ["dino_assets_tests.worlds.serving_process:app", "--app-dir", str(REPOSITORY)]
    command = [sys.executable, "-m", "uvicorn", *application, "--port", str(port)]
    env = {**os.environ, **(environment or {}), "SERVING_TEST": json.dumps(order)}
    log = folder / f"serving-{port}.log"
    with running(command, url=f"{url}/health", log=log, env=env, cwd=folder) as process:
        _wait_until_ready(process, url, log)
        yield process, url


@contextmanager
def forked_service(
    folder: Path, *, environment: dict[str, str] | None = None, **order: Any
) -> Iterator[tuple[Forked, str]]:
    """The same service and its address, started in a tenth of the time; for tests that start many."""
    port = free_port()
    url, log = f"http://{HOST}:{port}", folder / f"serving-{port}.log"
    env = {**os.environ, **(environment or {})}
    process = Forked(_serve, order, port, log=log, env=env, cwd=folder)
    try:
        wait_until_it_answers(process, f"{url}/health", log)
        _wait_until_ready(process, url, log)
        yield process, url
    finally:
        process.end()


def _wait_until_ready(process: Process, url: str, log: Path) -> None:
    while httpx.get(f"{url}/ready", timeout=30, verify=False).status_code != 200:
        assert process.poll() is None, log.read_text()
