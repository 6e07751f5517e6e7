"""A network beside what the reference says of the gate's tiles, to plant faults in."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dino_assets.embeddings.encoder.engine import fit_batch
from dino_assets.embeddings.encoder.gate import GateReport, compare_with_reference, draw_gate_tiles
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS, TokenName, Tokens
from dino_assets.embeddings.encoder.torch_engine import TorchEncoder
from dino_assets_tests.worlds.networks import Sample, spec

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Trial:
    """A network, and what the reference says of the gate's tiles."""

    sample: Sample
    tiles: np.ndarray
    reference: Tokens
    batch: int

    def engine(self, outputs: tuple[TokenName, ...] = ALL_TOKENS) -> TorchEncoder:
        """The engine that a fault is planted in."""
        return TorchEncoder(self.sample.at(self.side, outputs), spec("torch", "fp32", self.batch))

    @property
    def side(self) -> int:
        return int(self.tiles.shape[1])

    def judge(self, engine: Any, precision: str = "half") -> GateReport:
        """The gate's word."""
        return compare_with_reference(self.reference, engine.encode(self.tiles), precision)  # type: ignore[arg-type]


def try_out(sample: Sample, side: int) -> Trial:
    tiles = draw_gate_tiles(side)
    batch = fit_batch(sample.checkpoint, side)
    encoder = TorchEncoder(sample.at(side), spec("torch", "fp32", batch))
    return Trial(sample, tiles, encoder.encode(tiles), batch)
