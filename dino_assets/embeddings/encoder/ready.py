"""Engines made ready: built once per machine, held against the reference, the next one where one fails."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import version as version_of
from itertools import chain
from pathlib import Path
from typing import Any

from dino_assets.compute.processor import read_flags
from dino_assets.compute.pytorch import find_build
from dino_assets.compute.settings import ComputeSettings, PrecisionClass
from dino_assets.embeddings.encoder.choosing import ENGINES, build_engine, list_engines
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource
from dino_assets.embeddings.encoder.gate import (
    GATE_VERSION,
    GateReport,
    draw_gate_tiles,
    hold_against,
)
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS, Tokens
from dino_assets.embeddings.space import PREPROCESSING_VERSION
from dino_assets.errors import CheckpointError, ConfigError, EngineRefusedError, MissingExtraError
from dino_assets.store.commits.sealing import digest

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ReadyEncoder:
    """An encoder that passed the gate, and what is to be known about it."""

    encoder: Encoder
    gate: GateReport
    batch: int  # tiles per call, as it was built; what is left after running out of memory is in its spec
    refused: tuple[str, ...] = ()  # engines that came before it, and why they are not used

    @property
    def facts(self) -> dict[str, Any]:
        """For manifests: the same on every machine of a type, so no times in it."""
        spec = self.encoder.spec
        return {
            "engine": name_engine(spec),
            "engine_version": self.encoder.version,
            "batch": [spec.batch, self.encoder.source.side_px],
            "gate": {
                "tiles": self.gate.tiles,
                "cls_cosine": round(self.gate.cls_cosine, 6),
                "cls_centred": round(self.gate.cls_centred, 5),
                "token_cosine": round(self.gate.token_cosine, 6),
                "norms": {
                    name: [round(value, 3) for value in norms]
                    for name, norms in self.gate.norms.items()
                    if name in ("cls", "mean")
                },
            },
            **({"refused": list(self.refused)} if self.refused else {}),
        }


def name_engine(spec: EngineSpec) -> str:
    """Reads like ``torch bf16 on cuda``: of several cards alike it does not matter which one it was."""
    return str(replace(spec, device=spec.device.partition(":")[0]))


def list_versions(spec: EngineSpec) -> list[str]:
    """List what decides an engine's numbers beside its spec: libraries and the processor."""
    versions = [_torch_version(), version_of("transformers"), _processor(spec)]
    if version := ENGINES[spec.engine].version():
        versions.append(version)
    return versions


@dataclass(frozen=True)
class EngineShelf:
    """Where engines come from: those to try, best first, what builds them, and of which versions."""

    list_specs: Callable[..., Iterable[EngineSpec]] = list_engines
    build: Callable[..., Encoder] = build_engine
    list_versions: Callable[[EngineSpec], list[str]] = list_versions


ENGINE_SHELF = EngineShelf()


@lru_cache(maxsize=2)
def open_encoder(
    source: NetworkSource,
    compute: ComputeSettings,
    *,
    cache: Path,
    first: str | None = None,
    shelf: EngineShelf = ENGINE_SHELF,
) -> ReadyEncoder:
    """Open the best engine that passes the gate; ``first`` (as ``name_engine``) is tried before the others.

    Kept for the next call: the drops of a run share it.

    Raises:
        EngineRefusedError: none computes what it should.
        ConfigError: the named engine cannot run here.
        CheckpointError: the weights are not whole.
    """
    started = time.perf_counter()
    specs = shelf.list_specs(compute, source.checkpoint, side_px=source.side_px)
    reference = _Reference(source, shelf, threads=max(1, compute.threads))
    refused: list[str] = []
    for spec in _begin_with(first, specs):
        folder = cache / "engines" / _name(source, spec, shelf.list_versions(spec))
        try:
            encoder = shelf.build(source, spec, cache_folder=folder / "asked")
            report = _read_report(folder) or _hold(spec, encoder, reference, folder)
        except (CheckpointError, ConfigError, MissingExtraError):
            raise
        except Exception as err:  # noqa: BLE001 - drivers and converters raise nearly anything
            # Its text may name places of this machine: for the log, not for a manifest.
            refused.append(f"{name_engine(spec)}: {type(err).__name__}")
            log.warning("%s cannot be used: %s: %s", spec, type(err).__name__, err)
            continue
        if not report.passed:
            refused.append(f"{name_engine(spec)}: {report.fault}")
            log.warning("%s is refused, its numbers are not the reference's: %s", spec, report)
            continue
        took_s = time.perf_counter() - started
        log.info("%s %s in %.1f s; gate: %s", spec, encoder.version, took_s, report)
        return ReadyEncoder(encoder, report, spec.batch, tuple(refused))
    raise EngineRefusedError(
        f"no engine computes {source.checkpoint.model!r} in precision {compute.precision!r} as it should; "
        "the log says more:\n  " + "\n  ".join(refused),
        refused=tuple(refused),
    )


class _Reference:
    """All tokens of the gate's tiles by PyTorch in float32 on the CPU, computed when first needed."""

    def __init__(self, source: NetworkSource, shelf: EngineShelf, *, threads: int) -> None:
        self.shelf = shelf
        self.tiles = draw_gate_tiles(source.side_px)
        self._source = replace(source, outputs=ALL_TOKENS)
        self._threads = threads

    @cached_property
    def tokens(self) -> Tokens:
        spec = EngineSpec("torch", "cpu", "fp32", 1, self._threads)
        return encode_in_threads(self.shelf.build(self._source, spec), self.tiles)


def encode_in_threads(encoder: Encoder, tiles: Any) -> Tokens:
    """Tiles in as many calls at a time as the engine has threads."""
    batch = encoder.spec.batch
    pieces = [tiles[first : first + batch] for first in range(0, len(tiles), batch)]
    with ThreadPoolExecutor(encoder.spec.threads) as pool:
        return Tokens.join(list(pool.map(encoder.encode, pieces)))


def _hold(spec: EngineSpec, encoder: Encoder, reference: _Reference, folder: Path) -> GateReport:
    """Compare all tokens of an engine with the reference, then those that are asked; keep the report."""
    started = time.perf_counter()
    log.info(
        "%s: holding it against PyTorch in float32, once on this machine for these weights and columns",
        spec,
    )
    source, whole = encoder.source, encoder
    if set(source.outputs) != set(ALL_TOKENS):
        whole = reference.shelf.build(replace(source, outputs=ALL_TOKENS), spec)
    tokens = encode_in_threads(whole, reference.tiles)
    report = hold_against(reference.tokens, tokens, _class_of(spec))
    if report.passed and whole is not encoder:
        asked = encode_in_threads(encoder, reference.tiles)
        second = hold_against(reference.tokens, asked, _class_of(spec))
        report = replace(report, norms=second.norms, fault=second.fault)
        if second.cls_cosine:
            report = replace(report, cls_cosine=second.cls_cosine, cls_centred=second.cls_centred)
    log.info("%s: numerics check took %.1f s", spec, time.perf_counter() - started)
    if report.passed:  # a refusal is asked again: the next version of a library may be right
        try:
            folder.mkdir(parents=True, exist_ok=True)
            made = folder / f"gate-{os.getpid()}-{threading.get_ident()}.json"
            made.write_text(json.dumps(asdict(report)))
            made.replace(folder / "gate.json")
        except OSError as err:
            log.warning("the gate's answer cannot be kept, it is asked each time: %s", err)
    return report


def _read_report(folder: Path) -> GateReport | None:
    try:
        report = json.loads((folder / "gate.json").read_text())
        report["norms"] = {name: (low, high) for name, (low, high) in report["norms"].items()}
        return GateReport(**report)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _class_of(spec: EngineSpec) -> PrecisionClass:
    return "fp32" if spec.numerics == "fp32" else "half"


def _name(source: NetworkSource, spec: EngineSpec, versions: list[str]) -> str:
    """Name what was converted and judged: another processor or library is judged again."""
    what = [source.checkpoint.weights_sha256, source.checkpoint.network]
    how = [source.side_px, list(source.outputs), asdict(replace(spec, threads=1))]
    return digest([GATE_VERSION, PREPROCESSING_VERSION, what, how, versions])[:32]


def _begin_with(first: str | None, specs: Iterable[EngineSpec]) -> Iterator[EngineSpec]:
    """The engine of a name, if it is among them, then the others; those after it are not looked for."""
    before: list[EngineSpec] = []
    coming = iter(specs)
    for spec in coming if first else ():
        if name_engine(spec) == first:
            yield spec
            break
        before.append(spec)
    yield from chain(before, coming)


def _torch_version() -> str:
    if build := find_build():
        return build.version
    import torch

    return torch.__version__


def _processor(spec: EngineSpec) -> str:
    if spec.engine != "torch":  # which takes what the processor has, whatever PyTorch is allowed
        return f"{spec.device} {read_flags()}"
    import torch

    if spec.device.startswith("cuda"):
        return torch.cuda.get_device_name(spec.device)
    return f"{spec.device} {torch.backends.cpu.get_cpu_capability()} {read_flags()}"
