"""Opening of encoders: the best engine that passes the numerics gate, cached for the process."""

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
from dino_assets.embeddings.encoder.gate_check import ReferenceTokens, check_engine, read_report
from dino_assets.embeddings.encoder.versions import list_versions, name_engine_folder
from dino_assets.errors import CheckpointError, ConfigError, EngineRefusedError, MissingExtraError
from dino_assets.weights.checkpoint import stamp_files

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ReadyEncoder:
    """An encoder that passed the gate, its report, and the engines that were refused before it."""

    encoder: Encoder
    gate: GateReport
    batch: (
        int  # tiles per call when built; after running out of memory, encoder.spec.batch is smaller
    )
    refused: tuple[str, ...] = ()  # engine and reason

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for manifests: equal on all machines of one type, so without times."""
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
    """Name an engine without its device number, for example ``torch bf16 on cuda``."""
    return str(replace(spec, device=spec.device.partition(":")[0]))


@dataclass(frozen=True)
class EngineFactory:
    """The functions that list engines to try, build one of them, and list its library versions."""

    list_specs: Callable[..., Iterable[EngineSpec]] = list_engines
    build: Callable[..., Encoder] = build_engine
    list_versions: Callable[[EngineSpec], list[str]] = list_versions


ENGINE_FACTORY = EngineFactory()


def open_encoder(
    source: NetworkSource,
    compute: ComputeSettings,
    *,
    cache: Path,
    first: str | None = None,
    factory: EngineFactory = ENGINE_FACTORY,
) -> ReadyEncoder:
    """Open the best engine that passes the gate; the engine named ``first`` is tried before the others.

    ``first`` is a name as ``name_engine`` gives it. The encoder is cached until ``forget_encoders``, so
    the drops of a run share it. If the checkpoint's files have changed since, the encoder is opened again.

    Raises:
        EngineRefusedError: no engine passes the gate.
        ConfigError: the engine that ``compute`` names cannot run here.
        CheckpointError: the weights are incomplete or damaged.
    """
    stamps = stamp_files(source.folder, source.checkpoint)
    specs = factory.list_specs(compute, source.checkpoint, side_px=source.side_px)
    reference = ReferenceTokens(source, factory.build, threads=max(1, compute.threads))
    refused: dict[Hashable, str] = {}
    for spec in _put_first(first, specs):
        key = source, spec, cache, factory, stamps
        if (reason := _refused.get(key)) is None:
            built = _passed.get(key) or _build(
                source, spec, cache, factory=factory, reference=reference
            )
            if not isinstance(built, str):
                _remember(key, built)
                encoder, report = built
                return ReadyEncoder(encoder, report, spec.batch, tuple(refused.values()))
            reason = built
        refused[key] = f"{name_engine(spec)}: {reason}"
        _refused[key] = reason
    for each in refused:  # the next call tries them again, because there is no other engine
        _refused.pop(each, None)
    raise EngineRefusedError(
        f"no engine computes {source.checkpoint.model!r} in precision {compute.precision!r} correctly. "
        "Reason for each engine (details are in the log):\n  " + "\n  ".join(refused.values()),
        refused=tuple(refused.values()),
    )


def forget_encoders() -> None:
    """Release the cached encoders; an encoder in use keeps its memory until it is no longer used."""
    _passed.clear()
    _refused.clear()
    gc.collect()  # transformers' networks contain reference cycles
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()


# Encoders built in this process, and the reasons why others were refused.
_passed: dict[Hashable, tuple[Encoder, GateReport]] = {}
_refused: dict[Hashable, str] = {}
_MOST_CACHED = 2


def _remember(key: Hashable, built: tuple[Encoder, GateReport]) -> None:
    """Cache an encoder; keep only the ``_MOST_CACHED`` encoders that were used last."""
    _passed.pop(key, None)
    _passed[key] = built
    for oldest in list(_passed)[:-_MOST_CACHED]:
        _passed.pop(oldest, None)


def _build(
    source: NetworkSource,
    spec: EngineSpec,
    cache: Path,
    *,
    factory: EngineFactory,
    reference: ReferenceTokens,
) -> tuple[Encoder, GateReport] | str:
    """Build an engine and check it; return it with its report, or the reason for a refusal.

    The reason goes into manifests, so it contains no path of this machine.
    """
    started = time.perf_counter()
    folder = cache / "engines" / name_engine_folder(source, spec, factory.list_versions(spec))
    try:
        encoder = factory.build(source, spec, cache_folder=folder / "asked")
        report = read_report(folder) or check_engine(spec, encoder, reference, folder)
    except (CheckpointError, ConfigError, MissingExtraError):
        raise
    except Exception as err:  # noqa: BLE001 - drivers and converters raise nearly anything
        # The error's text may contain paths of this machine. It goes to the log, not into a manifest.
        log.warning("%s cannot be used: %s: %s", spec, type(err).__name__, err)
        return type(err).__name__
    if report.fault is not None:
        log.warning("%s is refused, its numbers differ from the reference: %s", spec, report)
        return report.fault
    took_s = time.perf_counter() - started
    log.info("%s %s in %.1f s; gate: %s", spec, encoder.version, took_s, report)
    return encoder, report


def _put_first(first: str | None, specs: Iterable[EngineSpec]) -> Iterator[EngineSpec]:
    """Yield the engine named ``first``, then the others.

    What follows that engine in ``specs`` is read only when the caller asks for the next engine.
    """
    before: list[EngineSpec] = []
    remaining = iter(specs)
    for spec in remaining if first else ():
        if name_engine(spec) == first:
            yield spec
            break
        before.append(spec)
    yield from chain(before, remaining)
