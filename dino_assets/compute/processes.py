"""Shards of work over devices: in this process, or one process per device."""

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
# What a worker's process sends between its messages.
_MORE, _END = "more", "end"
# A process that is asked to end may be in the middle of a long call.
PATIENCE_S = 5.0


@dataclass(frozen=True)
class _Raised:
    """An error on its way to the parent, in pieces: an ``__init__`` with keywords does not unpickle."""

    kind: type[Exception]
    arguments: tuple[Any, ...]
    state: dict[str, Any]


class MakeWork(Protocol[ShardIn, MessageOut]):
    """What a worker gets: where everything lies, never a loaded model. Must travel to a process."""

    def __call__(
        self, device: str
    ) -> Callable[[Iterable[ShardIn]], Generator[MessageOut, None, None]]:
        """Make ready what computes on this device."""
        ...


@dataclass(eq=False)
class _Process:
    """A worker's process and the line to it; idle while it waits for work."""

    process: Any
    line: Connection
    is_idle: bool = True


class Workers:
    """One worker per device, kept from one call to the next with what it has opened.

    One device is worked on in this process, several each in a process of its own.
    """

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._processes: dict[tuple[str, int], _Process] = {}  # by device, and which of those alike

    def map_shards(
        self, shards: Iterable[S], make_work: MakeWork[S, M], *, devices: Sequence[str]
    ) -> Generator[M, None, None]:
        """Work on shards; messages as they come.

        A process asks for its next shard when it has room. What a worker stored stays, whatever happens to
        the others. A process that is gone, or in the middle of something that nobody waits for any more, is
        ended, and the next call starts another one.

        Raises:
            WorkerLostError: a process was killed. Whatever a worker raises is raised here.
        """
        names = [(device, devices[:at].count(device)) for at, device in enumerate(devices)]
        if len(names) == 1 and names[0] not in self._processes:
            with closing(make_work(devices[0])(shards)) as messages:
                yield from messages
            return
        job = ForkingPickler.dumps(make_work)  # before a process is started for what cannot travel
        try:
            yield from _attend(iter(shards), [self._begin(name, job) for name in names])
        finally:
            self._end(only_busy=True)

    def close(self) -> None:
        """End all processes, whatever they do."""
        self._end(only_busy=False)

    def _begin(self, name: tuple[str, int], job: Any) -> _Process:
        """Have a device's process work on a job; start it if it is not there."""
        if (worker := self._processes.get(name)) and _sends(worker, job):
            return worker
        if worker:  # gone since the last call
            worker.line.close()
        worker = self._processes[name] = _start(name[0])
        if not _sends(worker, job):
            raise _lost(worker.process)
        return worker

    def _end(self, *, only_busy: bool) -> None:
        ending = {n: w for n, w in self._processes.items() if not (only_busy and w.is_idle)}
        for worker in ending.values():
            worker.line.close()
            worker.process.terminate()
        for name, worker in ending.items():
            worker.process.join(self._patience_s)
            worker.process.kill()
            worker.process.join()
            del self._processes[name]


def _sends(worker: _Process, job: Any) -> bool:
    try:
        worker.line.send_bytes(job)
    except OSError:
        return False
    worker.is_idle = False
    return True


def _start(device: str) -> _Process:
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(device, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its end is the end of the line
    return _Process(process, ours)


def _attend(shards: Iterator[Any], workers: Sequence[_Process]) -> Iterator[Any]:
    working = {worker.line: worker for worker in workers}
    while working:
        for line in wait(list(working)):
            assert isinstance(line, Connection)
            worker = working[line]
            try:
                message = line.recv()
            except (EOFError, OSError):
                raise _lost(worker.process) from None
            if message == _MORE:
                shard = next(shards, None)  # its own errors are nobody else's
                try:
                    line.send(shard)
                except OSError:
                    raise _lost(worker.process) from None
            elif message == _END:
                worker.is_idle = True
                del working[line]
            elif isinstance(message, _Raised):
                worker.is_idle = True
                raise _rebuild(message)
            else:
                yield message


def _lost(process: Any) -> WorkerLostError:
    process.join(PATIENCE_S)
    return WorkerLostError(
        f"the process of one device ended with code {process.exitcode}: killed, or out of memory. "
        "Finished shards are kept; run again.",
        exit_code=process.exitcode,
    )


def _serve(device: str, line: Connection) -> None:
    """Work in a process of its own: take jobs one by one, ask for shards until there is none, send messages."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that is killed cannot send an end; no worker may outlive it.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    while (job := _receive(line)) is not None:
        try:
            with closing(ForkingPickler.loads(job)(device)(_ask(line))) as messages:
                for message in messages:
                    line.send(message)
            line.send(_END)
        except Exception as err:  # noqa: BLE001 - the parent raises it
            line.send(_take_apart(err))


def _receive(line: Connection) -> bytes | None:
    try:
        return line.recv_bytes()
    except EOFError:  # the parent has no more work
        return None


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _ask(line: Connection) -> Iterator[Any]:
    while True:
        line.send(_MORE)
        shard = line.recv()
        if shard is None:
            return
        yield shard


def _take_apart(err: Exception) -> _Raised:
    """The error, with what led to it as a note; where its attributes cannot travel, without them."""
    import pickle  # noqa: TID251 - what the pipe does, tried before

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
