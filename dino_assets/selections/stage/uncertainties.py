"""Uncertainties by which a round is chosen: from a probe, stored with the round, and read back."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.stage.pool import TilePool
from dino_assets.errors import CorruptObjectError
from dino_assets.selections.rounds import RoundSettings
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore

UNCERTAINTIES = "uncertainties.npy"  # a number per tile of the pool, in the order of its parts
PREDICTIONS_INPUT, UNCERTAINTY_INPUT = "probes/predictions", "probes/uncertainty"


@dataclass(frozen=True, eq=False)
class Uncertainties:
    """Uncertainties (N,) of all tiles of a pool, in the order of its parts, and the probe that they are from.

    ``probe`` is the content hash of the probe's predictions. ``scores`` are figures of the probe for people.
    """

    values: NDArray[np.float32]
    probe: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict)

    def hash_inputs(self) -> dict[str, str]:
        """Return the hashes of the predictions and of the numbers as recipe inputs; none if there are no numbers."""
        if not len(self.values):
            return {}
        return {PREDICTIONS_INPUT: self.probe, UNCERTAINTY_INPUT: self._hash}

    @cached_property
    def _hash(self) -> str:
        return hashlib.sha256(self.dump()).hexdigest()

    def dump(self) -> bytes:
        """Encode the numbers as a .npy file."""
        sink = io.BytesIO()
        np.save(sink, self.values.astype("<f4"))
        return sink.getvalue()

    def align(self, everything: TilePool, pool: TilePool) -> NDArray[np.float32] | None:
        """Return the numbers of the tiles in ``pool``, a part of ``everything``; None if there are no numbers."""
        if not len(self.values):
            return None
        of_tile = dict(zip(everything.tile_ids, self.values.tolist(), strict=True))
        return np.array([of_tile[tile_id] for tile_id in pool.tile_ids], np.float32)


NO_UNCERTAINTIES = Uncertainties(np.empty(0, np.float32))

ReadUncertainties = Callable[[CommittedTable, RoundSettings], Uncertainties]


def measure_uncertainties(chosen: NDArray[np.float32], pool: NDArray[np.float32]) -> dict[str, Any]:
    """Return as facts how uncertain the chosen tiles and all tiles are."""
    return {
        "uncertainty_mean": round(float(chosen.mean()), 4) if len(chosen) else None,
        "pool_uncertainty_mean": round(float(pool.mean()), 4),
    }


def describe_uncertainties(facts: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    """Describe in lines how uncertain the chosen tiles are, and how good the probe is."""
    if facts.get("uncertainty_mean") is None:
        return
    yield (
        f"uncertainty: {config['uncertainty']} of the probe's predictions: mean {facts['uncertainty_mean']:.3f} of the "
        f"chosen tiles, {facts['pool_uncertainty_mean']:.3f} of all tiles"
    )
    if warning := facts["probe"].get("warning"):
        yield f"note: {warning}"


def read_stored_uncertainties(store: ObjectStore, manifest: Manifest) -> Uncertainties:
    """Read the uncertainties that were stored with a committed round; none if it was chosen without them.

    Raises:
        CorruptObjectError: the file is missing or altered.
    """
    inputs = manifest.recipe.inputs
    if UNCERTAINTY_INPUT not in inputs:
        return NO_UNCERTAINTIES
    part = next((part for part in manifest.parts if part.name == UNCERTAINTIES), None)
    if part is None:
        message = f"{manifest.recipe.output} has no file {UNCERTAINTIES!r}"
        raise CorruptObjectError(message, store=store.url, key=UNCERTAINTIES)
    values = np.load(io.BytesIO(read_part(store, part)), allow_pickle=False)
    stored = Uncertainties(values, inputs[PREDICTIONS_INPUT], manifest.facts.get("probe", {}))
    if not stored.hash_inputs().items() <= inputs.items():
        raise CorruptObjectError(
            f"{UNCERTAINTIES!r} of {manifest.recipe.output} has other numbers than those with the hash in its recipe",
            store=store.url,
            key=part.key,
        )
    return stored
