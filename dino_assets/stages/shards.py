"""Shards: whole images whose tiles are computed together, and the one way to work on them."""

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from dino_assets.errors import WorkerLostError
from dino_assets.records import Receipt
from dino_assets.store.sealing import digest

SHARD_TILES = 256
# What a worker's process says between its messages.
_MORE, _END = "more", "end"
# A process that is told to end may be in the middle of a long call.
_PATIENCE_S = 5.0


@dataclass(frozen=True, eq=False)
class Shard:
    """Whole images; ``id`` names what goes in, ``number`` and ``first`` (row) its place in the drop.

    ``known`` are rows of its tiles that another drop has already.
    """

    number: int
    first: int
    id: str
    tiles: pa.Table
    known: pa.Table | None = None


@dataclass(frozen=True)
class Ready:
    """A worker can begin: what it computes with, and how fast that was when it was tried."""

    facts: dict[str, Any]
    threads: int
    tile_s: float = 0.0  # on the clock, for a tile among others; 0 where nothing was tried
    image_s: float = 0.0
    tile_bytes: float = 0.0


@dataclass(frozen=True)
class Step:
    """Some tiles are computed; what that took, summed over threads."""

    tiles: int = 0
    read_s: float = 0.0
    compute_s: float = 0.0
    write_s: float = 0.0
    warning: str | None = None


@dataclass(frozen=True)
class Done:
    """A shard is stored."""

    number: int
    receipt: Receipt


@dataclass(frozen=True)
class _Raised:
    """An error on its way to the parent, in pieces: an ``__init__`` with keywords does not unpickle."""

    kind: type[Exception]
    arguments: tuple[Any, ...]
    state: dict[str, Any]


Message = Ready | Step | Done
Work = Callable[[Iterable[Shard]], Generator[Message, None, None]]


class MakeWork(Protocol):
    """What a worker gets: where everything lies, never a loaded model. Must travel to a process."""

    def __call__(self, device: str) -> Work:
        """Make ready what computes on this device."""
        ...


def cut_shards(tiles: pa.Table, *, recipe_id: str, shard_tiles: int = SHARD_TILES) -> list[Shard]:
    """Group a drop's tiles (sorted by id) into shards of whole images."""
    ids = tiles["image_id"].to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.empty(0, int)
    bounds = [*starts.tolist(), len(ids)]
    cuts = [0]
    for begin, end in pairwise(bounds):
        if end - cuts[-1] > shard_tiles and begin > cuts[-1]:
            cuts.append(begin)
    cuts = [*cuts, len(ids)] if len(ids) else [0]
    pieces = [(begin, tiles.slice(begin, end - begin)) for begin, end in pairwise(cuts)]
    return [
        Shard(number, begin, name_shard(piece, recipe_id), piece)
        for number, (begin, piece) in enumerate(pieces)
    ]


def name_shard(tiles: pa.Table, recipe_id: str) -> str:
    """A shard's id. Not its place: whether a picture came before it does not change what is computed."""
    return digest([recipe_id, tiles["tile_id"].to_pylist()])[:32]


def map_shards(
    shards: Iterable[Shard], make_work: MakeWork, *, devices: Sequence[str]
) -> Generator[Message, None, None]:
    """Work on shards, one worker per device; messages as they come, a ``Done`` for every shard.

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
            process.join(_PATIENCE_S)
            process.kill()
            process.join()


def _attend(shards: Iterator[Shard], workers: dict[Connection, Any]) -> Iterator[Message]:
    lines = dict(workers)
    while lines:
        for line in wait(list(lines)):
            assert isinstance(line, Connection)
            try:
                said = line.recv()
            except (EOFError, OSError):
                raise _lost(lines[line]) from None
            if said == _MORE:
                shard = _detach(next(shards, None))  # its own errors are nobody else's
                try:
                    line.send(shard)
                except OSError:
                    raise _lost(lines[line]) from None
            elif said == _END:
                del lines[line]
            elif isinstance(said, _Raised):
                raise _rebuild(said)
            else:
                yield said


def _lost(process: Any) -> WorkerLostError:
    process.join(_PATIENCE_S)
    return WorkerLostError(
        f"the process of one device ended with code {process.exitcode}: killed, or out of memory. "
        "Finished shards are kept; run again."
    )


def _detach(shard: Shard | None) -> Shard | None:
    """The shard with rows of its own: a pickled slice takes the whole drop's table along."""
    if shard is None:
        return None
    return replace(shard, tiles=shard.tiles.take(np.arange(shard.tiles.num_rows)))


def _serve(make_work: MakeWork, device: str, line: Connection) -> None:
    """A worker process: asks for shards until there is none, tells what it does."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that is killed cannot say so; nothing is to go on computing for nobody.
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


def _ask(line: Connection) -> Iterator[Shard]:
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
