"""Atomic replacement of local folders and small files, and free disk space."""

import contextlib
import ctypes
import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from dino_assets.errors import DiskFullError

_HERE = -100  # AT_FDCWD: relative paths start at the working directory
_EXCHANGE = 2  # RENAME_EXCHANGE


def exchange_names(new: Path, folder: Path) -> bool:
    """Swap two paths in one step, by a system call of Linux. Return False where this is not possible."""
    rename: Callable[..., int] | None = getattr(
        ctypes.CDLL(None, use_errno=True), "renameat2", None
    )
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(new), _HERE, os.fsencode(folder), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # NFS, some FUSE
        return False
    raise OSError(number, os.strerror(number), str(folder))


def publish_folder(
    new: Path,
    folder: Path,
    *,
    check_old: Callable[[Path], object] = lambda old: None,
    exchange: Callable[[Path, Path], bool] = exchange_names,
) -> None:
    """Move a finished folder to its final path, replacing an older folder in one step.

    ``new`` must be on the disk of ``folder``. ``check_old`` gets the path of the older folder, and may raise
    an error to keep that folder. It is called before and after the exchange. If it raises after the
    exchange, the exchange is undone. Where the file system cannot exchange two names in one step, nothing
    is at the final path for a moment.
    """

    def swap() -> None:
        if not exchange(new, folder):
            _replace(new, folder)

    sync(new)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        new.rename(folder)  # works where nothing or an empty folder is at the path
    except OSError as err:
        if err.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        check_old(folder)
        swap()
        try:
            check_old(new)
        except BaseException:
            swap()
            raise
        sync(folder.parent)
        # The new folder is in place even if deleting the older one fails.
        shutil.rmtree(new, ignore_errors=True)
    sync(folder.parent)


def write_small(path: Path, data: bytes) -> None:
    """Write a small file in one step; an older file is replaced, and missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Random, because two processes in different containers may have the same process id.
    aside = path.with_name(f".{path.name}.{uuid4().hex[:12]}")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's names, to the disk, so that they survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_mounted(folder: Path) -> bool:
    """Check whether a disk or a folder is mounted at this path; ``exchange_names`` cannot swap it then."""
    if os.path.ismount(folder):
        return True
    try:  # `ismount` misses a folder of the same disk that is mounted here, as in containers
        table = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    places = {line.split(b" ")[4] for line in table if line.count(b" ") > 4}
    # The kernel writes a space as \040, and so on.
    escaped = re.sub(rb"[ \t\n\\]", lambda m: b"\\%03o" % m[0][0], os.fsencode(folder))
    return escaped in places


def check_room(
    folder: Path,
    needed_bytes: int,
    *,
    what: str,
    advice: str,
    measure: Callable[[Path], "shutil._ntuple_diskusage"] | None = None,
) -> None:
    """Check that the disk of ``folder`` has enough free space.

    ``what`` names what needs the space. It begins the error's message, and ``advice`` ends it.

    Raises:
        DiskFullError: fewer than ``needed_bytes`` bytes are free.
    """
    free = (measure or shutil.disk_usage)(folder).free
    if needed_bytes > free:
        raise DiskFullError(
            f"{what} needs {needed_bytes:,} more bytes, and only {free:,} are free. {advice}",
            needed_bytes=needed_bytes,
            free_bytes=free,
        )


def _replace(new: Path, folder: Path) -> None:
    """Swap two folders by three renames: afterwards the old folder has the path ``new``."""
    aside = new.with_name(f"{new.name}.replaced")
    folder.rename(aside)
    try:
        new.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    aside.rename(new)
