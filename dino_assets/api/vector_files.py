"""Reading of embedding files: ``.npy``, and the ``.npz`` and ``.parquet`` that ``save_embeddings`` writes."""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.numerics.neighbours import check_vectors


@dataclass(frozen=True, eq=False)
class VectorTable:
    """Vectors (N, D), and an id for each; rows without ids are numbered from 0."""

    vectors: NDArray[np.float32]
    ids: list[str]


def read_vectors(file: Path) -> VectorTable:
    """Read the vectors of a file, and their ids if it has some.

    Raises:
        ConfigError: the file does not exist, or its ending is not .npy, .npz or .parquet.
        InvalidVectorsError: the file does not hold finite vectors (N, D), or their number differs from the
            number of ids.
    """
    if not file.is_file():
        raise ConfigError(
            f"there is no file {file}. Give a file of embeddings: {', '.join(_READERS)}",
            setting="file",
            value=str(file),
        )
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise ConfigError(
            f"{file} ends in {file.suffix!r}; expected {', '.join(_READERS)}. `dino-assets embed` writes .npz and "
            ".parquet",
            setting="file",
            value=str(file),
        )
    try:
        vectors, ids = read(file)
        rows = check_vectors(vectors)
    except InvalidVectorsError as err:
        raise InvalidVectorsError(f"{file}: {err}", dims=err.dims) from err
    except _UNREADABLE as err:
        raise InvalidVectorsError(
            f"{file} holds no embeddings: {type(err).__name__}: {err}. Write one with `dino-assets embed`, or "
            "with numpy.save from an array of shape (N, D)"
        ) from err
    names = [str(row) for row in range(len(rows))] if ids is None else [str(each) for each in ids]
    if len(names) != len(rows):
        raise InvalidVectorsError(
            f"{file} holds {len(rows)} vectors and {len(names)} ids: one id per vector is expected"
        )
    return VectorTable(rows, names)


def _read_npy(file: Path) -> tuple[Any, Any]:
    with file.open("rb") as opened:  # of a damaged file NumPy leaves its own open
        return np.load(opened, allow_pickle=False), None


def _read_npz(file: Path) -> tuple[Any, Any]:
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
        ids = archive["image_ids"].tolist() if "image_ids" in archive else None
        return archive["embeddings"], ids


def _read_parquet(file: Path) -> tuple[Any, Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    column = table["embedding"].combine_chunks()
    ids = table["image_id"].to_pylist() if "image_id" in table.column_names else None
    rows = column.to_numpy(zero_copy_only=False)
    return np.stack(rows) if len(rows) else np.empty((0, 0), np.float32), ids


# What NumPy, zipfile, zlib and Arrow raise for files that are cut, damaged or of another kind.
_UNREADABLE = (
    ValueError, TypeError, EOFError, KeyError, NotImplementedError, OSError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_READERS: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
}
