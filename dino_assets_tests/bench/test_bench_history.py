"""What a long history costs: ingest of one more drop, and whoever reads the manifests of all drops."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from dino_assets.drops.arrivals import PastRuns
from dino_assets.drops.duplicates import warn_of_duplicates
from dino_assets.drops.late import LateWatch
from dino_assets.drops.listing import describe_drops
from dino_assets.drops.registering import register_drop
from dino_assets.drops.registry import find_drops
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.survey import Memory, survey_inbox
from dino_assets.embeddings.stage.drafting import draft_embeddings
from dino_assets.embeddings.stage.drift import compare_embedded
from dino_assets.embeddings.stage.pool import choose_pool, hash_inputs
from dino_assets.images.stage.drafting import draft_images
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.digests import collecting_later
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests import worlds
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.embedding_bench import COMPUTE, SIDE, Bench
from dino_assets_tests.worlds.histories import SPACE, name_drop, write_history
from dino_assets_tests.worlds.servers import HOST, free_port, running

pytestmark = pytest.mark.bench
SHORT, LONG, LONGEST = 10, 5_000, 10_000
ROUNDS = 40
LIMIT_RATIO, LIMIT_S = 1.2, 2.0
REQUEST_MS = 30  # from a machine in the same data centre
FINGERPRINT = "f00d" * 16


class NoRuns:
    """Nothing is in flight, and nothing may be asked about: every drop is finished."""

    in_flight: frozenset[str] = frozenset()

    def past(self, drop: str, content: str) -> PastRuns:
        raise AssertionError(f"{drop} was taken for unfinished")


def open_local(root: Path) -> ObjectStore:
    return open_store(StorageSettings(url="data", root=root))


class Project:
    """A store with so many finished drops in the space of a tiny model, and cards of one photograph."""

    def __init__(self, root: Path, drops: int, checkpoint_dir: Path, cache: Path) -> None:
        self.root, self.cards = root, root / "cards"
        self.bench = Bench(open_local(root), checkpoint_dir, cache)
        write_history(
            root / "data",
            range(drops),
            sources=root / "inbox",
            fingerprint=FINGERPRINT,
            space=self.bench.space,
        )

    def ingest(self, seed: int) -> dict[str, float]:
        """Take one more photograph in, from registering to the last check; seconds by step."""
        name, bench, steps = f"new-{seed}", self.bench, {}
        folder = self.cards / name
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(photo_bytes(SIDE, SIDE, seed=seed))

        @contextmanager
        def timed(step: str) -> Iterator[None]:
            start_s = time.perf_counter()
            yield
            steps[step] = time.perf_counter() - start_s

        with timed("register"):
            drop, _ = register_drop(bench.store, name, source=str(folder), root=self.root)
            assert not warn_of_duplicates(bench.store, drop)
        source = FolderSource(folder, shown=name)
        with timed("images"):
            commit(bench.store, draft_images(drop, source, threads=1))
        with timed("tiles"):
            images = open_table(bench.store, "images", drops=[name])
            commit(bench.store, draft_tiles(images, name, make_grid(SIDE)))
        with timed("embeddings"):
            draft = draft_embeddings(
                bench.store,
                open_table(bench.store, "tiles", drops=[name]),
                name,
                source=source,
                weights=bench.weights,
                compute=COMPUTE,
                cache=bench.cache,
            )
            assert commit(bench.store, draft).manifest.rows == 1
        with timed("drift"):
            table = open_table(bench.store, "embeddings", space=bench.space, drops=[name])
            assert compare_embedded({name: table})
        return steps


def test_ingest__does_not_depend_on_history(
    tmp_path: Path, checkpoint_dir: Path, engine_cache: Path, short_trial: None
):
    projects = {
        drops: Project(tmp_path / str(drops), drops, checkpoint_dir, engine_cache)
        for drops in (SHORT, LONG)
    }
    for project in projects.values():
        project.ingest(0)  # the model is converted and judged, the digests are written
    step_seconds: dict[int, list[dict[str, float]]] = {SHORT: [], LONG: []}
    for seed in range(1, ROUNDS + 1):
        for drops, project in projects.items():
            step_seconds[drops].append(project.ingest(seed))
    for step in step_seconds[SHORT][0]:
        medians = [1e3 * statistics.median(s[step] for s in step_seconds[n]) for n in (SHORT, LONG)]
        print(f"{step}: {medians[0]:.0f} ms after {SHORT} drops, {medians[1]:.0f} after {LONG:,}")
    for name, average in (("mean", statistics.mean), ("median", statistics.median)):
        short_s, long_s = (average(sum(s.values()) for s in step_seconds[n]) for n in (SHORT, LONG))
        print(f"ingest, {name}: {short_s:.3f} s after {SHORT} drops, {long_s:.3f} after {LONG:,}")
    assert long_s <= LIMIT_RATIO * short_s


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 10,000 finished drops; their folders are there and not looked into."""
    root = tmp_path_factory.mktemp("history")
    for number in range(LONGEST):
        (root / "inbox" / name_drop(number)).mkdir(parents=True)
    write_history(root / "data", range(LONGEST), sources=root / "inbox", fingerprint=FINGERPRINT)
    return root


@pytest.fixture(params=["local", "s3"])
def settings(
    request: pytest.FixtureRequest, history: Path, tmp_path: Path
) -> Iterator[StorageSettings]:
    if request.param == "local":
        yield StorageSettings(url="data", root=history)
        return
    port, program = free_port(), str(Path(worlds.__path__[0]) / "slow_s3.py")
    command = [sys.executable, program, HOST, str(port), str(history / "data")]
    command += ["bucket", "data", str(REQUEST_MS)]
    url = f"http://{HOST}:{port}"
    with running(command, url=url, log=tmp_path / "s3.log"):
        yield StorageSettings(
            url="minio://bucket/data",
            root=history,
            endpoint=url,
            region="us-east-1",
            access_key="test-access",
            secret_key="test-secret",
        )


def test_readers_of_all_drops__are_done_in_seconds(history: Path, settings: StorageSettings):
    remembered: dict = {}
    watch = LateWatch()

    def list_drops() -> int:
        store = open_store(settings)
        with collecting_later(), ThreadPoolExecutor(1) as pool:  # as the command does
            future = pool.submit(find_drops, store)
            describe = describe_drops(store)
            drops = future.result()
            return len([list(map(str, describe(drop))) for drop in drops.values()])

    def tick() -> int:
        survey = survey_inbox(
            open_store(settings), "inbox", root=history, runs=NoRuns(), memory=Memory(),
            remembered=remembered, late_watch=watch, clock=time.time,
        )  # fmt: skip
        return len(survey.finished)

    def first_tick() -> int:
        remembered.clear()
        return tick()

    def pool() -> int:
        embeddings = open_table(open_store(settings), "embeddings", space=SPACE)
        return len(hash_inputs(choose_pool(embeddings)))

    def fan_in() -> int:
        return len(open_table(open_store(settings), "tiles").manifests)

    def measure(read: Callable[[], int]) -> float:
        start_s = time.perf_counter()
        assert read() == LONGEST
        return time.perf_counter() - start_s

    readers = {
        "listing": list_drops,
        "a daemon's first tick": first_tick,
        "tick": tick,
        "pool": pool,
        "fan-in": fan_in,
    }
    print(f"without digests: listing {measure(list_drops):.1f} s")
    slow_readers = {}
    for name, read in readers.items():
        seconds = min(measure(read) for _ in range(3))
        print(f"{name}: {seconds:.2f} s")
        if seconds > LIMIT_S:
            slow_readers[name] = seconds
    assert not slow_readers
