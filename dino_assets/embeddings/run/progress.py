"""What a person sees of a long computation: a forecast before, lines while it runs, both compared after."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from dino_assets.embeddings.run.shards import Done, Message, Ready, Shard, Step
from dino_assets.store.commits.protocol import Spent

log = logging.getLogger(__name__)

EVERY_S = 5.0


class Progress:
    """Hears what workers say about a drop's shards, and logs it."""

    def __init__(
        self,
        drop: str,
        shards: Sequence[Shard],
        reused: Sequence[int],
        *,
        read_clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._read_clock = read_clock
        self._drop = drop
        self._sizes = {shard.number: shard.tiles.num_rows for shard in shards}
        self._reused = set(reused)
        self._made = 0
        todo = [shard for shard in shards if shard.number not in self._reused]
        self._todo = sum(shard.tiles.num_rows for shard in todo)
        self._images = sum(len(set(shard.tiles["image_id"].to_pylist())) for shard in todo)
        self._tiles = self._copied = self._whole = 0
        self._spent = [0.0, 0.0, 0.0]
        self._warnings: list[str] = []
        self._rates: list[tuple[float, float]] = []
        self._forecast_s = 0.0
        self._engine = ""
        self._is_begun = False
        self._begun = self._said = self._read_clock()
        if self._reused:
            log.info(
                "%s: %d of %d shards are there already and are reused, %d tiles to compute",
                drop,
                len(self._reused),
                len(shards),
                self._todo,
            )

    def copied(self, tiles: int, *, images: int, shards: int) -> None:
        """These tiles were embedded already; as many shards are whole with them."""
        self._copied, self._whole = tiles, shards
        self._todo -= tiles
        self._images -= images
        log.info(
            "%s: %d tiles of %d images are embedded already and are copied, %d tiles to compute",
            self._drop,
            tiles,
            images,
            self._todo,
        )

    def hear(self, message: Message) -> None:
        """Take in what a worker says."""
        if isinstance(message, Ready):
            self._hear_ready(message)
            return
        if isinstance(message, Step):
            self._tiles += message.tiles
            for place, seconds in enumerate((message.read_s, message.compute_s, message.write_s)):
                self._spent[place] += seconds
            if message.warning:
                self._warnings.append(message.warning)
                log.warning("%s: %s", self._drop, message.warning)
        if isinstance(message, Done):
            self._made += 1
        if self._read_clock() - self._said >= EVERY_S:
            self._say()

    def _hear_ready(self, ready: Ready) -> None:
        self._engine = ready.facts["engine"]
        for why in ready.facts.get("refused", ()):
            self._warnings.append(f"refused: {why}")
            log.warning("%s: fell back to %s, since %s", self._drop, self._engine, why)
        if not self._is_begun:  # by the first worker that is ready
            self._begun, self._is_begun = self._read_clock(), True
            self._said = self._begun
        if not ready.tile_s:
            return
        # Reading, by one thread of each worker, runs beside computing: the slower of the two counts,
        # and on a CPU it takes its share of the same cores.
        self._rates.append((ready.tile_s, ready.image_s))
        tile_s = 1 / sum(1 / tile for tile, _ in self._rates)
        image_s = ready.image_s / len(self._rates)
        reading_s = self._images * image_s
        is_cpu = self._engine.endswith("on cpu")
        computing_s = self._todo * tile_s
        shared_s = reading_s / ready.threads if is_cpu else 0.0
        self._forecast_s = max(computing_s + shared_s, reading_s)
        log.info(
            "%s: %s; forecast: %d tiles of %d images, %s, %.1f MB",
            self._drop,
            self._engine,
            self._todo,
            self._images,
            show_seconds(self._forecast_s),
            self._todo * ready.tile_bytes / 1e6,
        )

    def _say(self) -> None:
        self._said = now = self._read_clock()
        rate = self._tiles / max(now - self._begun, 1e-9)
        # Rows that were known may be gone when their turn comes, and are computed after all.
        self._todo = max(self._todo, self._tiles)
        left = (self._todo - self._tiles) / rate if rate else 0.0
        log.info(
            "%s: %d of %d tiles (%d %%), %.1f tiles/s, about %s left; shard %d of %d, %d reused; "
            "read %.1f s, compute %.1f s, write %.1f s, summed over threads",
            self._drop,
            self._tiles,
            self._todo,
            100 * self._tiles // max(1, self._todo),
            rate,
            show_seconds(left),
            len(self._reused) + self._whole + self._made,
            len(self._sizes),
            len(self._reused),
            *self._spent,
        )

    def finish(self) -> Spent:
        """Say how it went; what the operator is told beside the times."""
        took_s = self._read_clock() - self._begun
        told: dict[str, Any] = {"shards_reused": len(self._reused), "shards_made": self._made}
        if self._copied:
            told |= {"shards_copied": self._whole, "tiles_copied": self._copied}
        if self._tiles:
            told["tiles_per_s"] = round(self._tiles / max(took_s, 1e-9), 2)
        if self._tiles:
            self._say()
        else:
            log.info(
                "%s: nothing to compute, shard %d of %d, %d reused",
                self._drop,
                len(self._reused) + self._whole + self._made,
                len(self._sizes),
                len(self._reused),
            )
        if self._forecast_s:
            error = took_s / self._forecast_s - 1
            told |= {"forecast_s": round(self._forecast_s, 1), "took_s": round(took_s, 1)}
            log.info(
                "%s: took %s, the forecast was %s (%+.0f %%)",
                self._drop,
                show_seconds(took_s),
                show_seconds(self._forecast_s),
                100 * error,
            )
        if self._warnings:
            told["warnings"] = list(dict.fromkeys(self._warnings))
        return Spent(self._spent[0], self._spent[1], told, self._spent[2])


def show_seconds(seconds: float) -> str:
    """Reads like ``48 s``, ``12.5 min`` or ``3.2 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
