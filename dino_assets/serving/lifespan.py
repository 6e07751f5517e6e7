"""Start and stop of the service in its web server (ASGI lifespan)."""

import contextlib
import ctypes
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

from dino_assets.serving.computing.engines import name_model, open_engines
from dino_assets.serving.connections import limit_connections
from dino_assets.serving.keeping.embedding_store import PIECE_BYTES, EmbeddingStore
from dino_assets.serving.metrics import Metrics
from dino_assets.serving.observing import log_event, open_log
from dino_assets.serving.readiness import StoreProbe, find_overdue_s
from dino_assets.serving.requests.bodies import BodyLimits, UploadRoom
from dino_assets.serving.service import Opening, Service
from dino_assets.settings.environment import find_cache, load_settings
from dino_assets.settings.records import RequestLimits, Settings, StorageSettings
from dino_assets.settings.urls import parse_url
from dino_assets.store.objects import ObjectStore, open_store

log = logging.getLogger(__name__)

# A client waits for the answer, so requests to the store fail within seconds here. In a run, the limit is
# minutes.
STORE_LIMITS = RequestLimits(connect_s=3, stall_s=10, retries=3, retry_for_s=20, piece_s=30)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
# Buffers of a tile (at most 4 MB) reuse the last tile's memory: new pages would cost 6 ms of CPU per tile.
# Memory of decoded photographs returns to the system at once.
LARGE_BUFFER_BYTES, SPARE_BYTES = 8 * 2**20, 16 * 2**20
# Limit of the bytes of all uploads together, until they are decoded.
LEAST_ROOM_BYTES, ROOM_UPLOADS = 256 * 10**6, 4


@dataclass(eq=False)
class Running:
    """State that all routes share: settings, store, service, metrics, limits."""

    settings: Settings
    store: ObjectStore
    opening: Opening
    metrics: Metrics
    probe: StoreProbe
    room: UploadRoom
    limits: BodyLimits
    overdue_s: float | None = None  # replaces the limit that `find_overdue_s` returns
    facts: dict[str, str] = field(default_factory=dict)

    def explain_unready(self) -> str | None:
        """Return why uploads are not accepted; an empty text if they are accepted.

        Return None until the first check of the store has ended.
        """
        if self.opening.is_closing:
            return "the service is being stopped"
        if self.opening.fault:
            return self.opening.fault
        service = self.opening.service
        if service is None:
            return "the model is being loaded and checked"
        longest_s = service.scheduler.longest_call_s()
        limit_s = self.overdue_s or find_overdue_s(service.scheduler.tile_s)
        if longest_s > limit_s:
            return f"a model call has not ended for {longest_s:.0f} s"
        return self.probe.look()


OpenService = Callable[[Settings, ObjectStore], Service]


def open_service(settings: Settings, store: ObjectStore) -> Service:
    """Open the configured model and make the service around it.

    Raises:
        CheckpointError, EngineRefusedError, ConfigError: as ``open_engines``.
    """
    model, engines = open_engines(settings, store)
    engines.widen()
    serving = settings.serving
    leave_out_of_collections()
    return Service(
        model,
        engines,
        EmbeddingStore(store, retention_days=serving.retention_days),
        queue_s=serving.queue_s,
        spool_folder=find_cache(settings.root) / "serving",
        device=engines.device,
        tile_s=engines.measure_tile_s(),
    )


def open_serving_store(storage: StorageSettings) -> ObjectStore:
    """Open the configured store with short timeouts, for clients that wait."""
    store = open_store(replace(storage, limits=STORE_LIMITS))
    store.chunk_bytes = PIECE_BYTES
    return store


def name_storage(settings: Settings) -> str:
    """Return the kind of store as the published API names it: minio, s3, azure, local."""
    scheme = parse_url(settings.storage.url).scheme
    return {"": "local", "az": "azure"}.get(scheme, scheme)


@contextlib.asynccontextmanager
async def run_lifespan(
    app: Any,
    *,
    metrics: Metrics,
    is_open: bool | None = None,
    settings: Settings | None = None,
    store: ObjectStore | None = None,
    open_it: OpenService = open_service,
) -> AsyncIterator[dict[str, Running]]:
    """Read the settings, open the service in a background thread, and close it after the last answer.

    ``settings``, ``store`` and ``open_it`` replace what is configured. ``is_open`` replaces the setting
    ``DINO_SERVE_OPEN``.

    Raises:
        ConfigError: a setting is invalid; the server does not start.
    """
    open_log()
    keep_memory_flat()
    limit_connections()
    settings = settings or load_settings()
    if is_open is not None:  # given on the command line
        settings = replace(settings, serving=replace(settings.serving, is_open=is_open))
    store = store or open_serving_store(settings.storage)
    opening = Opening()
    serving = settings.serving
    running = Running(
        settings=settings,
        store=store,
        opening=opening,
        metrics=metrics,
        probe=StoreProbe(store),
        room=UploadRoom(max(LEAST_ROOM_BYTES, ROOM_UPLOADS * serving.upload_bytes)),
        limits=BodyLimits(serving.upload_bytes),
        facts={"model": name_model(settings), "storage": name_storage(settings)},
    )
    app.state.running = running
    opening.begin(lambda: open_it(settings, store))
    log_event("starting", url=settings.storage.url, **running.facts)
    with handle_stop_signals(opening):
        yield {"running": running}
    opening.is_closing = True
    log_event("ending")
    if opening.service is not None:
        opening.service.close()


def keep_memory_flat() -> None:
    """Configure glibc to return large buffers to the system at once and to keep some MB for small ones.

    By default glibc raises the size from which a buffer counts as large. Buffers below that size come from
    heaps, which cannot shrink while they hold buffers of other threads. If only this size is fixed, glibc
    shrinks its heaps to 128 KB after each tile. So the number of bytes that a heap keeps is set too. Other C
    libraries are not changed.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, SPARE_BYTES)


def leave_out_of_collections() -> None:
    """Exclude all existing objects from Python's garbage collection: they live as long as the service.

    With a model's libraries loaded these are 250,000 objects. A collection over them takes 150 ms, in
    which no request is answered, not even `/health`.
    """
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def handle_stop_signals(opening: Opening) -> Iterator[None]:
    """Refuse new requests as soon as SIGTERM or Ctrl-C comes, and exit with status 0 after SIGTERM.

    uvicorn's own handler answers the accepted requests, then raises the signal again. An orderly stop would
    then have the exit status of a killed process.
    """
    before: dict[int, Any] = {}

    def notice(number: int, frame: FrameType | None) -> None:
        opening.is_closing = True
        server: Any = getattr(before[number], "__self__", None)
        if number == signal.SIGTERM and hasattr(server, "should_exit"):
            server.should_exit = True
        elif callable(before[number]):
            before[number](number, frame)

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, notice)
    except (
        ValueError
    ):  # signals can be set in the main thread only; a test may start a server in another
        before.clear()
    try:
        yield
    finally:
        for taken, handler in before.items():
            signal.signal(taken, handler)
