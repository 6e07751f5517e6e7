"""Atomic writing of files that a user asked for, such as exports and pictures."""

import contextlib
import csv
import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from dino_assets.errors import DinoAssetsError, DiskFullError, TargetError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to, and rename it to ``path`` at the end.

    Missing folders are made. If the block fails, the temporary file is deleted and an older file stays.

    Raises:
        TargetError: the path cannot be written; the message says why.
        DiskFullError: the disk is full.
    """
    with explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        # A short name, with the suffix by which some writers choose the format.
        aside = path.with_name(f".{uuid4().hex[:12]}{path.suffix}")
        try:
            yield aside
            aside.replace(path)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink()


def write_target(path: Path, data: bytes) -> None:
    """Write a file that a user asked for, atomically.

    Raises:
        TargetError: the path cannot be written.
        DiskFullError: the disk is full.
    """
    with writing(path) as aside:
        aside.write_bytes(data)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a table that a user asked for as CSV, atomically; return its path.

    Raises:
        TargetError: the path cannot be written.
        DiskFullError: the disk is full.
    """
    with writing(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Replace the operating system's errors in the ``with`` block by errors with advice about ``path``.

    Raises:
        TargetError: the path cannot be written.
        DiskFullError: the disk is full.
    """
    try:
        yield
    except DinoAssetsError:
        raise
    except OSError as err:
        raise _explain(err, path) from err


def _explain(err: OSError, path: Path) -> DinoAssetsError:
    shown, folder = str(path), str(path.parent)
    if err.errno in _FULL:
        return DiskFullError(
            f"no space left to write {shown!r}: free some space, or choose a path on another disk"
        )
    if err.errno in _DENIED:
        why = "the disk is mounted read-only" if err.errno == errno.EROFS else "permission denied"
        return TargetError(
            f"cannot write {shown!r}: {why}. Make {folder!r} writable, or choose another path",
            path=shown,
            reason="denied",
        )
    if err.errno in _NO_FOLDER:
        file = next((each for each in path.parents if each.exists()), path.parent)
        return TargetError(
            f"cannot write {shown!r}: {str(file)!r} is a file, and a folder is expected. Choose "
            "another path, or move the file away",
            path=shown,
            reason="no-folder",
        )
    if err.errno == errno.EISDIR:
        return TargetError(
            f"cannot write {shown!r}: it is a folder, and a file name is expected. Choose another path",
            path=shown,
            reason="is-a-folder",
        )
    return TargetError(
        f"cannot write {shown!r}: {err.strerror or err}. Choose another path",
        path=shown,
        reason="refused",
    )
