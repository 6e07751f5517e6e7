"""Engines are held against the reference once; what fails is passed over, visibly."""

import errno
import gc
import json
import logging
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.choosing import build_engine
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource, fit_batch
from dino_assets.embeddings.encoder.gate import GATE_TILES
from dino_assets.embeddings.encoder.gate_check import encode_in_threads
from dino_assets.embeddings.encoder.ready import (
    EngineFactory,
    ReadyEncoder,
    forget_encoders,
    name_engine,
    open_encoder,
)
from dino_assets.embeddings.encoder.versions import list_versions
from dino_assets.errors import (
    CheckpointError,
    ConfigError,
    EngineRefusedError,
    InvalidCheckpointError,
    MissingExtraError,
)
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets_tests.worlds.raising import raising

SIDE = 64
COMPUTE = ComputeSettings(device="cpu", threads=1, precision="fp32")
BEST, NEXT, LAST = (
    EngineSpec(name, "cpu", numerics, 8)  # type: ignore[arg-type]
    for name, numerics in (("openvino", "bf16"), ("torch", "bf16"), ("torch", "fp32"))
)
TORCH = EngineSpec("torch", "cpu", "fp32", 8)


class Plant:
    """Engines by name: each is the reference, unless it is told how it goes wrong."""

    def __init__(self) -> None:
        self.faults: dict[str, Exception | Callable[[np.ndarray], np.ndarray]] = {}
        self.specs = [BEST, NEXT, LAST]
        self.built: list[str] = []
        self.calls: dict[str, int] = {}
        self.more_versions: list[str] = []

    def open(
        self, source: NetworkSource, compute: ComputeSettings = COMPUTE, **options: Any
    ) -> ReadyEncoder:
        """What is opened of these engines alone."""
        return open_encoder(source, compute, factory=self.factory, **options)

    @property
    def factory(self) -> EngineFactory:
        return EngineFactory(self.list_specs, self.build, self.list_versions)

    def list_versions(self, spec: EngineSpec) -> list[str]:
        return [*list_versions(spec), *self.more_versions]

    def list_specs(self, *_: object, **__: object) -> list[EngineSpec]:
        return list(self.specs)

    def build(
        self, source: NetworkSource, spec: EngineSpec, *, cache_folder: Path | None = None
    ) -> Encoder:
        is_reference = spec.batch == 1
        fault = None if is_reference else self.faults.get(str(spec))
        self.built.append(str(spec))
        if isinstance(fault, Exception):
            raise fault
        encoder = build_engine(source, replace(TORCH, threads=spec.threads, batch=spec.batch))
        encoder.spec = spec
        inner = encoder.run_batch

        def run(tiles: np.ndarray) -> tuple[np.ndarray, ...]:
            self.calls[str(spec)] = self.calls.get(str(spec), 0) + 1
            return inner(np.ascontiguousarray(fault(tiles)) if fault else tiles)

        encoder.run_batch = run
        return encoder


def transpose(tiles: np.ndarray) -> np.ndarray:
    return tiles.swapaxes(1, 2)


@pytest.fixture
def source(checkpoint_dir: Path) -> NetworkSource:
    return NetworkSource(checkpoint_dir, read_checkpoint(checkpoint_dir, model="tiny"), SIDE)


@pytest.fixture
def plant() -> Iterator[Plant]:
    plant = Plant()
    forget_encoders()
    yield plant
    forget_encoders()


def gates(cache: Path) -> list[Path]:
    return sorted(cache.glob("engines/*/gate.json"))


def test_open_encoder__opens_the_best_engine_that_passes(
    source: NetworkSource, plant: Plant, tmp_path: Path
):
    ready = plant.open(source, cache=tmp_path)
    assert ready.encoder.spec == BEST
    assert ready.refused == ()
    facts = ready.facts
    assert facts["engine"] == "openvino bf16 on cpu"
    assert facts["batch"] == [8, SIDE]
    assert facts["gate"]["tiles"] == GATE_TILES
    assert facts["gate"]["cls_cosine"] == 1.0
    low, high = facts["gate"]["norms"]["cls"]
    assert 0 < low <= high
    assert "refused" not in facts
    assert json.loads(json.dumps(facts)) == facts


def test_open_encoder__builds_once_per_process(source: NetworkSource, plant: Plant, tmp_path: Path):
    ready = plant.open(source, cache=tmp_path)
    engine_names = list(plant.built)
    assert plant.open(source, cache=tmp_path).encoder is ready.encoder
    assert plant.built == engine_names


def test_open_encoder__builds_once_for_any_first_engine(
    source: NetworkSource, plant: Plant, tmp_path: Path
):
    """A drop that goes on after a kill names its engine; the next one names none."""
    plant.faults[str(BEST)] = transpose
    ready = plant.open(source, cache=tmp_path)
    assert ready.encoder.spec == NEXT
    engine_names = list(plant.built)
    named_ready = plant.open(source, cache=tmp_path, first=str(NEXT))
    assert (named_ready.encoder, named_ready.refused) == (ready.encoder, ())
    second_ready = plant.open(source, cache=tmp_path)
    assert (second_ready.encoder, second_ready.facts) == (ready.encoder, ready.facts)
    assert plant.built == engine_names  # neither it nor the one that is refused


def test_open_encoder__opens_again_after_files_changed(
    source: NetworkSource, plant: Plant, tmp_path: Path
):
    """The same bytes are as good; others are refused before a vector is made of them."""
    folder = shutil.copytree(source.folder, tmp_path / "checkpoint")
    source = replace(source, folder=folder)
    first_ready = plant.open(source, cache=tmp_path)
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data)
    second_ready = plant.open(source, cache=tmp_path)
    assert second_ready.encoder is not first_ready.encoder
    assert second_ready.facts == first_ready.facts
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with raising(InvalidCheckpointError, file="model.safetensors", reason="altered"):
        plant.open(source, cache=tmp_path)
    weights.write_bytes(data)
    assert plant.open(source, cache=tmp_path).facts == first_ready.facts
    weights.unlink()
    with raising(InvalidCheckpointError, file="model.safetensors", reason="altered"):
        plant.open(source, cache=tmp_path)


def test_forget_encoders__releases_memory(source: NetworkSource, plant: Plant, tmp_path: Path):
    encoder_ref = weakref.ref(plant.open(source, cache=tmp_path).encoder)
    gc.collect()
    assert encoder_ref() is not None
    forget_encoders()
    assert encoder_ref() is None


def test_open_encoder__caches_the_last_two(source: NetworkSource, plant: Plant, tmp_path: Path):
    sides = [SIDE, 2 * SIDE, SIDE, 3 * SIDE, SIDE]
    encoders = [plant.open(replace(source, side_px=s), cache=tmp_path).encoder for s in sides]
    assert encoders[0] is encoders[2] is encoders[4]
    assert plant.open(replace(source, side_px=2 * SIDE), cache=tmp_path).encoder is not encoders[1]


def test_open_encoder__skips_a_wrong_engine(
    source: NetworkSource, plant: Plant, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    plant.faults[str(BEST)] = transpose
    ready = plant.open(source, cache=tmp_path)
    assert ready.encoder.spec == NEXT
    (reason,) = ready.facts["refused"]
    assert reason.startswith("openvino bf16 on cpu: cls: ")
    assert "expected" in reason
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("openvino bf16 on cpu is refused" in message for message in warnings)
    assert len(gates(tmp_path)) == 1  # the refusal is not remembered


def test_open_encoder__skips_an_engine_that_raises(
    source: NetworkSource, plant: Plant, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    plant.faults = {str(BEST): RuntimeError("no such instruction"), str(NEXT): OSError("a driver")}
    ready = plant.open(source, cache=tmp_path)
    assert ready.encoder.spec == LAST
    assert ready.refused == (
        "openvino bf16 on cpu: RuntimeError",  # what it says may name places of this machine
        "torch bf16 on cpu: OSError",
    )
    assert "openvino bf16 on cpu cannot be used: RuntimeError: no such instruction" in caplog.text


def test_open_encoder__refuses_if_no_engine_passes(
    source: NetworkSource, plant: Plant, tmp_path: Path
):
    plant.faults = {str(BEST): transpose, str(NEXT): RuntimeError("x"), str(LAST): transpose}
    with pytest.raises(EngineRefusedError) as caught:
        plant.open(source, cache=tmp_path)
    reasons = caught.value.refused
    assert [reason.partition(": ")[0] for reason in reasons] == [str(BEST), str(NEXT), str(LAST)]
    first_line, *lines = str(caught.value).splitlines()
    assert first_line.startswith("no engine computes 'tiny' in precision 'fp32'")
    assert [line.strip() for line in lines] == list(reasons)
    assert gates(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [
        CheckpointError("half a file"),
        ConfigError("side 64"),
        MissingExtraError("OpenVINO", extra="any"),
    ],
)
def test_open_encoder__raises_errors_of_checkpoint_and_settings(
    source: NetworkSource, plant: Plant, tmp_path: Path, error: Exception
):
    plant.faults[str(BEST)] = error
    with pytest.raises(type(error)):
        plant.open(source, cache=tmp_path)


def test_open_encoder__caches_a_passed_gate(source: NetworkSource, plant: Plant, tmp_path: Path):
    """The next process neither computes the reference nor asks the engine."""
    first_ready = plant.open(source, cache=tmp_path)
    forget_encoders()
    plant.built, plant.calls = [], {}
    second_ready = plant.open(source, cache=tmp_path)
    assert plant.built == [str(BEST)]
    assert plant.calls == {}
    assert second_ready.facts == first_ready.facts
    assert second_ready.gate == first_ready.gate


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"tiles": 16}', '{"norms": [], "tiles": 16}'])
def test_open_encoder__damaged_report_is_made_again(
    source: NetworkSource, plant: Plant, tmp_path: Path, damage: str
):
    first_ready = plant.open(source, cache=tmp_path)
    (gate,) = gates(tmp_path)
    report = gate.read_text()
    gate.write_text(damage)
    forget_encoders()
    plant.faults[str(BEST)] = transpose
    assert plant.open(source, cache=tmp_path).encoder.spec == NEXT
    forget_encoders()
    plant.faults = {}
    assert plant.open(source, cache=tmp_path).facts == first_ready.facts
    assert gate.read_text() == report


def test_open_encoder__other_networks_and_versions_are_checked_again(
    source: NetworkSource, plant: Plant, tmp_path: Path
):
    plant.open(source, cache=tmp_path)
    plant.open(replace(source, side_px=2 * SIDE), cache=tmp_path)
    plant.open(replace(source, outputs=("mean",)), cache=tmp_path)
    other_checkpoint = replace(source.checkpoint, weights_sha256="0" * 64)
    plant.open(replace(source, checkpoint=other_checkpoint), cache=tmp_path)
    plant.open(source, cache=tmp_path, first=str(NEXT))
    assert len(gates(tmp_path)) == 5
    forget_encoders()
    plant.more_versions = ["a library of another version"]
    plant.open(source, cache=tmp_path)
    assert len(gates(tmp_path)) == 6
    # The number of threads changes no number.
    plant.specs = [replace(each, threads=3) for each in (BEST, LAST)]
    plant.open(source, replace(COMPUTE, threads=3), cache=tmp_path)
    assert len(gates(tmp_path)) == 6


def test_list_versions__libraries_and_processor():
    import torch
    import transformers

    versions = list_versions(BEST)
    assert versions[:2] == [torch.__version__, transformers.__version__]
    assert versions[2].startswith("cpu ")
    assert len(versions) == (4 if BEST.engine == "openvino" else 3)


def test_list_versions__openvino_does_not_import_torch():
    code = (
        "import sys; from dino_assets.embeddings.encoder.engine import EngineSpec;"
        "from dino_assets.embeddings.encoder.versions import list_versions;"
        "print(list_versions(EngineSpec('openvino', 'cpu', 'bf16', 8)));"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert process.stdout.strip() == str(list_versions(BEST))


def test_open_encoder__lists_no_engine_after_the_one_used(
    source: NetworkSource, plant: Plant, tmp_path: Path
):
    spec_names: list[str] = []

    def list_specs(*_: object, **__: object) -> Iterator[EngineSpec]:
        for spec in (BEST, NEXT, LAST):
            spec_names.append(str(spec))
            yield spec

    factory = replace(plant.factory, list_specs=list_specs)
    for first, expected_specs in ((None, [BEST]), (str(NEXT), [BEST, NEXT])):
        spec_names.clear()
        ready = open_encoder(source, COMPUTE, cache=tmp_path, first=first, factory=factory)
        assert ready.encoder.spec == expected_specs[-1]
        assert spec_names == [str(each) for each in expected_specs]


def test_open_encoder__first_is_tried_first(source: NetworkSource, plant: Plant, tmp_path: Path):
    ready = plant.open(source, cache=tmp_path, first="torch fp32 on cpu")
    assert ready.encoder.spec == LAST
    assert ready.refused == ()
    plant.faults[str(NEXT)] = transpose
    ready = plant.open(source, cache=tmp_path, first="torch bf16 on cpu")
    assert ready.encoder.spec == BEST  # the others in their order
    ready = plant.open(source, cache=tmp_path, first="torch fp16 on cuda")
    assert ready.encoder.spec == BEST


def test_open_encoder__checks_the_requested_outputs_too(
    source: NetworkSource, plant: Plant, tmp_path: Path
):
    """All tokens right and the asked one wrong: the network that is used is not the one for all."""

    def build(source: NetworkSource, spec: EngineSpec, **options: object) -> Encoder:
        encoder = plant.build(source, spec)
        if spec == BEST and source.outputs == ("cls",):
            run = encoder.run_batch
            encoder.run_batch = lambda tiles: run(np.ascontiguousarray(transpose(tiles)))
        return encoder

    ready = open_encoder(
        source, COMPUTE, cache=tmp_path, factory=EngineFactory(plant.list_specs, build)
    )
    assert ready.encoder.spec == NEXT
    assert ready.facts["refused"][0].startswith("openvino bf16 on cpu: cls: ")


def test_name_engine__leaves_out_the_device_number():
    names = {name_engine(replace(LAST, device=f"cuda:{n}")) for n in range(3)}
    assert names == {"torch fp32 on cuda"}
    assert name_engine(LAST) == "torch fp32 on cpu"


def test_encode_in_threads__equals_encode(source: NetworkSource):
    tiles = np.random.default_rng(0).integers(0, 256, (11, SIDE, SIDE, 3), dtype=np.uint8)
    encoder = build_engine(source, replace(TORCH, batch=3, threads=3))
    np.testing.assert_array_equal(
        encode_in_threads(encoder, tiles)["cls"], encoder.encode(tiles)["cls"]
    )


def test_open_encoder__on_this_machine(source: NetworkSource, tmp_path: Path):
    """Nothing planted: what `auto` takes here passes, and is the same for the next process."""
    forget_encoders()
    first_ready = open_encoder(source, ComputeSettings(device="cpu", threads=1), cache=tmp_path)
    assert first_ready.refused == ()
    assert first_ready.gate.cls_cosine >= 0.999
    assert first_ready.encoder.spec.batch == fit_batch(source.checkpoint, SIDE)
    tiles = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    vectors = first_ready.encoder.encode(tiles)["cls"]
    forget_encoders()
    second_ready = open_encoder(source, ComputeSettings(device="cpu", threads=1), cache=tmp_path)
    np.testing.assert_array_equal(second_ready.encoder.encode(tiles)["cls"], vectors)
    assert second_ready.facts == first_ready.facts
    forget_encoders()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_open_encoder__unwritable_cache(
    source: NetworkSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, code: int
):
    """Nothing is wrong with the engine: it is used, and converted and asked again the next time."""
    mkdir = Path.mkdir

    def refuse(path: Path, *args, **options) -> None:
        if "engines" in path.parts:
            raise OSError(code, os.strerror(code))
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    forget_encoders()
    ready = open_encoder(source, COMPUTE, cache=tmp_path)
    assert not ready.refused
    assert "cannot cache the numerics check" in caplog.text


def test_open_encoder__mean_alone_reports_the_cosine_of_cls(
    source: NetworkSource, plant: Plant, tmp_path: Path
):
    """Of what was not asked the figure is that of the whole network, not a zero that looks like a fault."""
    mean = replace(source, outputs=("mean",))
    facts = plant.open(mean, cache=tmp_path).facts
    assert facts["gate"]["cls_cosine"] == 1.0
    assert list(facts["gate"]["norms"]) == ["mean"]
