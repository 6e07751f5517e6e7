"""The service against LitServe and against the documents' own program: same weights, same machine, same run.

A ViT-S/14 with random weights at 518 px (``SERVING_PEERS_SIZE=b`` for a ViT-B); each service is a process
of its own on loopback, its clients on the same machine. They take turns, load after load, each round in
another order, and one whose turn it is not is stopped: what else the machine does meets them all. What
counts is the median over the rounds of ours against theirs in the same round.

*Equal work.* The documents' program makes one view of a picture up to 1024 px where ours makes one tile,
and leaves the size of the view to the checkpoint's processor: the released one takes a square of 224 px
from the middle, a fifth of the tokens. So the rates are of pictures of 518 × 518 px with a processor that
neither resizes nor crops: one tile for everybody, of the very same pixels, all its patch tokens in an npz
on the disk. The program has float32 on all processors and answers one request at a time. A service of ours
is held to what our engine gains over that plain loop, measured in the same minutes without any service:
beside one client one call at a time, which has all processors, beside more as many calls as there are
processors, since each has one then.

*LitServe* gets our engine, decoding and tiles, and two settings: a worker for each processor, and one
worker that takes batches of up to eight pictures, its tiles spread over all processors, or all processors
for the only tile. The better one
counts, for each figure by itself. More workers than processors would share them by time as our turns do,
until as many large photographs wait. Its queue knows no limit, so ours is given none worth mentioning.
Nearly all that either does is our engine's own work, so a run cannot tell them apart by less than what its
rounds differ by: that is stated, may not be much, and is granted. A network of one layer
(``SERVING_PEERS_LAYERS=1``) makes what a service adds twelve times as visible; the bounds are not meant for it.
"""

import itertools
import os
import statistics
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from subprocess import CalledProcessError, TimeoutExpired

import pytest

from dino_assets.serving.bench.figures import format_table
from dino_assets_tests.bench.serving_loads import (
    CLIENTS,
    Measured,
    draw_mixed,
    draw_one_tile,
    measure_mixed,
    measure_rates,
    measure_repeats,
    warm_up,
)
from dino_assets_tests.bench.serving_peers import (
    install_litserve,
    measure_engine,
    serve_documents,
    serve_litserve,
    serve_ours,
)
from dino_assets_tests.bench.serving_place import CPUS, Place
from dino_assets_tests.bench.test_bench_teacher import read_flags

pytestmark = pytest.mark.bench
SECONDS = float(os.environ.get("SERVING_PEERS_S", "5"))  # of each load
ROUNDS = int(os.environ.get("SERVING_PEERS_ROUNDS", "6"))
MIXED_S = 4 * SECONDS
SIZE = os.environ.get("SERVING_PEERS_SIZE", "s")
LAYERS = int(os.environ.get("SERVING_PEERS_LAYERS", "12"))
OVERHEAD_S, REPEAT_S = 0.015, 0.020
OF_ENGINE, OF_LITSERVE, MIXED_SHARE = 0.9, 1.0, 0.2
MOST_DOUBT = 0.05  # of a ratio
OURS, PROGRAM = "ours", "documents' program"
BY_WORKERS, BY_BATCHES = f"LitServe, {CPUS} workers", "LitServe, batches of 8"


@dataclass(frozen=True)
class Ratio:
    """The median of several rounds, and how far it may be off: twice its standard error."""

    value: float
    doubt: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> "Ratio":
        # A median's standard error is 1.25 times a mean's.
        error = 1.25 * statistics.stdev(rounds) / len(rounds) ** 0.5 if len(rounds) > 1 else 0.0
        return cls(statistics.median(rounds), 2 * error)


@dataclass
class Results:
    """Everything that was measured in this run."""

    engine: str = ""
    machine: list[dict[str, float]] = field(default_factory=list)  # without any service
    services: dict[str, Measured] = field(default_factory=dict)
    repeats_s: list[float] = field(default_factory=list)
    no_litserve: str = ""

    def machine_s(self, name: str) -> float:
        return statistics.median(each[name] for each in self.machine)

    def gain(self, clients: int) -> float:
        """What the engine gains over the plain loop, with as many calls at once as clients allow."""
        return self.machine_s("plain_s") / self.machine_s("alone_s" if clients == 1 else "busy_s")

    def ratio(self, name: str, clients: int) -> "Ratio":
        """Ours against a peer, round by round."""
        rounds = zip(
            self.services[OURS].loads[clients], self.services[name].loads[clients], strict=True
        )
        return Ratio.of([ours.pictures_per_s / theirs.pictures_per_s for ours, theirs in rounds])

    @property
    def litserve(self) -> list[str]:
        return [name for name in self.services if name.startswith("LitServe")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    place, run_results = Place(tmp_path_factory.mktemp("peers"), SIZE, LAYERS), Results()
    place.write_weights()
    picture, mixed = draw_one_tile(), draw_mixed()
    (place.root / "one.jpg").write_bytes(picture.data)
    try:
        packages = install_litserve(place.root / "packages")
    except (CalledProcessError, TimeoutExpired, OSError) as err:
        run_results.no_litserve = f"LitServe cannot be installed here: {err}"
    with ExitStack() as stack:
        machine = stack.enter_context(measure_engine(place, place.root / "one.jpg"))
        run_results.engine = machine.engine
        services = {OURS: serve_ours(place)}
        if not run_results.no_litserve:
            services[BY_WORKERS] = serve_litserve(place, packages, workers=CPUS, batch=1)
            services[BY_BATCHES] = serve_litserve(place, packages, workers=1, batch=8)
        services[PROGRAM] = serve_documents(place)
        peers = {name: stack.enter_context(each) for name, each in services.items()}
        for name, peer in peers.items():
            run_results.services[name] = Measured()
            warm_up(peer, picture)
        for clients, turn in itertools.product(CLIENTS, range(ROUNDS)):
            run_results.machine.append(machine.measure())
            names = deque(peers)
            names.rotate(turn)
            for name in names:
                measured = run_results.services[name]
                measure_rates(peers[name], picture, measured, clients=clients, seconds=SECONDS)
        run_results.repeats_s = measure_repeats(peers[OURS], picture)
        for name in [name for name in peers if name != PROGRAM]:
            measure_mixed(peers[name], mixed, run_results.services[name], seconds=MIXED_S)
    print(f"\n\n{describe(run_results)}")
    return run_results


def describe(found: Results) -> str:
    """The table of the run."""
    rows = [("", *(f"{n} clients" for n in CLIENTS), "CPU-s", "p50 of 1", "mixed: p99 of 1 tile")]
    for name, each in found.services.items():
        ratios = [found.ratio(name, clients) for clients in CLIENTS]
        rates = [
            f"{each.rate(n):.2f}/s ({ratio.value:.3f} ± {ratio.doubt:.3f})"
            for n, ratio in zip(CLIENTS, ratios, strict=True)
        ]
        mixed = f"{each.mixed_p99_s:.2f} s" if each.mixed_s else "–"
        cpu = f"{statistics.median(each.cpu_s):.3f}"
        rows.append((name, *rates, cpu, f"{statistics.median(each.waits_s) * 1e3:.0f} ms", mixed))
    gains = ", ".join(f"{found.gain(n):.2f} beside {n}" for n in CLIENTS)
    return (
        f"ViT-{SIZE.upper()}/14 at 518 px, {found.engine}, {CPUS} processors; {' '.join(read_flags())}\n"
        f"{format_table(rows)}\n(in brackets: ours against it)\n"
        f"engine over the plain loop: {gains} clients; a tile alone takes "
        f"{found.machine_s('alone_s') * 1e3:.0f} ms, decoding {found.machine_s('decode_s') * 1e3:.1f} ms\n"
        f"the same bytes again: p50 {statistics.median(found.repeats_s) * 1e3:.1f} ms"
        + (f"\n{found.no_litserve}" if found.no_litserve else "")
    )


def test_peers__answer_everything(results: Results):
    assert {name: each.faults for name, each in results.services.items() if each.faults} == {}


@pytest.mark.parametrize("clients", CLIENTS)
def test_rate__against_litserve_with_the_same_engine(results: Results, clients: int):
    if results.no_litserve:
        pytest.skip(results.no_litserve)
    ratio = min((results.ratio(name, clients) for name in results.litserve), key=lambda r: r.value)
    assert ratio.doubt <= MOST_DOUBT
    assert ratio.value + ratio.doubt >= OF_LITSERVE


@pytest.mark.parametrize("clients", CLIENTS)
def test_rate__over_the_documents_program_is_the_engines(results: Results, clients: int):
    assert results.ratio(PROGRAM, clients).value >= OF_ENGINE * results.gain(clients)


def test_wait__of_a_single_client_is_the_engine_and_decoding(results: Results):
    wait_s = statistics.median(results.services[OURS].waits_s)
    own_s = results.machine_s("alone_s") + results.machine_s("decode_s")
    assert wait_s <= own_s + OVERHEAD_S


def test_wait__of_snapshots_beside_photographs(results: Results):
    if results.no_litserve:
        pytest.skip(results.no_litserve)
    theirs_s = min(results.services[name].mixed_p99_s for name in results.litserve)
    assert results.services[OURS].mixed_p99_s <= MIXED_SHARE * theirs_s


def test_wait__of_a_repeat_is_short(results: Results):
    assert statistics.median(results.repeats_s) <= REPEAT_S
