"""Progress report of a long computation: a forecast, log lines, and the forecast's error at the end."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from dino_assets.compute.devices import has_other_work
from dino_assets.counting import count_of
from dino_assets.embeddings.run.shards import Done, Message, Shard, Step, WorkerReady
from dino_assets.store.commits.protocol import Spent

log = logging.getLogger(__name__)

EVERY_S = 5.0
FORECAST = "forecast: "  # marks the log line with a run's forecast; `cli/run` looks for it


class ShardProgress:
    """Progress of a drop's shards, counted from the workers' messages and logged."""

    def __init__(
        self,
        drop: str,
        shards: Sequence[Shard],
        reused: Sequence[int],
        *,
        read_clock: Callable[[], float] = time.perf_counter,
        is_busy: Callable[[int], bool] = has_other_work,
    ) -> None:
        self._read_clock = read_clock
        self._is_busy = is_busy
        self._drop = drop
        self._shards, self._reused = len(shards), len(reused)
        todo = [shard for shard in shards if shard.number not in reused]
        self._todo = sum(shard.tiles.num_rows for shard in todo)
        self._images = sum(len(set(shard.tiles["image_id"].to_pylist())) for shard in todo)
        self._made = self._tiles = self._copied = self._whole = 0
        self._spent = [0.0, 0.0, 0.0]  # reading, computing, writing
        self._warnings: list[str] = []
        self._rates: list[tuple[float, float]] = []
        self._forecast_s = 0.0
        self._engine = ""
        self._begun = self._logged = self._read_clock()
        if reused:
            self._log(
                f"{self._reused} of {self._shards} shards are already stored and are reused, "
                f"{self._todo} tiles to compute"
            )

    def _log(self, line: str, *, level: int = logging.INFO) -> None:
        log.log(level, "%s: %s", self._drop, line)

    def warn(self, sentence: str) -> None:
        """Log a warning about this drop."""
        self._log(sentence, level=logging.WARNING)

    def count_copied(self, tiles: int, *, images: int, shards: int) -> None:
        """Note that ``tiles`` tiles of ``images`` images are copied from stored embeddings, not computed.

        ``shards`` is the number of shards that are finished by copying alone.
        """
        self._copied, self._whole = tiles, shards
        self._todo -= tiles
        self._images -= images
        self._log(
            f"{count_of(tiles, 'tile')} of {count_of(images, 'image')} copied from stored embeddings, "
            f"{count_of(self._todo, 'tile')} to compute"
        )

    def update(self, message: Message) -> None:
        """Count a worker's message; log a line every few seconds."""
        if isinstance(message, WorkerReady):
            self._forecast(message)
            return
        if isinstance(message, Step):
            self._tiles += message.tiles
            for place, seconds in enumerate((message.read_s, message.compute_s, message.write_s)):
                self._spent[place] += seconds
            if message.warning:
                self._warnings.append(message.warning)
                self._log(message.warning, level=logging.WARNING)
        if isinstance(message, Done):
            self._made += 1
        if self._read_clock() - self._logged >= EVERY_S:
            self._log_rate()

    def _forecast(self, ready: WorkerReady) -> None:
        if not self._engine:  # the first worker that is ready starts the clock
            self._begun = self._logged = self._read_clock()
        self._engine = ready.facts["engine"]
        for reason in ready.facts.get("refused", ()):
            self._warnings.append(f"refused: {reason}")
            self._log(
                f"using {self._engine}, because another engine was refused: {reason}",
                level=logging.WARNING,
            )
        if not ready.tile_s:
            return
        # One thread per worker reads while others compute, so the slower of the two decides. On a CPU
        # reading also takes time from the same cores.
        self._rates.append((ready.tile_s, ready.image_s))
        tile_s = 1 / sum(1 / tile for tile, _ in self._rates)
        image_s = ready.image_s / len(self._rates)
        reading_s = self._images * image_s
        computing_s = self._todo * tile_s
        shared_s = reading_s / ready.threads if self._engine.endswith("on cpu") else 0.0
        self._forecast_s = max(computing_s + shared_s, reading_s)
        is_busy = self._engine.endswith("on cpu") and self._is_busy(ready.threads)
        busy = "; other programs use this machine, it may take longer" if is_busy else ""
        self._log(
            f"{self._engine}; {FORECAST}{count_of(self._todo, 'tile')} of {count_of(self._images, 'image')}, "
            f"{show_seconds(self._forecast_s)}, {self._todo * ready.tile_bytes / 1e6:.1f} MB{busy}"
        )

    def _log_rate(self) -> None:
        self._logged = now = self._read_clock()
        rate = self._tiles / max(now - self._begun, 1e-9)
        # Rows to copy may be gone when their shard's turn comes; then they are computed.
        self._todo = max(self._todo, self._tiles)
        left_s = (self._todo - self._tiles) / rate if rate else 0.0
        read_s, compute_s, write_s = self._spent
        self._log(
            f"{self._tiles} of {self._todo} tiles ({100 * self._tiles // max(1, self._todo)} %), "
            f"{rate:.1f} tiles/s, about {show_seconds(left_s)} left; {self._describe_shards()}; read "
            f"{read_s:.1f} s, compute {compute_s:.1f} s, write {write_s:.1f} s, summed over threads"
        )

    def _describe_shards(self) -> str:
        done = self._reused + self._whole + self._made
        return f"shard {done} of {self._shards}, {self._reused} reused"

    def finish(self) -> Spent:
        """Log the summary; return the times and the metadata that Dagster shows."""
        took_s = self._read_clock() - self._begun
        metadata: dict[str, Any] = {"shards_reused": self._reused, "shards_made": self._made}
        if self._copied:
            metadata |= {"shards_copied": self._whole, "tiles_copied": self._copied}
        if self._tiles:
            metadata["tiles_per_s"] = round(self._tiles / max(took_s, 1e-9), 2)
            self._log_rate()
        else:
            self._log(f"nothing to compute, {self._describe_shards()}")
        if self._forecast_s:
            metadata |= {"forecast_s": round(self._forecast_s, 1), "took_s": round(took_s, 1)}
            self._log(
                f"took {show_seconds(took_s)}, the forecast was {show_seconds(self._forecast_s)} "
                f"({100 * (took_s / self._forecast_s - 1):+.0f} %)"
            )
        if self._warnings:
            metadata["warnings"] = list(dict.fromkeys(self._warnings))
        read_s, compute_s, write_s = self._spent
        return Spent(read_s, compute_s, metadata, write_s)


def show_seconds(seconds: float) -> str:
    """Format a duration, for example as ``48 s``, ``12.5 min`` or ``3.2 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
