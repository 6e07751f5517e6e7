"""Embedding files: uncompressed ``.npz`` streams with equal bytes for equal vectors.

``cls``, ``mean``, ``windows`` and ``tile_ids`` come first: a client that wants tile vectors needs only
the first bytes. ``embeddings``, which may be a gigabyte, comes last.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DATE = (1980, 1, 1, 0, 0, 0)  # the first one that a zip can hold
_REGULAR_FILE = 0o100644 << 16
Piece = bytes | memoryview


class _Outlet:
    """A write-only file for ``zipfile``; it collects pieces, and ``take`` removes them."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    def write(self, data: Piece) -> int:
        self._pieces.append(data)  # no copy: nobody writes a piece again
        return len(data)

    def flush(self) -> None:
        """Do nothing: no bytes are buffered."""

    def close(self) -> None:
        """Do nothing: no file is open."""

    def tell(self) -> int:
        raise OSError  # as a pipe does: zipfile then writes sizes after the data

    def take(self) -> Iterator[Piece]:
        pieces, self._pieces = self._pieces, []
        yield from pieces


def stream_file(
    small: Mapping[str, NDArray[Any]],
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    pieces: Iterable[Piece],
    about: Mapping[str, Any],
) -> Iterator[Piece]:
    """Yield an ``.npz`` file in pieces: first the ``small`` arrays, then the array ``embeddings``.

    ``pieces`` are the bytes of ``embeddings`` in C order; ``shape`` and ``dtype`` describe it. ``about``
    becomes the archive's comment, as JSON, so that a file copied elsewhere describes itself.
    """
    outlet = _Outlet()
    comment = json.dumps(about, sort_keys=True, ensure_ascii=True).encode()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = comment
        for name, array in small.items():
            with _open_member(archive, name) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            yield from outlet.take()
        with _open_member(archive, "embeddings") as member:
            header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for piece in pieces:
                member.write(piece)
                yield from outlet.take()
    yield from outlet.take()


def _open_member(archive: zipfile.ZipFile, name: str) -> Any:
    entry = zipfile.ZipInfo(f"{name}.npy", _DATE)
    entry.external_attr = _REGULAR_FILE
    return archive.open(entry, "w", force_zip64=True)
