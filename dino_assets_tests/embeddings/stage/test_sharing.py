"""One encoder for all drops of a run: opened once, right whatever happens to its files, given back."""

import gc
import logging
import multiprocessing
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dino_assets.embeddings.encoder.engine import Encoder
from dino_assets.embeddings.encoder.ready import forget_encoders
from dino_assets.embeddings.encoder.torch_engine import TorchEncoder
from dino_assets.embeddings.stage import worker
from dino_assets.embeddings.stage.sharing import share_encoders, use_workers
from dino_assets.store.commits.by_drop import DropDrafts, commit_drops
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.stage import checkpoint_folder
from dino_assets_tests.worlds.embedding_bench import COMPUTE, Bench, Calls, write_photos

DROPS = ("a", "b", "c")


@pytest.fixture
def bench(
    make_bench: Callable[[ObjectStore], Bench], local_store: ObjectStore, tmp_path: Path
) -> Iterator[Bench]:
    """Three drops, each of two photographs of its own, to be embedded."""
    bench = make_bench(local_store)
    bench.cache = tmp_path / "cache"  # its own: files in it are altered
    for number, name in enumerate(DROPS):
        bench.add_drop(name, write_photos(tmp_path / name, [2 * number, 2 * number + 1]))
    forget_encoders()
    yield bench
    forget_encoders()


class Opened:
    """Counts the engines that are built for columns alone (a gate builds one for all tokens, too)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoders: list[weakref.ref[Encoder]] = []
        init = TorchEncoder.__init__

        def build(encoder: TorchEncoder, source, spec, **options) -> None:
            if source.outputs == ("cls",):
                self.encoders.append(weakref.ref(encoder))
            init(encoder, source, spec, **options)

        monkeypatch.setattr(TorchEncoder, "__init__", build)

    @property
    def alive(self) -> int:
        gc.collect()
        return sum(each() is not None for each in self.encoders)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


def run_all(bench: Bench, **changes: object) -> Iterator[object]:
    """The drops of one run, as the asset commits them."""
    drafts = DropDrafts(DROPS, lambda drop: bench.draft(drop, **changes), around=share_encoders)
    for outcome in commit_drops(bench.store, drafts):
        assert outcome.error is None
        yield outcome


def test_share_encoders__one_encoder_for_the_drops_of_a_run(bench: Bench, opened: Opened):
    alive = [opened.alive for _ in run_all(bench)]
    assert alive == [1, 1, 1]
    assert len(opened.encoders) == 1
    assert opened.alive == 0  # its memory is given back


def test_share_encoders__one_encoder_for_the_runs_of_a_command(bench: Bench, opened: Opened):
    with share_encoders():
        for name in DROPS:
            with share_encoders():  # a run inside of the command
                bench.commit(name)
            assert opened.alive == 1
    assert (len(opened.encoders), opened.alive) == (1, 0)


def test_share_encoders__releases_memory_after_an_error(bench: Bench, opened: Opened):
    def fail() -> None:
        with share_encoders():
            bench.commit("a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (len(opened.encoders), opened.alive) == (1, 0)


def test_share_encoders__a_resumed_drop_opens_only_its_engine(bench: Bench, opened: Opened):
    """Its receipts name the engine; other drops name none."""
    bench.commit("b")
    for info in [*bench.store.list("manifests/embeddings"), *bench.store.list("receipts")][:2]:
        bench.store.delete(info.key)  # the manifest and one of two shards
    assert len(bench.receipts()) == 1
    opened.encoders.clear()
    forget_encoders()
    with share_encoders():
        for name in DROPS:
            bench.commit(name)
    assert len(opened.encoders) == 1


def test_share_encoders__replaces_an_altered_checkpoint_file(
    bench: Bench, opened: Opened, caplog: pytest.LogCaptureFixture
):
    """Between two drops: the store's copy is taken again, and the vectors are the model's."""
    for name in DROPS:
        bench.commit(name)
    manifests = [bench.manifest_bytes(name) for name in DROPS]
    bench.forget()
    weights = checkpoint_folder(bench.store, bench.weights, cache=bench.cache) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2] ^= 0x40
    with caplog.at_level(logging.WARNING), share_encoders():
        bench.commit("a")
        weights.write_bytes(data)
        bench.commit("b")
        bench.commit("c")
    assert [bench.manifest_bytes(name) for name in DROPS] == manifests
    assert "The store's copy is used instead" in caplog.text
    assert weights.read_bytes() != data
    assert [path.name for path in bench.cache.glob(".making-*")] == []


def test_use_workers__end_with_the_context_outside_of_a_block():
    with use_workers() as workers, use_workers() as other_workers:
        assert workers is not other_workers
    with (
        share_encoders(),
        use_workers() as workers,
        share_encoders(),
        use_workers() as other_workers,
    ):
        assert workers is other_workers


def test_draft_embeddings__of_small_drops_only_the_first_runs_a_trial(
    bench: Bench, calls: Calls, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Tries take longer than the tiles of a small drop, and the same encoder has been timed."""
    monkeypatch.setattr(worker, "TRIAL_S", 1.0)
    caplog.set_level(logging.INFO)
    trial_calls = []
    with share_encoders():
        for name in DROPS:
            calls.reset()
            bench.commit(name)
            trial_calls.append(calls.all - len(calls.of_run))
    first_calls, *later_calls = trial_calls
    assert first_calls > 0
    assert later_calls == [0, 0]
    forecasts = [r.getMessage() for r in caplog.records if "forecast: " in r.getMessage()]
    assert [line.partition(":")[0] for line in forecasts] == list(DROPS)  # each has one


def test_draft_embeddings__a_large_drop_runs_its_own_trial(
    bench: Bench, calls: Calls, monkeypatch: pytest.MonkeyPatch
):
    """What else the machine does may have changed, and 2 % of its time are a good try."""
    with share_encoders():
        bench.commit("a")
        monkeypatch.setattr(worker, "TRIAL_S", 1e-9)  # so that this one is large
        calls.reset()
        bench.commit("b")
    assert calls.all > len(calls.of_run)


@pytest.mark.slow
def test_share_encoders__processes_stay_for_all_drops(bench: Bench):
    """Each opens the encoder once; what they make is what one process makes."""
    for name in DROPS:
        bench.commit(name)
    manifests = [bench.manifest_bytes(name) for name in DROPS]
    bench.forget()
    children: list[set[int | None]] = []
    for _ in run_all(bench, compute=replace(COMPUTE, processes=2)):
        children.append({child.pid for child in multiprocessing.active_children()})
    assert len(children[0]) == 2
    assert children[1] == children[2] == children[0]
    assert multiprocessing.active_children() == []
    assert [bench.manifest_bytes(name) for name in DROPS] == manifests
