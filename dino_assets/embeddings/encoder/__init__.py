"""From tiles to embeddings: our own preprocessing, transformers' own weights, one of several engines."""

from dino_assets.embeddings.encoder.choosing import build_engine, find_engines, list_engines
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource, fit_batch
from dino_assets.embeddings.encoder.tokens import (
    ALL_TOKENS,
    TokenName,
    Tokens,
    normalise,
    quiet_progress,
)
from dino_assets.embeddings.space import PREPROCESSING_VERSION

__all__ = [
    "ALL_TOKENS",
    "PREPROCESSING_VERSION",
    "Encoder",
    "EngineSpec",
    "NetworkSource",
    "TokenName",
    "Tokens",
    "build_engine",
    "find_engines",
    "fit_batch",
    "list_engines",
    "normalise",
    "quiet_progress",
]
