"""Import plans: every file that an import will write, and how to plan for a single file of weights."""

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

# Names of readmes, licences and notices to copy. Stricter than ``is_paper``, because the weights may lie in
# a folder full of other downloads.
_PAPERS = re.compile(
    r"README(?:\.md|\.txt)?|(?:LICEN[CS]E|NOTICE)(?![a-z])(?!.*\.(?:pth|pt|bin|safetensors)$).*",
    re.IGNORECASE,
)
# Names of Meta's DINOv3 files end with the first digits of their sha256.
_HASHED_NAME = re.compile(r"dinov3_\w+-([0-9a-f]{8,64})\.pth")


@dataclass(frozen=True)
class Weights:
    """Weight files to write, with a function that makes each tensor."""

    shards: tuple[WeightShard, ...]
    make: Callable[[Piece], "torch.Tensor"]


@dataclass(frozen=True)
class ImportPlan:
    """The plan of one import: the recognised format and every file of the new folder."""

    format: str
    texts: Mapping[str, bytes]  # small files that the import writes
    copies: Mapping[str, Path]  # files that are copied unchanged
    weights: Weights | None = None  # None: the weights are among the copies
    digests: Mapping[str, str] = field(default_factory=dict)  # sha256 of copies, if known already
    leftovers: Mapping[str, str] = field(default_factory=dict)

    @property
    def needed_bytes(self) -> int:
        """Bytes of the new folder."""
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
    """Plan the conversion of timm's or Meta's file, which stays open: its tensors are read while writing.

    Raises:
        CheckpointNotFoundError: the file does not exist.
        InvalidCheckpointError: the file is damaged, holds code, or has an unknown format.
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
    """Plan the weight files, and the index if there are several of them.

    Return the plan of the weights, and the content of the index by file name. Tensors without a source
    get the dtype ``widest``.
    """
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
    """Hash a file (sha256), and compare with the hash that Meta puts into file names.

    Raises:
        InvalidCheckpointError: the file's hash differs from the one in its name.
    """
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    match = _HASHED_NAME.fullmatch(source.name)
    if match and not sha256.startswith(match[1]):
        raise InvalidCheckpointError(
            f"{source.name!r} has the sha256 {sha256[:12]}…, but by its name it should begin with "
            f"{match[1]}. Fetch or copy it again; if it was changed on purpose, rename it.",
            file=source.name,
            reason="altered",
        )
    return sha256


def encode_json(value: Mapping[str, object]) -> bytes:
    """Encode a JSON file, indented for readers.

    Raises:
        InvalidCheckpointError: the value is nested too deeply.
    """
    try:
        return (json.dumps(value, indent=2) + "\n").encode()
    except RecursionError:
        raise InvalidCheckpointError(
            f"{CONFIG} or {PREPROCESSOR} is nested too deeply to be written. Fetch or copy them again.",
            reason="impossible",
        ) from None


def _find_widest(recognised: Recognised, opened: TensorSource) -> str:
    """Find the dtype in which transformers will load the model: that of all tensors, else float32."""
    used = {opened.dtypes[piece.source] for piece in recognised.pieces if piece.source}
    names = [name for name, code in DTYPES.items() if code in used]
    return names[0] if len(names) == 1 else "float32"
