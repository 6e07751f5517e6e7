"""The loads that every peer of the service gets, and what is read off them."""

import statistics
import time
from dataclasses import dataclass, field

import numpy as np

from dino_assets.drawing.photographs import draw_photo
from dino_assets.serving.bench.figures import Figures, summarise
from dino_assets.serving.bench.flood import CUT_OFF, Flood, FloodAnswer, LoadPicture
from dino_assets.serving.bench.http_client import FORM_TYPE, Connection
from dino_assets_tests.bench.serving_peers import Peer

SIDE_PX = 518
CLIENTS = (1, 8, 32)
# Clients of the mixed load, which send one kind each without a pause: tiles, width, height.
MIXED = ((4, 1, SIDE_PX, SIDE_PX), (2, 35, 2048, 1536), (2, 294, 5472, 3648))
REPEATS = 200


def draw_one_tile() -> LoadPicture:
    """A picture that is exactly one tile for everybody: nothing is resized."""
    return LoadPicture("one.jpg", draw_photo(0, width=SIDE_PX, height=SIDE_PX))


def draw_mixed() -> list[list[LoadPicture]]:
    """What each client of the mixed load sends."""
    clients = []
    for count, tiles, width, height in MIXED:
        data = draw_photo(tiles, width=width, height=height)
        fields = {"tokens": "patches" if tiles == 1 else "mean"}
        clients += [[LoadPicture(f"{tiles}.jpg", data, fields=fields)]] * count
    return clients


@dataclass
class Measured:
    """What one service did."""

    loads: dict[int, list[Figures]] = field(default_factory=dict)  # by clients
    cpu_s: list[float] = field(default_factory=list)  # of a picture, of each load
    waits_s: list[float] = field(default_factory=list)  # of each picture of a single client
    mixed_s: list[float] = field(default_factory=list)  # of each 1-tile picture of the mixed load
    faults: list[FloodAnswer] = field(default_factory=list)

    def rate(self, clients: int) -> float:
        """Pictures per second; the median of the loads."""
        return statistics.median(each.pictures_per_s for each in self.loads[clients])

    @property
    def mixed_p99_s(self) -> float:
        return float(np.percentile(self.mixed_s, 99, method="higher"))


def warm_up(peer: Peer, picture: LoadPicture) -> None:
    """Let buffers and threads be made."""
    with peer.awake() as url:
        Flood(url, [[picture]] * 4, seconds=2).wait()


def measure_rates(
    peer: Peer, picture: LoadPicture, measured: Measured, *, clients: int, seconds: float
) -> None:
    """Have one picture computed again and again by so many clients."""
    before_s = peer.cpu_s()
    with peer.awake() as url:
        flood = Flood(url, [[picture]] * clients, seconds=seconds)
        answers = flood.wait()
    figures = summarise(answers, clients=clients, started=flood.started)
    measured.loads.setdefault(clients, []).append(figures)
    measured.cpu_s.append((peer.cpu_s() - before_s) / max(1, figures.pictures))
    measured.faults += [each for each in answers if each.status != 200]
    if clients == 1:
        measured.waits_s += [each.took_s for each in answers]


def measure_mixed(
    peer: Peer, clients: list[list[LoadPicture]], measured: Measured, *, seconds: float
) -> None:
    """Snapshots beside photographs: how long the snapshots take.

    One that is not answered so long after the end counts with the time that it has waited, so a service
    that lets it wait longer is given less than it took.
    """
    with peer.awake() as url:
        answers = Flood(url, clients, seconds=seconds).wait(grace_s=seconds)
    measured.mixed_s += [each.took_s for each in answers if each.picture == "1.jpg"]
    measured.faults += [each for each in answers if each.status != 200 and each.slug != CUT_OFF]


def measure_repeats(peer: Peer, picture: LoadPicture) -> list[float]:
    """Seconds of each repeat of the same bytes, once they are embedded."""
    upload, seconds = picture.make_upload(np.random.default_rng(0)), []
    with peer.awake() as url:
        connection = Connection(url)
        for _ in range(REPEATS + 1):
            start_s = time.perf_counter()
            reply = connection.ask("POST", "/embed", body=upload, content_type=FORM_TYPE)
            seconds.append(time.perf_counter() - start_s)
            assert reply.status == 200, reply.body
        connection.close()
    return seconds[1:]
