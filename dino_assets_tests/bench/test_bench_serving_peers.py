"""The service against LitServe and against the documents' own program: same weights, same machine, same run.

A ViT-S/14 with random weights at 518 px (``SERVING_PEERS_SIZE=b`` for a ViT-B); each service is a process
of its own on loopback, its clients on the same machine. They take turns, load after load, and one whose
turn it is not is stopped: what else the machine does meets them all. Ratios count.

*Equal work.* The documents' program makes one view of a picture up to 1024 px where ours makes one tile,
and leaves the size of the view to the checkpoint's processor: the released one takes a square of 224 px
from the middle, a fifth of the tokens. So the rates are of pictures of 518 × 518 px with a processor that
neither resizes nor crops: one tile for everybody, of the very same pixels, all its patch tokens in an npz
on the disk. The program has float32 on all processors and answers one request at a time. A service of ours
is held to what our engine gains over that plain loop, measured in the same minutes without any service:
beside one client one call at a time, beside more as many calls as there are processors, since a call has one.

*LitServe* gets our engine, decoding and tiles, and two settings: a worker for each processor, and one
worker that takes batches of up to eight pictures, its tiles spread over all processors. The better one
counts, for each figure by itself. More workers than processors would share them by time as our turns do,
until as many large photographs wait. Its queue knows no limit, so ours is given none worth mentioning.
"""

import os
import statistics
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
MIXED_S = 4 * SECONDS
SIZE = os.environ.get("SERVING_PEERS_SIZE", "s")
OVERHEAD_S, REPEAT_S = 0.015, 0.020
OF_ENGINE, OF_LITSERVE, MIXED_SHARE = 0.9, 1.0, 0.2
OURS, PROGRAM = "ours", "documents' program"
BY_WORKERS, BY_BATCHES = f"LitServe, {CPUS} workers", "LitServe, batches of 8"


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

    @property
    def litserve(self) -> list[Measured]:
        return [m for name, m in self.services.items() if name.startswith("LitServe")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    place, found = Place(tmp_path_factory.mktemp("peers"), SIZE), Results()
    place.write_weights()
    picture, mixed = draw_one_tile(), draw_mixed()
    (place.root / "one.jpg").write_bytes(picture.data)
    try:
        packages = install_litserve(place.root / "packages")
    except (CalledProcessError, TimeoutExpired, OSError) as err:
        found.no_litserve = f"LitServe cannot be installed here: {err}"
    with ExitStack() as leaving:
        machine = leaving.enter_context(measure_engine(place, place.root / "one.jpg"))
        found.engine = machine.engine
        serving = {OURS: serve_ours(place)}
        if not found.no_litserve:
            serving[BY_WORKERS] = serve_litserve(place, packages, workers=CPUS, batch=1)
            serving[BY_BATCHES] = serve_litserve(place, packages, workers=1, batch=8)
        serving[PROGRAM] = serve_documents(place)
        peers = {name: leaving.enter_context(each) for name, each in serving.items()}
        for name, peer in peers.items():
            found.services[name] = Measured()
            warm_up(peer, picture)
        for clients in CLIENTS:
            found.machine.append(machine.measure())
            for name, peer in peers.items():
                measured = found.services[name]
                measure_rates(peer, picture, measured, clients=clients, seconds=SECONDS)
        found.repeats_s = measure_repeats(peers[OURS], picture)
        for name in [name for name in peers if name != PROGRAM]:
            measure_mixed(peers[name], mixed, found.services[name], seconds=MIXED_S)
    print(f"\n\n{describe(found)}")
    return found


def describe(found: Results) -> str:
    """The table of the run."""
    ours = found.services[OURS]
    rows = [("", *(f"{n} clients" for n in CLIENTS), "CPU-s", "p50 of 1", "mixed: p99 of 1 tile")]
    for name, each in found.services.items():
        rates = [f"{each.rate(n):.2f}/s ({ours.rate(n) / each.rate(n):.2f} ×)" for n in CLIENTS]
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
    theirs = max(each.rate(clients) for each in results.litserve)
    assert results.services[OURS].rate(clients) >= OF_LITSERVE * theirs


@pytest.mark.parametrize("clients", CLIENTS)
def test_rate__over_the_documents_program_is_the_engines(results: Results, clients: int):
    ratio = results.services[OURS].rate(clients) / results.services[PROGRAM].rate(clients)
    assert ratio >= OF_ENGINE * results.gain(clients)


def test_wait__of_a_single_client_is_the_engine_and_decoding(results: Results):
    wait_s = statistics.median(results.services[OURS].waits_s)
    own_s = results.machine_s("alone_s") + results.machine_s("decode_s")
    assert wait_s <= own_s + OVERHEAD_S


def test_wait__of_snapshots_beside_photographs(results: Results):
    if results.no_litserve:
        pytest.skip(results.no_litserve)
    theirs_s = min(each.mixed_p99_s for each in results.litserve)
    assert results.services[OURS].mixed_p99_s <= MIXED_SHARE * theirs_s


def test_wait__of_a_repeat_is_short(results: Results):
    assert statistics.median(results.repeats_s) <= REPEAT_S
