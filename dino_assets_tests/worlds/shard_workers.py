"""Work on shards that needs no model, for other processes too; run as a program it waits to be killed."""

import os
import signal
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from dino_assets.compute.processes import PATIENCE_S, Workers
from dino_assets.embeddings.run.shards import Done, Message, Shard, Step, Work, WorkerReady
from dino_assets.errors import ConfigError, CorruptObjectError, SourceError, UnusableImageError
from dino_assets.store.commits.protocol import OutputId, Receipt

ERRORS = {
    "source": SourceError("'a.jpg' is not the photograph that was tiled"),
    "keywords": CorruptObjectError("a part is gone", store="memory://", key="parts/1"),
    "rewritten": UnusableImageError("blank", "one colour"),
    "config": ConfigError("columns is empty"),
}


class Stubborn(Exception):
    """Cannot travel."""

    def __init__(self) -> None:
        super().__init__("a lock inside")
        self.inside = lambda: None


def make_shards(count: int, *, rows: int = 4) -> list[Shard]:
    """Shards as slices of one table, as ``cut_shards`` gives them."""
    ids = [f"tile-{row:06d}" for row in range(count * rows)]
    table = pa.table({"tile_id": ids, "image_id": ids})
    return [Shard(n, n * rows, f"s{n}", table.slice(n * rows, rows)) for n in range(count)]


def map_shards(
    shards: Iterable[Shard],
    work: "Echo",
    *,
    devices: Sequence[str],
    patience_s: float = PATIENCE_S,
) -> Generator[Message, None, None]:
    """Work on shards by workers that end with this call."""
    with closing(Workers(patience_s=patience_s)) as workers:
        yield from workers.map_shards(shards, work, devices=devices)


@dataclass(frozen=True)
class Echo:
    """A ``MakeWork``: a receipt with the shard's ids; at some shard it dies, fails or waits."""

    folder: Path
    at: int = -1
    how: str = ""
    wait_s: float = 0.0
    device: str = ""

    def __call__(self, device: str) -> Work:
        (self.folder / f"{device}-{os.getpid()}.pid").touch()
        if self.how == "fail to open" and device == "1":
            raise ConfigError("no such device")
        if self.how == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return replace(self, device=device).run

    def run(self, shards: Iterable[Shard]) -> Generator[Message, None, None]:
        yield WorkerReady({"engine": f"echo on {self.device}"}, 1)
        for shard in shards:
            if shard.number == self.at:
                self.strike()
            time.sleep(self.wait_s)
            ids = shard.tiles["tile_id"].to_pylist()
            yield Step(len(ids))
            facts = {"ids": ids, "pid": os.getpid(), "shard_bytes": shard.tiles.nbytes}
            yield Done(shard.number, Receipt(OutputId("echo"), shard.id, (), facts))

    def strike(self) -> None:
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "exit":
            sys.exit(3)
        if self.how == "stubborn":
            raise Stubborn
        raise ERRORS[self.how]


if __name__ == "__main__":
    work = Echo(Path(sys.argv[1]), wait_s=60.0)
    list(map_shards(make_shards(6), work, devices=["0", "1"]))
