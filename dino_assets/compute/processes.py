"""Worker processes: the parts of a task (shards) are distributed over devices, one process per device.

While a worker computes a shard, it sends messages to its parent process, for example that a result is stored.
"""

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol, TypeVar

from dino_assets.errors import WorkerLostError

S = TypeVar("S")
M = TypeVar("M")
ShardIn = TypeVar("ShardIn", contravariant=True)
MessageOut = TypeVar("MessageOut", covariant=True)
# Control messages of a worker: it asks for one more shard, or has finished its job.
_MORE, _END = "more", "end"
# How long to wait until a terminated process ends: it may be in the middle of a long call.
PATIENCE_S = 5.0


@dataclass(frozen=True)
class _Raised:
    """An error in parts, as a worker sends it to its parent process.

    Pickle cannot rebuild an error whose ``__init__`` requires keyword arguments.
    """

    kind: type[Exception]
    arguments: tuple[Any, ...]
    state: dict[str, Any]


class MakeWork(Protocol[ShardIn, MessageOut]):
    """A function that prepares a worker's computation on a device.

    Workers receive the function pickled, so it holds paths, never a loaded model.
    """

    def __call__(
        self, device: str
    ) -> Callable[[Iterable[ShardIn]], Generator[MessageOut, None, None]]:
        """Return the function that computes shards on this device and yields messages about them."""
        ...


@dataclass(eq=False)
class _Process:
    """A worker process and the connection to it; ``is_idle`` while the process waits for a job."""

    process: Any
    connection: Connection
    is_idle: bool = True


class Workers:
    """Worker processes, one per device.

    They stay open, with their resources, from one call of ``map_shards`` to the next. If only one device is
    given and it has no process yet, its work runs in the calling process.
    """

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._processes: dict[tuple[str, int], _Process] = {}  # by device, and number per device

    def map_shards(
        self, shards: Iterable[S], make_work: MakeWork[S, M], *, devices: Sequence[str]
    ) -> Generator[M, None, None]:
        """Compute shards on the devices; yield the workers' messages as they arrive.

        A process requests its next shard when it is ready. Results that a worker stored are kept, even if
        another worker fails. An error that a worker raises is raised again in the calling process. Processes
        that are still busy after an error, or when the caller stops early, are terminated. The next call
        starts new processes.

        Raises:
            WorkerLostError: a process ended unexpectedly, for example because it was killed.
        """
        names = [(device, devices[:at].count(device)) for at, device in enumerate(devices)]
        if len(names) == 1 and names[0] not in self._processes:
            with closing(make_work(devices[0])(shards)) as messages:
                yield from messages
            return
        job = ForkingPickler.dumps(make_work)  # first, so that no process is started if this fails
        try:
            yield from _distribute(iter(shards), [self._begin(name, job) for name in names])
        finally:
            self._end(only_busy=True)

    def close(self) -> None:
        """Terminate all processes, busy or not."""
        self._end(only_busy=False)

    def _begin(self, name: tuple[str, int], job: Any) -> _Process:
        """Send a job to a device's process; start the process if necessary."""
        if (worker := self._processes.get(name)) and _send_job(worker, job):
            return worker
        if worker:  # the process has ended since the last call
            worker.connection.close()
        worker = self._processes[name] = _start(name[0])
        if not _send_job(worker, job):
            raise _lost_error(worker.process)
        return worker

    def _end(self, *, only_busy: bool) -> None:
        ending = {n: w for n, w in self._processes.items() if not (only_busy and w.is_idle)}
        for worker in ending.values():
            worker.connection.close()
            worker.process.terminate()
        for name, worker in ending.items():
            worker.process.join(self._patience_s)
            worker.process.kill()
            worker.process.join()
            del self._processes[name]


def _send_job(worker: _Process, job: Any) -> bool:
    """Send a job. Return False if the process has ended."""
    try:
        worker.connection.send_bytes(job)
    except OSError:
        return False
    worker.is_idle = False
    return True


def _start(device: str) -> _Process:
    context = multiprocessing.get_context("spawn")  # torch does not work in a forked process
    parent_end, worker_end = context.Pipe()
    process = context.Process(target=_serve, args=(device, worker_end), daemon=True)
    process.start()
    worker_end.close()  # so that reading ends when the process ends
    return _Process(process, parent_end)


def _distribute(shards: Iterator[Any], workers: Sequence[_Process]) -> Iterator[Any]:
    working = {worker.connection: worker for worker in workers}
    while working:
        for connection in wait(list(working)):
            assert isinstance(connection, Connection)
            worker = working[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):
                raise _lost_error(worker.process) from None
            if message == _MORE:
                # Outside of `try`, because errors of `shards` do not come from a worker.
                shard = next(shards, None)
                try:
                    connection.send(shard)
                except OSError:
                    raise _lost_error(worker.process) from None
            elif message == _END:
                worker.is_idle = True
                del working[connection]
            elif isinstance(message, _Raised):
                worker.is_idle = True
                raise _rebuild(message)
            else:
                yield message


def _lost_error(process: Any) -> WorkerLostError:
    process.join(PATIENCE_S)
    return WorkerLostError(
        f"a worker process ended with code {process.exitcode}: it was killed, or memory ran out. "
        "Finished shards are kept; run again.",
        exit_code=process.exitcode,
    )


def _serve(device: str, connection: Connection) -> None:
    """Run a worker's process: receive jobs one by one, request shards, send messages."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A killed parent cannot end its workers, so each worker ends itself when its parent has ended.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    while (job := _receive_job(connection)) is not None:
        try:
            with closing(
                ForkingPickler.loads(job)(device)(_request_shards(connection))
            ) as messages:
                for message in messages:
                    connection.send(message)
            connection.send(_END)
        except Exception as err:  # noqa: BLE001 - the parent raises it
            connection.send(_take_apart(err))


def _receive_job(connection: Connection) -> bytes | None:
    try:
        return connection.recv_bytes()
    except EOFError:  # the parent has closed the connection
        return None


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _request_shards(connection: Connection) -> Iterator[Any]:
    while True:
        connection.send(_MORE)
        shard = connection.recv()
        if shard is None:
            return
        yield shard


def _take_apart(err: Exception) -> _Raised:
    """Split an error into parts that can be pickled, with its traceback as a note.

    An error that cannot be pickled becomes a RuntimeError with its type and text.
    """
    import pickle  # noqa: TID251 - tests what the pipe will do

    err.add_note("".join(traceback.format_exception(err)))
    raised = _Raised(type(err), err.args, dict(err.__dict__))
    try:
        pickle.loads(pickle.dumps(raised))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001
        notes = {"__notes__": err.__notes__}
        return _Raised(RuntimeError, (f"{type(err).__name__}: {err}",), notes)
    return raised


def _rebuild(raised: _Raised) -> Exception:
    err = raised.kind.__new__(raised.kind, *raised.arguments)
    err.args = raised.arguments
    err.__dict__.update(raised.state)
    return err
