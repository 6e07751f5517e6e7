"""Files that a person asked for: whole under their name, or not there."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from dino_assets.errors import DinoAssetsError, DiskFullError, TargetError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write to; what is there in the end takes the place of ``path``.

    Missing folders are made. When the block fails, nothing is left, and an older file stands.

    Raises:
        TargetError: nothing can be written there; says what is in the way.
        DiskFullError: there is no room.
    """
    with explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        # Short, and with the ending that some writers choose the format by.
        aside = path.with_name(f".{uuid4().hex[:12]}{path.suffix}")
        try:
            yield aside
            aside.replace(path)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink()


def write_target(path: Path, data: bytes) -> None:
    """Write a file that a person asked for.

    Raises:
        TargetError: nothing can be written there.
        DiskFullError: there is no room.
    """
    with writing(path) as aside:
        aside.write_bytes(data)


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Say what to do when the operating system refuses to write ``path``.

    Raises:
        TargetError: nothing can be written there.
        DiskFullError: there is no room.
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
            f"no space left to write {shown!r}: free some, or name a place on another disk"
        )
    if err.errno in _DENIED:
        why = "the disk is mounted read-only" if err.errno == errno.EROFS else "permission denied"
        return TargetError(
            f"cannot write {shown!r}: {why}. Make {folder!r} writable, or name another place",
            path=shown,
            reason="denied",
        )
    if err.errno in _NO_FOLDER:
        file = next((each for each in path.parents if each.exists()), path.parent)
        return TargetError(
            f"cannot write {shown!r}: {str(file)!r} is a file, and a folder is expected. Name "
            "another place, or move the file away",
            path=shown,
            reason="no-folder",
        )
    if err.errno == errno.EISDIR:
        return TargetError(
            f"cannot write {shown!r}: it is a folder, and the name of a file is expected",
            path=shown,
            reason="is-a-folder",
        )
    return TargetError(
        f"cannot write {shown!r}: {err.strerror or err}. Name another place",
        path=shown,
        reason="refused",
    )
