"""What an import will write, known before it writes anything: plans for single files of weights."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dino_assets.errors import InvalidCheckpointError
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import IMPORTED_FROM, INDEX, PREPROCESSOR
from dino_assets.weights.conversion.layout import WeightShard, make_index, plan_shards
from dino_assets.weights.conversion.recognition import (
    Piece,
    Recognised,
    check_values,
    convert,
    recognise,
)
from dino_assets.weights.conversion.sources import DTYPES, TensorSource, open_source
from dino_assets.weights.conversion.statistics import choose_statistics, complete_preprocessor
from dino_assets.weights.records import StatisticsName

if TYPE_CHECKING:
    import torch

# Stricter than within a checkpoint: a file may lie among all that somebody ever downloaded.
_PAPERS = re.compile(
    r"README(?:\.md|\.txt)?|(?:LICEN[CS]E|NOTICE)(?![a-z])(?!.*\.(?:pth|pt|bin|safetensors)$).*",
    re.IGNORECASE,
)
# The file names of Meta's DINOv3 end in the first digits of their sha256.
_HASHED_NAME = re.compile(r"dinov3_\w+-([0-9a-f]{8,64})\.pth")


@dataclass(frozen=True)
class Weights:
    """Files of weights that are written anew, and how each tensor of theirs is had."""

    shards: tuple[WeightShard, ...]
    make: Callable[[Piece], "torch.Tensor"]


@dataclass(frozen=True)
class ImportPlan:
    """One import: what was found, and every file that the new folder will have."""

    format: str
    texts: Mapping[str, bytes]  # small files made here
    copies: Mapping[str, Path]  # files taken as they are
    weights: Weights | None = None  # None: they are among the copies
    digests: Mapping[str, str] = field(default_factory=dict)  # of copies, where known beforehand
    leftovers: Mapping[str, str] = field(default_factory=dict)

    @property
    def needed_bytes(self) -> int:
        """What the new folder will hold."""
        shards = self.weights.shards if self.weights else ()
        return (
            sum(map(len, self.texts.values()))
            + sum(path.stat().st_size for path in self.copies.values())
            + sum(shard.bytes for shard in shards)
        )


@contextmanager
def plan_file(
    source: Path, *, asked: StatisticsName | None, shard_bytes: int
) -> Iterator[ImportPlan]:
    """Plan the conversion of timm's or Meta's file; it stays open, and its tensors unread.

    Raises:
        CheckpointNotFoundError: there is no such file.
        InvalidCheckpointError: it is damaged, holds code, or is none of the known formats.
    """
    model = source.name
    with open_source(source, model=model) as opened:
        recognised = recognise(opened.shapes, model=model)
        check_values(recognised, opened.read, model=model)
        sha256 = hash_source(source)
        widest = _find_widest(recognised, opened)
        weights, index = plan_weights(recognised.pieces, opened, widest, shard_bytes)
        config = {
            "model_type": recognised.family,
            "dtype": widest,
            **recognised.config,
            IMPORTED_FROM: {"file": model, "sha256": sha256, "format": recognised.format},
        }
        chosen = choose_statistics(source, recognised.family, asked=asked)
        yield ImportPlan(
            format=recognised.format,
            texts={
                CONFIG: encode_json(config),
                PREPROCESSOR: encode_json(complete_preprocessor({}, chosen, recognised.family)),
                **index,
            },
            copies={
                path.name: path
                for path in sorted(source.parent.iterdir())
                if _PAPERS.fullmatch(path.name) and path.is_file()
            },
            weights=weights,
            leftovers={**recognised.leftovers, **opened.leftovers},
        )


def plan_weights(
    pieces: Iterable[Piece], opened: TensorSource, widest: str, shard_bytes: int
) -> tuple[Weights, dict[str, bytes]]:
    """The files of weights, and the index where it takes several; new tensors get ``widest``."""
    import torch

    listed = tuple(pieces)
    dtypes = {
        piece.name: opened.dtypes[piece.source] if piece.source else DTYPES[widest]
        for piece in listed
    }
    shards = plan_shards(listed, dtypes, max_bytes=shard_bytes)
    weights = Weights(shards, lambda piece: convert(piece, opened.read, getattr(torch, widest)))
    return weights, {INDEX: encode_json(make_index(shards, dtypes))} if len(shards) > 1 else {}


def hash_source(source: Path) -> str:
    """A file's sha256, which must be the one in its name where Meta put one there.

    Raises:
        InvalidCheckpointError: it is not.
    """
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    named = _HASHED_NAME.fullmatch(source.name)
    if named and not sha256.startswith(named[1]):
        raise InvalidCheckpointError(
            f"{source.name!r} should have a sha256 that begins with {named[1]}, and has "
            f"{sha256[:12]}…. Fetch or copy it again; if it was changed on purpose, rename it.",
            file=source.name,
            reason="altered",
        )
    return sha256


def encode_json(value: Mapping[str, object]) -> bytes:
    """A small file's bytes, for people too.

    Raises:
        InvalidCheckpointError: what was found nests more deeply than can be written.
    """
    try:
        return (json.dumps(value, indent=2) + "\n").encode()
    except RecursionError:
        raise InvalidCheckpointError(
            f"what {CONFIG} or {PREPROCESSOR} says nests too deeply to be a model's. Fetch or copy them "
            "again.",
            reason="impossible",
        ) from None


def _find_widest(recognised: Recognised, opened: TensorSource) -> str:
    """The one dtype that transformers loads the model in."""
    used = {opened.dtypes[piece.source] for piece in recognised.pieces if piece.source}
    names = [name for name, code in DTYPES.items() if code in used]
    return names[0] if len(names) == 1 else "float32"
