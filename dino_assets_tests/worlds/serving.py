"""The embedding service under a real web server on a real port, with an engine at will."""

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.tokens import Tokens, to_half
from dino_assets.embeddings.space import make_space
from dino_assets.errors import UnusableImageError
from dino_assets.serving.app import make_app
from dino_assets.serving.computing.scheduling import Computer
from dino_assets.serving.connections import TimedConnection
from dino_assets.serving.keeping.embedding_store import EmbeddingStore
from dino_assets.serving.lifespan import Running
from dino_assets.serving.requests.planning import ServedModel
from dino_assets.serving.service import Service
from dino_assets.settings.records import ServingSettings, Settings, StorageSettings
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import make_grid
from dino_assets.weights.records import Checkpoint
from dino_assets_tests.worlds.servers import HOST
from dino_assets_tests.worlds.store_doubles import WatchedStore

# A model that nobody has to build: 16 px a tile, four patches.
SMALL_CHECKPOINT = Checkpoint(
    model="small", revision="r", weights_sha256="0" * 64, family="dinov2", dim=3, layers=1,
    heads=1, patch_px=8, registers=0, parameters=1, mean=(0.5,) * 3, std=(0.5,) * 3,
    statistics_from="", licence=None, files=(),
)  # fmt: skip
SIDE = 16


def served_model(
    checkpoint: Checkpoint, name: str = "small", *, side_px: int = 0, whole_px: int = 0
) -> ServedModel:
    """A model as the service holds it; pictures up to ``whole_px`` are one tile."""
    grid = make_grid(side_px or checkpoint.tile_px)
    if whole_px:
        grid = replace(grid, whole_max_px=whole_px)
    compute = ComputeSettings(device="cpu")
    return ServedModel(
        name, checkpoint, make_space(checkpoint, compute, side_px=grid.side_px), grid
    )


SMALL = served_model(SMALL_CHECKPOINT, side_px=SIDE, whole_px=SIDE)


@dataclass(eq=False)
class Painter:
    """An engine without a network: a tile's tokens are its mean colours, whole and patch by patch.

    Held, its calls wait for a step each, or for ``gate``; ``calls`` says how many tiles each had.
    """

    shapes: Sequence[int] = (1,)
    threads: int = 1
    call_s: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)
    steps: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    calls: list[int] = field(default_factory=list)
    fault: Exception | None = None
    is_held: bool = False

    def encode(self, tiles: np.ndarray, *, is_alone: bool = False) -> Tokens:
        self.calls.append(len(tiles))
        while self.is_held and not self.gate.is_set() and not self.steps.acquire(timeout=0.02):
            pass
        if self.call_s:
            time.sleep(self.call_s)
        if self.fault:
            raise self.fault
        return paint(tiles)

    def to_half(self, values: np.ndarray) -> np.ndarray:
        return to_half(values)


class Decoder:
    """Decodes when it may; ``seen`` is what it decoded."""

    def __init__(self) -> None:
        self.gate, self.seen = threading.Event(), []

    def __call__(self, data: bytes) -> np.ndarray:
        self.seen.append(data)
        if data == b"bad":
            raise UnusableImageError("truncated", "for the test")
        assert self.gate.wait(30)
        return np.zeros((1, 1, 3), np.uint8)


class Absent(WatchedStore):
    """A store that can be taken away."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner, before=self._check)
        self.fault: Exception | None = None
        self.hanging = threading.Event()
        self.hanging.set()

    def _check(self, verb: str, key: str) -> None:
        assert self.hanging.wait(30)
        if self.fault:
            raise self.fault


def paint(tiles: np.ndarray) -> Tokens:
    half = tiles.shape[1] // 2
    values = tiles.astype(np.float32) / 255
    quarters = [
        values[:, y : y + half, x : x + half].mean(axis=(1, 2))
        for y in (0, half)
        for x in (0, half)
    ]
    patches = np.stack(quarters, axis=1)
    return Tokens(cls=values.mean(axis=(1, 2)), mean=patches.mean(axis=1), patches=patches)


def make_settings(root: Path, *, url: str = "data", **serving: Any) -> Settings:
    return Settings(
        root=root,
        storage=StorageSettings(url=url, root=root),
        model="small",
        inbox="inbox",
        device="cpu",
        serving=ServingSettings(**serving),
    )


def make_service(
    engines: Computer, store: ObjectStore, root: Path, *, model: ServedModel = SMALL, **options: Any
) -> Service:
    """A service at hand, without a web server; ``options`` are those of ``Service``."""
    all_options = {"queue_s": 60, "spool_folder": root / "spool", **options}
    return Service(model, engines, EmbeddingStore(store, retention_days=90), **all_options)


@dataclass(eq=False)
class Served:
    """A running service, and how to ask it."""

    url: str
    client: httpx.Client
    app: Any
    server: uvicorn.Server

    @property
    def running(self) -> Running:
        running: Running = self.app.state.running
        return running

    @property
    def service(self) -> Service:
        return self.running.opening.take()

    def embed(self, data: bytes, filename: str = "photo.png", **fields: str) -> httpx.Response:
        files = {"file": (filename, data)}
        return self.client.post("/embed", files=files, data=fields, timeout=60)

    @contextlib.contextmanager
    def connect(self) -> Iterator[socket.socket]:
        """A bare connection, for what no client would send."""
        with socket.create_connection((HOST, int(self.url.rpartition(":")[2])), timeout=60) as line:
            yield line


@contextlib.contextmanager
def serving(
    settings: Settings,
    store: ObjectStore,
    engines: Computer | None = None,
    *,
    model: ServedModel = SMALL,
    open_it: Callable[[Settings, ObjectStore], Service] | None = None,
    wait: bool = True,
    connection: type[TimedConnection] = TimedConnection,
    **options: Any,
) -> Iterator[Served]:
    """Serve with uvicorn in a thread of this process, until the block ends."""
    engines = engines or Painter()

    def open_small(settings: Settings, store: ObjectStore) -> Service:
        return make_service(
            engines, store, settings.root, model=model, queue_s=settings.serving.queue_s, **options
        )

    app = make_app(settings=settings, store=store, open_it=open_it or open_small)
    config = uvicorn.Config(app, host=HOST, port=0, log_config=None, lifespan="on", http=connection)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://{HOST}:{port}"
        with httpx.Client(base_url=url, timeout=60, verify=False) as client:
            served = Served(url, client, app, server)
            if wait:
                wait_until(lambda: served.running.opening.service is not None)
            yield served
    finally:
        if isinstance(engines, Painter):
            engines.gate.set()
        server.should_exit = True
        thread.join(30)


def wait_until(is_so: Callable[[], object], *, limit_s: float = 60) -> None:
    """Wait for what has to come."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def noting_lines() -> Iterator[list[dict[str, Any]]]:
    """The lines that the service writes about its requests, meanwhile."""
    lines: list[dict[str, Any]] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(record.getMessage()))

    log, handler = logging.getLogger("dino_assets.serving.requests"), Noting()
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)


def form_request(data: bytes, *, filename: str = "a.png", more: str = "") -> bytes:
    """An upload as curl sends it, for a bare connection."""
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    body = head.encode() + data + b"\r\n--b--\r\n"
    return (
        "POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n"
    ).encode() + body
