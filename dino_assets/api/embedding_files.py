"""Embedding files: ``.pt``, ``.npz``, and Parquet that is written in pieces."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dino_assets.errors import ConfigError
from dino_assets.settings.urls import expand_path
from dino_assets.store.targets import writing

if TYPE_CHECKING:
    from torch import Tensor

ENDINGS = (".parquet", ".pt", ".npz")
# Key in the Parquet file's metadata.
ABOUT = b"dino_assets"


def save_embeddings(
    embeddings: "Tensor | NDArray[np.float32]",
    image_ids: Sequence[str],
    output_path: str | Path,
    *,
    model_name: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Save embeddings (N, d) and their ids; return the file's path. After an error no partial file remains.

    The ending of ``output_path`` chooses the format. ``.pt`` holds ``embeddings``, ``image_ids``,
    ``model_name``, ``timestamp`` and ``metadata``, and opens with ``torch.load(path, weights_only=True)``.
    ``.npz`` holds the same as arrays, ``.parquet`` a row per embedding. A file with any other ending has the
    format of ``.pt``.

    >>> import numpy as np
    >>> from dino_assets import save_embeddings
    >>> save_embeddings(np.zeros((2, 3), np.float32), ["a.jpg", "b.jpg"], "out/two.npz").name
    'two.npz'

    Raises:
        ConfigError: the number of ids differs from the number of embeddings.
        TargetError: the file cannot be written.
        DiskFullError: the disk is full.
    """
    matrix = embeddings if isinstance(embeddings, np.ndarray) else _to_tensor(embeddings)
    ids = [str(each) for each in image_ids]
    if matrix.ndim != 2 or len(matrix) != len(ids):
        raise ConfigError(
            f"embeddings have the shape {tuple(matrix.shape)}, and there are {len(ids)} ids; the shape "
            "(N, d) and N ids are expected",
            setting="image_ids",
            value=len(ids),
        )
    path = expand_path(output_path)
    about = about_embeddings(model_name, metadata)
    ending = path.suffix.lower()
    if ending == ".parquet":
        return write_parquet(path, [(_to_array(matrix), ids)], dim=matrix.shape[1], about=about)
    with writing(path) as aside:
        if ending == ".npz":
            arrays = {
                "embeddings": _to_array(matrix),
                "image_ids": np.array(ids, np.str_),
            }
            words = {name: np.array(_spell(value)) for name, value in about.items()}
            with aside.open("wb") as file:
                np.savez(file, **arrays, **words)  # type: ignore[arg-type]
        else:
            import torch

            # A clone, since a view would be saved with its whole storage. An open file, since torch
            # refuses names that begin with a dot and have no ending.
            with aside.open("wb") as file:
                torch.save(
                    {"embeddings": _to_tensor(matrix).clone(), "image_ids": ids, **about}, file
                )
    return path


def _to_tensor(embeddings: Any) -> "Tensor":
    import torch

    return torch.as_tensor(embeddings).detach().cpu()


def _to_array(matrix: "Tensor | NDArray[np.float32]") -> NDArray[np.float32]:
    # NumPy has no bfloat16.
    values = matrix if isinstance(matrix, np.ndarray) else matrix.float().numpy()
    return np.asarray(values, np.float32)


def about_embeddings(model_name: str, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make the facts that are saved with embeddings: model, current time, metadata."""
    return {
        "model_name": model_name,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "metadata": dict(metadata or {}),
    }


def write_parquet(
    path: Path,
    pieces: Iterable[tuple[NDArray[np.float32], Sequence[str]]],
    *,
    dim: int,
    about: Mapping[str, Any],
) -> Path:
    """Write pieces of embeddings and ids into one Parquet file, a row group per piece; return its path.

    The columns are ``image_id`` and ``embedding``. ``dim`` is the length of an embedding. ``about`` is saved
    in the file's metadata.

    Raises:
        TargetError, DiskFullError: the file cannot be written; no partial file remains.
    """
    value = pa.float32()
    schema = pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(value, dim), nullable=False),
        ],
        metadata={ABOUT: json.dumps(about, sort_keys=True)},
    )
    with writing(path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        for matrix, ids in pieces:
            vectors = pa.FixedSizeListArray.from_arrays(
                pa.array(np.ascontiguousarray(matrix, np.float32).ravel(), value), dim
            )
            writer.write_table(pa.table([pa.array(ids, pa.string()), vectors], schema=schema))
    return path


def check_target(output_path: str | Path) -> Path:
    """Check that a file can be written, before hours are spent on its content; return its path.

    Raises:
        ConfigError: the ending is not .parquet, .pt or .npz.
        TargetError: the path is a folder, or its folder cannot be written.
    """
    path = expand_path(output_path)
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(
            f"output_path is {str(output_path)!r}; it must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}",
            setting="output_path",
            value=str(output_path),
        )
    with suppress(_TriedOutError), writing(path) as aside:
        aside.write_bytes(b"")
        raise _TriedOutError  # so that an older file is not replaced
    return path


class _TriedOutError(Exception):
    """A signal inside ``check_target``: the path can be written."""


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
