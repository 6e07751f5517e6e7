"""Check of an engine by the numerics gate, run once per machine; the report is cached beside the network."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.settings import PrecisionClass
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource
from dino_assets.embeddings.encoder.gate import GateReport, compare_with_reference, draw_gate_tiles
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS, Tokens

log = logging.getLogger(__name__)


class ReferenceTokens:
    """The reference: all tokens of the gate's tiles by PyTorch in float32 on the CPU, computed on first use."""

    def __init__(
        self, source: NetworkSource, build: Callable[..., Encoder], *, threads: int
    ) -> None:
        self.build = build
        self._source = replace(source, outputs=ALL_TOKENS)
        self._threads = threads

    @cached_property
    def tiles(self) -> NDArray[np.uint8]:
        """The gate's tiles (N, side, side, 3)."""
        return draw_gate_tiles(self._source.side_px)

    @cached_property
    def tokens(self) -> Tokens:
        """The reference's tokens of the gate's tiles."""
        spec = EngineSpec("torch", "cpu", "fp32", 1, self._threads)
        return encode_in_threads(self.build(self._source, spec), self.tiles)


def encode_in_threads(encoder: Encoder, tiles: Any) -> Tokens:
    """Encode tiles with as many parallel calls as the engine has threads."""
    batch = encoder.spec.batch
    pieces = [tiles[first : first + batch] for first in range(0, len(tiles), batch)]
    with ThreadPoolExecutor(encoder.spec.threads) as pool:
        return Tokens.join(list(pool.map(encoder.encode, pieces)))


def check_engine(
    spec: EngineSpec, encoder: Encoder, reference: ReferenceTokens, folder: Path
) -> GateReport:
    """Compare an engine with the reference.

    First, an engine with the same ``spec`` that returns all tokens is compared. If it passes, ``encoder``
    itself is compared, which returns only the requested tokens. If both pass, the report is cached in
    ``folder``.
    """
    started = time.perf_counter()
    log.info(
        "%s: comparing it with PyTorch in float32, once on this machine for these weights and columns",
        spec,
    )
    source, full_encoder = encoder.source, encoder
    if set(source.outputs) != set(ALL_TOKENS):
        full_encoder = reference.build(replace(source, outputs=ALL_TOKENS), spec)
    tokens = encode_in_threads(full_encoder, reference.tiles)
    report = compare_with_reference(reference.tokens, tokens, _class_of(spec))
    if report.passed and full_encoder is not encoder:
        requested = encode_in_threads(encoder, reference.tiles)
        second = compare_with_reference(reference.tokens, requested, _class_of(spec))
        report = replace(report, norms=second.norms, fault=second.fault)
        if second.cls_cosine:
            report = replace(report, cls_cosine=second.cls_cosine, cls_centred=second.cls_centred)
    log.info("%s: numerics check took %.1f s", spec, time.perf_counter() - started)
    if report.passed:  # a refusal is not cached, so the engine is checked again by the next process
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f"gate-{os.getpid()}-{threading.get_ident()}.json"
            temporary.write_text(json.dumps(asdict(report)))
            temporary.replace(folder / "gate.json")
        except OSError as err:
            log.warning("cannot cache the numerics check, so every start repeats it: %s", err)
    return report


def read_report(folder: Path) -> GateReport | None:
    """Read the cached report; return None if it is absent or damaged."""
    try:
        report = json.loads((folder / "gate.json").read_text())
        report["norms"] = {name: (low, high) for name, (low, high) in report["norms"].items()}
        return GateReport(**report)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _class_of(spec: EngineSpec) -> PrecisionClass:
    return "fp32" if spec.numerics == "fp32" else "half"
