"""What a flood does to a service that runs: memory, and whether its refusals say the right time."""

import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from dino_assets.drawing.photographs import draw_photo
from dino_assets.serving.bench.flood import FloodAnswer, LoadPicture, ask_health

# Share, width, height, tokens: a snapshot, a picture, a photograph.
MIX = ((0.7, 640, 480, "patches"), (0.25, 2048, 1536, "mean"), (0.05, 5472, 3648, "mean"))


def draw_mix() -> list[LoadPicture]:
    """The pictures of the mix."""
    return [
        LoadPicture(
            f"{width}x{height}.jpg",
            draw_photo(number, width=width, height=height),
            share,
            {"tokens": tokens},
        )
        for number, (share, width, height, tokens) in enumerate(MIX)
    ]


@dataclass
class Seen:
    """What was read off the service meanwhile: time, tiles computed, tiles waiting, MB."""

    rows: list[tuple[float, float, float, float]] = field(default_factory=list)


def is_odd(answer: FloodAnswer) -> bool:
    """Neither an embedding nor a refusal that says how much work waits."""
    return answer.status != 200 and not (answer.slug == "busy" and answer.forecast_s)


def watch(url: str, pid: int, stopping: threading.Event, *, every_s: float = 0.5) -> Seen:
    """Read figures and memory until told to stop."""
    figures = Seen()
    with httpx.Client(base_url=url, timeout=30) as client:
        while not stopping.wait(every_s):
            text = client.get("/metrics").text
            values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
            status = Path(f"/proc/{pid}/status").read_text()
            rss_kb = int(status.partition("VmRSS:")[2].split()[0])
            tiles, waiting = (
                float(values[f"dino_{n}"]) for n in ("tiles_computed", "waiting_tiles")
            )
            figures.rows.append((time.monotonic(), tiles, waiting, rss_kb / 1024))
    return figures


def judge_refusals(refusals: Sequence[FloodAnswer], seen: Seen) -> list[float]:
    """How long each refusal's wait really was, as a share of what was said.

    A refusal says after how many seconds some of the waiting tiles will be computed; the figures show
    when so many were.
    """
    times, computed, waiting, _ = np.array(seen.rows).T
    shares = []
    for each in refusals:
        tiles = np.interp(each.at_s, times, waiting) * min(1.0, each.wait_s / each.forecast_s)
        goal = np.interp(each.at_s, times, computed) + tiles
        if goal <= computed[-1]:
            # The first moment, where nothing was computed for a while.
            shares.append(float(np.interp(goal, computed, times) - each.at_s) / each.wait_s)
    return shares


if __name__ == "__main__":  # a process that does nothing else
    answers = ask_health(sys.argv[1], stopping=threading.Event(), seconds=float(sys.argv[2]))
    sys.stdout.write(json.dumps(answers))
