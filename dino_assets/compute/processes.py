"""Shards of work over devices: in this process, or one process per device."""

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
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


def map_shards(
    shards: Iterable[S],
    make_work: MakeWork[S, M],
    *,
    devices: Sequence[str],
    patience_s: float = PATIENCE_S,
) -> Generator[M, None, None]:
    """Work on shards, one worker per device; messages as they come.

    One device is worked on in this process, several each in a process of its own, which asks for its
    next shard when it has room. What a worker stored stays, whatever happens to the others.

    Raises:
        WorkerLostError: a process was killed. Whatever a worker raises is raised here.
    """
    if len(devices) == 1:
        with closing(make_work(devices[0])(shards)) as messages:
            yield from messages
        return
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    workers: dict[Connection, Any] = {}
    try:
        for device in devices:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(make_work, device, theirs), daemon=True)
            process.start()
            theirs.close()  # so that its end is the end of the line
            workers[ours] = process
        yield from _attend(iter(shards), workers)
    finally:
        for line, process in workers.items():
            line.close()
            process.terminate()
        for process in workers.values():
            process.join(patience_s)
            process.kill()
            process.join()


def _attend(shards: Iterator[Any], workers: dict[Connection, Any]) -> Iterator[Any]:
    lines = dict(workers)
    while lines:
        for line in wait(list(lines)):
            assert isinstance(line, Connection)
            try:
                message = line.recv()
            except (EOFError, OSError):
                raise _lost(lines[line]) from None
            if message == _MORE:
                shard = next(shards, None)  # its own errors are nobody else's
                try:
                    line.send(shard)
                except OSError:
                    raise _lost(lines[line]) from None
            elif message == _END:
                del lines[line]
            elif isinstance(message, _Raised):
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


def _serve(make_work: MakeWork[Any, Any], device: str, line: Connection) -> None:
    """Work in a process of its own: ask for shards until there is none, send messages."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that is killed cannot send an end; no worker may outlive it.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        for message in make_work(device)(_ask(line)):
            line.send(message)
        line.send(_END)
    except Exception as err:  # noqa: BLE001 - the parent raises it
        line.send(_take_apart(err))


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
