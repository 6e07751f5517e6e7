"""A flood of uploads on a service that runs: what it refuses, how it answers `/health`, what it takes."""

import http.client
import json
import sys
import threading
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

# Share, width, height, tokens: a snapshot, a picture, a photograph.
MIX = ((0.7, 640, 480, "patches"), (0.25, 2048, 1536, "mean"), (0.05, 5472, 3648, "mean"))


@dataclass
class Flood:
    """What the clients saw."""

    answered: dict[int, list[float]] = field(default_factory=dict)  # seconds, by tiles
    refusals: list[tuple[float, int, float]] = field(default_factory=list)  # when, wait, forecast
    returns: list[bool] = field(default_factory=list)  # whether a return in time was taken
    odd: list[str] = field(default_factory=list)


@dataclass
class Seen:
    """What was read off the service meanwhile: time, tiles computed, tiles waiting, MB."""

    rows: list[tuple[float, float, float, float]] = field(default_factory=list)


def flood(url: str, photos: Sequence[bytes], *, clients: int, seconds: float) -> Flood:
    """Send uploads that are all different from so many clients, who come back when they are told to."""
    seen, lock, end = Flood(), threading.Lock(), time.monotonic() + seconds
    shares = [share for share, *_ in MIX]

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        with httpx.Client(base_url=url, timeout=600) as client:
            while time.monotonic() < end:
                kind = int(rng.choice(len(MIX), p=shares))
                photo = photos[kind] + rng.bytes(16)  # behind a JPEG's end: another file
                is_return = False
                while time.monotonic() < end:
                    started = time.monotonic()
                    files, data = {"file": ("a.jpg", photo)}, {"tokens": MIX[kind][3]}
                    answer = client.post("/embed", files=files, data=data)
                    now, said = time.monotonic(), answer.json()
                    with lock:
                        if is_return:
                            seen.returns.append(answer.status_code == 200)
                        if answer.status_code == 200:
                            seen.answered.setdefault(said["num_tiles"], []).append(now - started)
                        elif said["slug"] == "busy" and "waiting_s" in said:
                            wait_s = int(answer.headers["retry-after"])
                            seen.refusals.append((now, wait_s, said["waiting_s"]))
                        else:
                            seen.odd.append(said["slug"])
                    if answer.status_code == 200:
                        break
                    is_return = True
                    time.sleep(min(int(answer.headers.get("retry-after", 1)), max(0, end - now)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def watch(url: str, pid: int, stopping: threading.Event, *, every_s: float = 0.5) -> Seen:
    """Read figures and memory until told to stop."""
    seen = Seen()
    with httpx.Client(base_url=url, timeout=30) as client:
        while not stopping.wait(every_s):
            text = client.get("/metrics").text
            values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
            status = Path(f"/proc/{pid}/status").read_text()
            rss_kb = int(status.partition("VmRSS:")[2].split()[0])
            tiles, waiting = (
                float(values[f"dino_{n}"]) for n in ("tiles_computed", "waiting_tiles")
            )
            seen.rows.append((time.monotonic(), tiles, waiting, rss_kb / 1024))
    return seen


def judge_refusals(given: Flood, seen: Seen) -> list[float]:
    """How long each refusal's wait really was, as a share of what was said.

    A refusal says after how many seconds some of the waiting tiles will be computed; the figures show
    when so many were.
    """
    times, computed, waiting, _ = np.array(seen.rows).T
    shares = []
    for when, wait_s, forecast_s in given.refusals:
        tiles = np.interp(when, times, waiting) * min(1.0, wait_s / forecast_s)
        goal = np.interp(when, times, computed) + tiles
        if goal <= computed[-1]:
            # The first moment, where nothing was computed for a while.
            shares.append(float(np.interp(goal, computed, times) - when) / wait_s)
    return shares


def ask_health(url: str, seconds: float, *, every_s: float = 0.05) -> list[tuple[float, float]]:
    """When each look at /health ended and the seconds it took, in a process that does nothing else."""
    host = urllib.parse.urlsplit(url)
    line = http.client.HTTPConnection(str(host.hostname), host.port, timeout=30)
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        line.request("GET", "/health")
        assert line.getresponse().read().startswith(b'{"status":"ok"')
        took.append((time.monotonic(), time.perf_counter() - started))
        time.sleep(every_s)
    return took


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask_health(sys.argv[1], float(sys.argv[2]))))
