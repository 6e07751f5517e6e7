"""Layout of safetensors files: headers, order of tensors, shards, index."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dino_assets.weights.checkpoint import WEIGHTS
from dino_assets.weights.conversion.recognition import Piece

if TYPE_CHECKING:
    import torch

_ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class WeightShard:
    """One safetensors file: its name, its tensors in order, and its header."""

    name: str
    pieces: tuple[Piece, ...]
    header: bytes
    bytes: int  # of the whole file


def plan_shards(
    pieces: Iterable[Piece], dtypes: Mapping[str, str], *, max_bytes: int
) -> tuple[WeightShard, ...]:
    """Plan one weight file, or several of at most ``max_bytes`` of tensors each.

    A larger tensor gets a file of its own. ``dtypes`` maps each tensor to its type in safetensors' spelling,
    such as ``BF16``.
    """
    groups: list[list[Piece]] = [[]]
    filled = 0
    for piece in pieces:
        size = count_bytes(piece, dtypes)
        if groups[-1] and filled + size > max_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(piece)
        filled += size
    stem, _, suffix = WEIGHTS.partition(".")
    names = (
        [WEIGHTS]
        if len(groups) == 1
        else [f"{stem}-{n:05}-of-{len(groups):05}.{suffix}" for n in range(1, len(groups) + 1)]
    )
    return tuple(
        _plan_shard(name, group, dtypes) for name, group in zip(names, groups, strict=True)
    )


def make_index(shards: Sequence[WeightShard], dtypes: Mapping[str, str]) -> dict[str, object]:
    """Make the index that maps each tensor to its shard."""
    return {
        "metadata": {"total_size": sum(count_bytes(p, dtypes) for s in shards for p in s.pieces)},
        "weight_map": {piece.name: shard.name for shard in shards for piece in shard.pieces},
    }


def count_bytes(piece: Piece, dtypes: Mapping[str, str]) -> int:
    """Count the bytes of one tensor."""
    return math.prod(piece.shape) * _ITEM_BYTES[dtypes[piece.name]]


def view_bytes(tensor: "torch.Tensor") -> memoryview:
    """View the bytes of a tensor of any type, also of bfloat16, which numpy lacks."""
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _plan_shard(name: str, pieces: Iterable[Piece], dtypes: Mapping[str, str]) -> WeightShard:
    # Tensors with wide items come first, so that all are aligned.
    ordered = sorted(pieces, key=lambda p: (-_ITEM_BYTES[dtypes[p.name]], p.name))
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for piece in ordered:
        end = start + count_bytes(piece, dtypes)
        entries[piece.name] = {
            "dtype": dtypes[piece.name],
            "shape": list(piece.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    return WeightShard(name, tuple(ordered), header, len(header) + start)
