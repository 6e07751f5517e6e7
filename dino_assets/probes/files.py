"""Files of a probe: its weights as safetensors, and its labelled vectors as npz."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import InvalidModelFileError
from dino_assets.probes.records import Probe, TrainingSet
from dino_assets.probes.splits import TileGround
from dino_assets.probes.validation import FoldPlan

FORMULA = "softmax(((v / |v| - center) / scale) @ weights.T + bias)"
_FORMAT = "dino_assets probe 1"
_LENGTH_BYTES = 8


def dump_probe(probe: Probe, facts: Mapping[str, str]) -> bytes:
    """Write a probe as safetensors; its classes, the formula and ``facts`` are in the metadata."""
    from safetensors.numpy import save

    metadata = {
        **facts,
        "format": _FORMAT,
        "kind": probe.kind,
        "classes": json.dumps(list(probe.class_names), ensure_ascii=False),
        "formula": FORMULA,
        "strength": json.dumps(probe.strength),
    }
    tensors = {
        "weights": probe.weights,
        "bias": probe.bias,
        "center": probe.center,
        "scale": np.array([probe.scale], np.float32),
    }
    return _sort_header(save(tensors, metadata))


def load_probe(data: bytes) -> tuple[Probe, dict[str, str]]:
    """Read a probe and the metadata of its file.

    Raises:
        InvalidModelFileError: the bytes are not those of a probe.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        metadata = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])["__metadata__"]
        probe = Probe(
            metadata["kind"],
            tuple(json.loads(metadata["classes"])),
            tensors["weights"],
            tensors["bias"],
            tensors["center"],
            float(tensors["scale"][0]),
            json.loads(metadata["strength"]),
        )
    except (SafetensorError, KeyError, ValueError) as err:
        raise InvalidModelFileError(
            f"the file does not hold a probe: {type(err).__name__}: {err}. A file probe.safetensors is expected, as "
            "`dino-assets probe train` makes it."
        ) from err
    return probe, metadata


def _sort_header(data: bytes) -> bytes:
    """Sort the metadata of a safetensors file: the library writes it in a random order."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + data[_LENGTH_BYTES + length :]


@dataclass(frozen=True, eq=False)
class ProbeData:
    """The labelled tiles of a probe, as ``probe-data.npz`` has them: where they are and how they were split.

    The arrays have one row per labelled tile. ``are_trained_on`` (F, N) says which tiles each fold learned
    from; ``folds`` says in which fold a tile was held out.
    """

    tile_ids: tuple[str, ...]
    tiles: TileGround
    groups: tuple[str, ...]
    folds: NDArray[np.int64]
    are_trained_on: NDArray[np.bool_]


def dump_probe_data(
    tile_ids: tuple[str, ...],
    labelled: TrainingSet,
    tiles: TileGround,
    plan: FoldPlan,
    probabilities: NDArray[np.float32],
) -> bytes:
    """Write labelled vectors, ids and the split as npz, which numpy reads without pickle."""
    sink = io.BytesIO()
    arrays: dict[str, Any] = {
        "vectors": labelled.vectors,
        "labels": labelled.classes,
        "classes": np.array(labelled.class_names, np.str_),
        "tile_ids": np.array(tile_ids, np.str_),
        "drops": np.array(tiles.drops, np.str_),
        "image_ids": np.array(tiles.image_ids, np.str_),
        "centers": tiles.centers,
        "sides_m": tiles.sides_m,
        "groups": np.array(plan.group_names, np.str_),
        "split": plan.folds,
        "trained_on": plan.are_trained_on,
        "held_out_probabilities": probabilities,
    }
    np.savez(sink, **arrays)
    return sink.getvalue()


def load_probe_data(data: bytes) -> ProbeData:
    """Read the ids and the split of a probe's labelled tiles; the vectors are not read."""
    with np.load(io.BytesIO(data)) as file:
        words = {name: tuple(file[name].tolist()) for name in ("tile_ids", "groups")}
        tiles = TileGround(
            file["drops"].tolist(), file["image_ids"].tolist(), file["centers"], file["sides_m"]
        )
        return ProbeData(
            **words, tiles=tiles, folds=file["split"], are_trained_on=file["trained_on"]
        )
