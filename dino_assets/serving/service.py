"""The embedding service: uploads in, stored embeddings out; equal uploads are computed once."""

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dino_assets.embeddings.space import name_space
from dino_assets.errors import DinoAssetsError, public_name
from dino_assets.serving.computing.decoding import Decoding
from dino_assets.serving.computing.pictures import PictureTokens, compute_picture
from dino_assets.serving.computing.scheduling import Computer, Scheduler
from dino_assets.serving.keeping.embedding_store import EmbeddingStore
from dino_assets.serving.keeping.records import Asker, answer, find_uri
from dino_assets.serving.problems import Problem
from dino_assets.serving.requests.admission import Admission, Limits
from dino_assets.serving.requests.bodies import Upload
from dino_assets.serving.requests.options import EmbedOptions
from dino_assets.serving.requests.planning import ServedModel, UploadPlan, plan_upload

log = logging.getLogger(__name__)
T = TypeVar("T")

# Threads that wait for the store. Each holds a few MiB of one file at most.
STORE_THREADS = 4
# Threads that hash uploads and read image headers.
PLANNING_THREADS = 2


@dataclass(eq=False)
class SharedComputation:
    """One embedding that is being made, and the number of requests that wait for it."""

    task: "asyncio.Task[tuple[str, bool]]"
    waiting: int = 0


class Service:
    """The opened model with its queues, threads and store; it embeds uploads."""

    def __init__(
        self,
        model: ServedModel,
        engines: Computer,
        embeddings: EmbeddingStore,
        *,
        queue_s: float,
        spool_folder: Path,
        device: str = "cpu",
        tile_s: float = 0.0,
        decoding: Decoding | None = None,
    ) -> None:
        self.model = model
        self.embeddings = embeddings
        self.device = device
        self.engine_name = getattr(engines, "name", type(engines).__name__)
        self.scheduler = Scheduler(engines, tile_s=tile_s)
        self.decoding = decoding or Decoding()
        self.admission = Admission(
            Limits(queue_s),
            tile_s=lambda: self.scheduler.tile_s,
            threads=engines.threads,
            free_bytes=lambda: _free_bytes(spool_folder),
        )
        self._spool_folder = spool_folder
        self._space = name_space(model.space)
        self._computations: dict[str, SharedComputation] = {}
        self._storing = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
        self._planning = ThreadPoolExecutor(PLANNING_THREADS, thread_name_prefix="plan")

    async def plan(self, data: bytes, options: EmbedOptions) -> UploadPlan:
        """Plan an upload's embedding from the picture's header: its tiles, shape and id.

        Raises:
            Problem: unusable-picture, result-too-large.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._planning, plan_upload, data, options, self.model)

    async def embed(
        self, upload: Upload, plan: UploadPlan, *, asker: Asker
    ) -> tuple[dict[str, Any], bool]:
        """Embed an upload, or reuse the stored embedding of an equal upload.

        Return the answer, and whether the embedding was computed now. If the call is cancelled, the
        computation stops unless another request waits for it.

        Raises:
            Problem: busy, disk-full.
            DinoAssetsError: as raised by ``compute_picture`` or the store.
        """
        uri = find_uri(self.embeddings.store, plan.id)
        members = answer(plan, self.model, uri=uri, filename=upload.form.filename)
        computation = self._computations.get(plan.id)
        is_first = computation is None
        if computation is None:
            # A task of its own: if the first request is cancelled, others may still wait for it.
            task = asyncio.create_task(
                self._find_or_compute(upload, [upload.data], plan, members, asker)
            )
            computation = self._computations[plan.id] = SharedComputation(task)
            task.add_done_callback(lambda _: self._forget(plan.id, computation))
        else:
            upload.drop()  # the first request's bytes are equal
        computation.waiting += 1
        try:
            expires, is_new = await asyncio.shield(computation.task)
        finally:
            computation.waiting -= 1
            if not computation.waiting and not computation.task.done():
                # A later request with the same picture starts a new computation.
                self._forget(plan.id, computation)
                computation.task.cancel()
        return {**members, "expires": expires}, is_new and is_first

    def _forget(self, embedding_id: str, computation: SharedComputation) -> None:
        # A later computation of the same id stays.
        if self._computations.get(embedding_id) is computation:
            del self._computations[embedding_id]

    async def run_in_store(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a function in a store thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._storing, lambda: call(*arguments, **options))

    async def _find_or_compute(
        self,
        upload: Upload,
        data: list[bytes],  # one element; removed once the picture is queued for decoding
        plan: UploadPlan,
        members: Mapping[str, Any],
        asker: Asker,
    ) -> tuple[str, bool]:
        """Return the day on which the embedding expires, and whether it was computed now."""
        if expires := await self.run_in_store(self.embeddings.find, plan.id):
            return expires.isoformat(), False
        with self.admission.admit(plan) as share:
            tokens = await compute_picture(
                data.pop(),
                plan,
                drop=upload.drop,
                decoding=self.decoding,
                scheduler=self.scheduler,
                share=share,
                folder=self._spool_folder,
                side_px=self.model.grid.side_px,
            )
            # A computed embedding is stored even if no client waits for it any more.
            storing = asyncio.ensure_future(
                self.run_in_store(self._store, tokens, plan, members, asker)
            )
            storing.add_done_callback(_retrieve)
            return await asyncio.shield(storing), True

    def _store(
        self, tokens: PictureTokens, plan: UploadPlan, members: Mapping[str, Any], asker: Asker
    ) -> str:
        try:
            sidecar = self.embeddings.commit(
                plan.id,
                tokens.stream(self.model, self._space),
                image_sha256=plan.image_id,
                about={**members, "space": self._space},
                asker=asker,
            )
            return sidecar.expires
        finally:
            tokens.close()

    def close(self) -> None:
        """End all threads, after the last request was answered.

        Calls for planning or storing that have not begun are cancelled.
        """
        for pool in (self._planning, self._storing):
            pool.shutdown(wait=True, cancel_futures=True)
        self.decoding.close()
        self.scheduler.close()


def _retrieve(storing: "asyncio.Future[str]") -> None:
    """Retrieve the error of a store task, even if no request waits for the task: else asyncio prints it."""
    if not storing.cancelled() and storing.exception():
        log.info("storing an embedding failed; a client that still waits gets the error")


def _free_bytes(folder: Path) -> int:
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(place).free


@dataclass(eq=False)
class Opening:
    """The opening of a service in a background thread, so that `/health` answers meanwhile."""

    service: Service | None = None
    fault: str = ""  # shown to every client; details are in the log only
    is_closing: bool = False

    def begin(self, open_service: Callable[[], Service]) -> None:
        """Start the thread that opens the service."""

        def work() -> None:
            try:
                self.service = open_service()
            except DinoAssetsError as err:
                self.fault = f"opening the service failed: {public_name(err)}; its log says why"
                log.error("opening the service failed: %s: %s", public_name(err), err)
            except Exception as err:
                self.fault = f"opening the service failed: {type(err).__name__}; its log says why"
                log.exception("opening the service failed")

        self._thread = threading.Thread(target=work, name="opening", daemon=True)
        self._thread.start()

    def check_open(self) -> None:
        """Check that the service is not being stopped.

        Raises:
            Problem: shutting-down.
        """
        if self.is_closing:
            raise Problem("shutting-down")

    def take(self) -> Service:
        """Return the opened service.

        Raises:
            Problem: not-ready, shutting-down.
        """
        self.check_open()
        if self.fault:
            raise Problem("not-ready", self.fault)
        if self.service is None:
            raise Problem("not-ready")
        return self.service
