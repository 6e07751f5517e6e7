"""Engines made ready: built once per machine, held against the reference, the next one where one fails."""

import gc
import logging
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.choosing import build_engine, list_engines
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource
from dino_assets.embeddings.encoder.gate import GateReport
from dino_assets.embeddings.encoder.holding import ReferenceTokens, hold, read_report
from dino_assets.embeddings.encoder.versions import list_versions, name_judged
from dino_assets.errors import CheckpointError, ConfigError, EngineRefusedError, MissingExtraError
from dino_assets.weights.checkpoint import stamp_files

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


@dataclass(frozen=True)
class EngineShelf:
    """Where engines come from: those to try, best first, what builds them, and of which versions."""

    list_specs: Callable[..., Iterable[EngineSpec]] = list_engines
    build: Callable[..., Encoder] = build_engine
    list_versions: Callable[[EngineSpec], list[str]] = list_versions


ENGINE_SHELF = EngineShelf()


def open_encoder(
    source: NetworkSource,
    compute: ComputeSettings,
    *,
    cache: Path,
    first: str | None = None,
    shelf: EngineShelf = ENGINE_SHELF,
) -> ReadyEncoder:
    """Open the best engine that passes the gate; ``first`` (as ``name_engine``) is tried before the others.

    Kept for the next call until ``forget_encoders``: the drops of a run share it, whichever engine is named
    first. Where the checkpoint's files were written since, it is opened again.

    Raises:
        EngineRefusedError: none computes what it should.
        ConfigError: the named engine cannot run here.
        CheckpointError: the weights are not whole.
    """
    stamps = stamp_files(source.folder, source.checkpoint)
    specs = shelf.list_specs(compute, source.checkpoint, side_px=source.side_px)
    reference = ReferenceTokens(source, shelf.build, threads=max(1, compute.threads))
    refused: dict[Hashable, str] = {}
    for spec in _begin_with(first, specs):
        key = source, spec, cache, shelf, stamps
        if (why := _refused.get(key)) is None:
            built = _passed.get(key) or _build(
                source, spec, cache, shelf=shelf, reference=reference
            )
            if not isinstance(built, str):
                _keep(key, built)
                encoder, report = built
                return ReadyEncoder(encoder, report, spec.batch, tuple(refused.values()))
            why = built
        refused[key] = f"{name_engine(spec)}: {why}"
        _refused[key] = why
    for each in refused:  # the next call tries them again: nothing else is left
        _refused.pop(each, None)
    raise EngineRefusedError(
        f"no engine computes {source.checkpoint.model!r} in precision {compute.precision!r} as it should; "
        "the log says more:\n  " + "\n  ".join(refused.values()),
        refused=tuple(refused.values()),
    )


def forget_encoders() -> None:
    """Give back the memory of the encoders that are kept; one that is in use stays until it is not."""
    _passed.clear()
    _refused.clear()
    gc.collect()  # the networks of transformers hold themselves
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()


# What was built in this process, and why the others were refused.
_passed: dict[Hashable, tuple[Encoder, GateReport]] = {}
_refused: dict[Hashable, str] = {}
_MOST_KEPT = 2


def _keep(key: Hashable, built: tuple[Encoder, GateReport]) -> None:
    """Keep an encoder, and of the others those that were used last."""
    _passed.pop(key, None)
    _passed[key] = built
    for oldest in list(_passed)[:-_MOST_KEPT]:
        _passed.pop(oldest, None)


def _build(
    source: NetworkSource,
    spec: EngineSpec,
    cache: Path,
    *,
    shelf: EngineShelf,
    reference: ReferenceTokens,
) -> tuple[Encoder, GateReport] | str:
    """An engine that passes the gate, or why it is refused, in words that name no place of this machine."""
    started = time.perf_counter()
    folder = cache / "engines" / name_judged(source, spec, shelf.list_versions(spec))
    try:
        encoder = shelf.build(source, spec, cache_folder=folder / "asked")
        report = read_report(folder) or hold(spec, encoder, reference, folder)
    except (CheckpointError, ConfigError, MissingExtraError):
        raise
    except Exception as err:  # noqa: BLE001 - drivers and converters raise nearly anything
        # Its text may name places of this machine: for the log, not for a manifest.
        log.warning("%s cannot be used: %s: %s", spec, type(err).__name__, err)
        return type(err).__name__
    if report.fault is not None:
        log.warning("%s is refused, its numbers are not the reference's: %s", spec, report)
        return report.fault
    took_s = time.perf_counter() - started
    log.info("%s %s in %.1f s; gate: %s", spec, encoder.version, took_s, report)
    return encoder, report


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
