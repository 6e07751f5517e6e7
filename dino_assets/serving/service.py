"""The service: from an upload to its answer, once for all who send the same."""

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
from dino_assets.serving.keeping.records import Asker, answer, find_uri
from dino_assets.serving.keeping.shelf import EmbeddingShelf
from dino_assets.serving.problems import Problem
from dino_assets.serving.requests.admission import Admission, Limits
from dino_assets.serving.requests.bodies import Upload
from dino_assets.serving.requests.options import EmbedOptions
from dino_assets.serving.requests.planning import ServedModel, UploadPlan, plan_upload

log = logging.getLogger(__name__)
T = TypeVar("T")

# Threads that wait for the store; each holds some MiB of one file at most.
STORE_THREADS = 4
# Threads that hash uploads and read headers.
PLANNING_THREADS = 2


@dataclass(eq=False)
class SharedComputation:
    """One computation, and how many wait for it."""

    task: "asyncio.Task[tuple[str, bool]]"
    waiting: int = 0


class Service:
    """An engine at work: accepts pictures, answers with where their embeddings are."""

    def __init__(
        self,
        model: ServedModel,
        engines: Computer,
        shelf: EmbeddingShelf,
        *,
        queue_s: float,
        spool_folder: Path,
        device: str = "cpu",
        tile_s: float = 0.0,
        decoding: Decoding | None = None,
    ) -> None:
        self.model = model
        self.shelf = shelf
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
        self._flights: dict[str, SharedComputation] = {}
        self._storing = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
        self._planning = ThreadPoolExecutor(PLANNING_THREADS, thread_name_prefix="plan")

    async def plan(self, data: bytes, options: EmbedOptions) -> UploadPlan:
        """What an upload will become.

        Raises:
            Problem: unusable-picture, result-too-large.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._planning, plan_upload, data, options, self.model)

    async def embed(
        self, upload: Upload, plan: UploadPlan, *, asker: Asker
    ) -> tuple[dict[str, Any], bool]:
        """Have an upload's embedding in the store; gives the answer, and whether it was made now.

        Cancelled, it stops what nobody else waits for.

        Raises:
            Problem: busy, disk-full; what ``compute_picture`` and the store raise.
        """
        uri = find_uri(self.shelf.store, plan.id)
        said = answer(plan, self.model, uri=uri, filename=upload.form.filename)
        flight = self._flights.get(plan.id)
        is_first = flight is None
        if flight is None:
            # Whatever becomes of the first one's request: others may wait for its picture.
            task = asyncio.create_task(self._fly(upload, [upload.data], plan, said, asker))
            flight = self._flights[plan.id] = SharedComputation(task)
            task.add_done_callback(lambda _: self._land(plan.id, flight))
        else:
            upload.drop()  # the first one's is enough
        flight.waiting += 1
        try:
            expires, is_new = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Whoever sends the same picture from now on begins anew.
                self._land(plan.id, flight)
                flight.task.cancel()
        return {**said, "expires": expires}, is_new and is_first

    def _land(self, embedding_id: str, flight: SharedComputation) -> None:
        if self._flights.get(embedding_id) is flight:  # else a later one has taken its place
            del self._flights[embedding_id]

    async def run_in_store(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call the store in one of its threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._storing, lambda: call(*arguments, **options))

    async def _fly(
        self,
        upload: Upload,
        data: list[bytes],  # taken out of it when the picture waits to be decoded
        plan: UploadPlan,
        said: Mapping[str, Any],
        asker: Asker,
    ) -> tuple[str, bool]:
        """When the embedding expires, and whether it was made now."""
        if found := await self.run_in_store(self.shelf.find, plan.id):
            return found.isoformat(), False
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
            # Computed is paid for: it is stored, whether or not somebody still waits.
            storing = asyncio.ensure_future(
                self.run_in_store(self._store, tokens, plan, said, asker)
            )
            storing.add_done_callback(_retrieve)
            return await asyncio.shield(storing), True

    def _store(
        self, tokens: PictureTokens, plan: UploadPlan, said: Mapping[str, Any], asker: Asker
    ) -> str:
        try:
            sidecar = self.shelf.commit(
                plan.id,
                tokens.stream(self.model, self._space),
                image_sha256=plan.image_id,
                about={**said, "space": self._space},
                asker=asker,
            )
            return sidecar.expires
        finally:
            tokens.close()

    def close(self) -> None:
        """End all threads once what was accepted is done."""
        for pool in (self._planning, self._storing):
            pool.shutdown(wait=True, cancel_futures=True)
        self.decoding.close()
        self.scheduler.close()


def _retrieve(storing: "asyncio.Future[str]") -> None:
    """Take an error that nobody waits for any more: asyncio would print it, with all its words."""
    if not storing.cancelled() and storing.exception():
        log.info("an embedding that nobody waits for was not stored")


def _free_bytes(folder: Path) -> int:
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(place).free


@dataclass(eq=False)
class Opening:
    """A service that is being opened in a thread of its own: `/health` answers meanwhile."""

    service: Service | None = None
    fault: str = ""  # for everybody who can ask; the log says more
    is_closing: bool = False

    def begin(self, open_service: Callable[[], Service]) -> None:
        """Start it."""

        def work() -> None:
            try:
                self.service = open_service()
            except DinoAssetsError as err:
                self.fault = f"the service cannot be opened: {public_name(err)}; its log says more"
                log.error("the service cannot be opened: %s: %s", public_name(err), err)
            except Exception as err:
                self.fault = (
                    f"the service cannot be opened: {type(err).__name__}; its log says more"
                )
                log.exception("the service cannot be opened")

        self._thread = threading.Thread(target=work, name="opening", daemon=True)
        self._thread.start()

    def check_open(self) -> None:
        """Raise when nothing may be accepted any more.

        Raises:
            Problem: shutting-down.
        """
        if self.is_closing:
            raise Problem("shutting-down")

    def take(self) -> Service:
        """The service, for a request.

        Raises:
            Problem: not-ready, shutting-down.
        """
        self.check_open()
        if self.fault:
            raise Problem("not-ready", self.fault)
        if self.service is None:
            raise Problem("not-ready")
        return self.service
