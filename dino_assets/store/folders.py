"""Folders on this machine that are whole or absent, whoever kills us when."""

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

_HERE = -100  # AT_FDCWD: a relative path is meant from the working directory
_EXCHANGE = 2  # RENAME_EXCHANGE


def exchange_names(new: Path, folder: Path) -> bool:
    """Swap two names in one step (Linux); tells whether that was possible."""
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
    """Put a finished folder into its place; what stood there goes, and nobody sees a half.

    ``new`` lies on the same disk. ``check_old`` may raise at the sight of what stands there, and is
    asked before and after the exchange: what somebody put there meanwhile is not lost either. Where
    the file system cannot exchange two names in one step, the place is empty for a moment.
    """

    def swap() -> None:
        if not exchange(new, folder):
            _replace(new, folder)

    sync(new)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        new.rename(folder)  # nothing or an empty folder stands there
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
        # The new one is in place, whatever becomes of the old.
        shutil.rmtree(new, ignore_errors=True)
    sync(folder.parent)


def write_small(path: Path, data: bytes) -> None:
    """Replace a small file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process's number: two containers may have the same one.
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
    """Have a file's bytes, or a folder's names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_mounted(folder: Path) -> bool:
    """Tell whether a disk, or another folder, is mounted right here; such a name cannot be exchanged."""
    if os.path.ismount(folder):
        return True
    try:  # a folder of the same disk, as containers have them, is known to the kernel only
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
    """Refuse early what would fill the disk.

    Raises:
        DiskFullError: less is free than needed.
    """
    free = (measure or shutil.disk_usage)(folder).free
    if needed_bytes > free:
        raise DiskFullError(
            f"{what} needs {needed_bytes:,} more bytes, and only {free:,} are free. {advice}",
            needed_bytes=needed_bytes,
            free_bytes=free,
        )


def _replace(new: Path, folder: Path) -> None:
    """Two renames; ends with the old folder under the new one's name."""
    aside = new.with_name(f"{new.name}.replaced")
    folder.rename(aside)
    try:
        new.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    aside.rename(new)
