"""Filling of a folder with a checkpoint's files, by one process at a time.

The folder appears at its final path only when all files are there and verified.
"""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dino_assets.store.folders import check_room, exchange_names, publish_folder, sync
from dino_assets.weights.hub.listings import HubFile, Listing

log = logging.getLogger(__name__)
LOCK = "lock"
ASIDES = "making/*.replaced"
Progress = Callable[[int, int], None]
FetchFile = Callable[[HubFile, Path, Callable[[int], None]], None]
Exchange = Callable[[Path, Path], bool]


@dataclass(frozen=True)
class Watch:
    """Functions to call while a folder is filled.

    ``progress`` gets the bytes so far and the total; the bytes so far decrease if a file is fetched again.
    ``check_early`` gets the new folder when the small files are there, before the weights are fetched.
    ``check`` gets the new folder when it is whole. If one of the checks raises, the old folder stays.
    """

    progress: Progress = lambda done, total: None
    check_early: Callable[[Path], object] = lambda folder: None
    check: Callable[[Path], object] = lambda folder: None


@dataclass(frozen=True)
class Filling:
    """One folder to be filled.

    ``workplace`` is a folder on the same disk. It holds the lock, the ``.part`` files for the next process
    to resume, and the incomplete new folder. Before a file is fetched, the ``linkable`` and ``copyable``
    folders are searched for it by name and hash. Files in ``linkable`` folders will not change, so they are
    hard-linked. Files in ``copyable`` folders are copied.
    """

    folder: Path
    workplace: Path
    linkable: Sequence[Path]
    copyable: Sequence[Path]
    room_advice: str
    extra: Mapping[str, bytes] = field(default_factory=dict)  # further small files
    check_old: Callable[[Path], object] = lambda old: None  # raises if the old folder must stay
    exchange: Exchange = exchange_names

    def run(self, listing: Listing, fetch: FetchFile, watch: Watch) -> Path:
        """Fetch and verify missing files, publish the folder in one step, and return its path.

        Raises:
            DiskFullError: the disk has too little space; checked before the first request.
        """
        restore_aside(self.folder, self.workplace)
        making = self.workplace / "making" / listing.commit
        parts = self.workplace / "parts"
        for needed in (making, parts):
            needed.mkdir(parents=True, exist_ok=True)
        for stray in [path for path in making.iterdir() if path.name not in listing.names]:
            _remove(stray)  # a killed exchange leaves an older checkpoint here
        missing = [
            file
            for file in listing.files
            if not file.is_at(making / file.name)
            and not _take(file, making, self.linkable, os.link)
        ]
        here = {path.stem: path.stat().st_size for path in parts.iterdir()}
        needed_bytes = sum(max(0, file.bytes - here.get(file.digest, 0)) for file in missing)
        check_room(parts, needed_bytes, what=repr(listing.repo), advice=self.room_advice)
        done = listing.bytes - sum(file.bytes for file in missing)
        weights = [file for file in missing if file.name.endswith(".safetensors")]
        papers = [file for file in missing if file not in weights]
        # The weights come last: the small files show whether the model is supported.
        for files, look in ((papers, watch.check_early), (weights, watch.check)):
            for file in files:
                if not _take(file, making, (*self.linkable, *self.copyable), _copy):
                    part = parts / f"{file.digest}.part"

                    def report(got: int, before: int = done) -> None:
                        watch.progress(before + got, listing.bytes)

                    fetch(file, part, report)
                    part.replace(making / file.name)
                done += file.bytes
            try:
                look(making)
            except Exception:
                shutil.rmtree(making)
                raise
        for name, data in self.extra.items():
            (making / name).write_bytes(data)
            sync(making / name)
        publish_folder(making, self.folder, check_old=self.check_old, exchange=self.exchange)
        # This also removes partial files of older commits.
        for finished in (parts, making.parent):
            shutil.rmtree(finished, ignore_errors=True)
        return self.folder


def _take(
    file: HubFile, making: Path, folders: Sequence[Path], put: Callable[[Path, Path], object]
) -> bool:
    """Link or copy a file from local folders, and verify every byte; return whether this succeeded."""
    target = making / file.name
    for source in [folder / name for folder in folders for name in (file.name, file.digest)]:
        target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # missing, or cannot be linked
            if source.stat().st_size == file.bytes:
                put(source, target)
        if file.is_at(target):
            return True
    return False


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    sync(target)


def restore_aside(folder: Path, workplace: Path) -> None:
    """Put the old folder back if a process was killed between the two renames that replace the folder.

    Two renames are used only on a disk that cannot exchange two folders in one step.
    """
    for aside in workplace.glob(ASIDES):
        if not folder.exists():
            aside.rename(folder)


@contextlib.contextmanager
def hold_workplace(workplace: Path) -> Iterator[None]:
    """Hold the lock of a workplace; wait for another process that holds it."""
    while True:
        try:
            workplace.mkdir(parents=True, exist_ok=True)
            opened = (workplace / LOCK).open("ab")
        except (FileNotFoundError, FileExistsError):
            if workplace.parent.is_dir() and not workplace.is_file():
                continue  # the last holder of the lock is just removing the workplace
            raise
        with opened as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning("another process is fetching the same checkpoint; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_same(
                lock.fileno(), workplace / LOCK
            ):  # otherwise the last holder removed the file: try again
                yield
                return


def clear_away(workplace: Path, *, is_done: bool = False) -> None:
    """Remove a workplace; unless ``is_done``, keep it if it holds partial files for the next run.

    The caller must hold the lock of the workplace.
    """
    for path in (*workplace.glob("making/*"), workplace / "making", workplace / "parts"):
        with contextlib.suppress(OSError):  # not empty, or missing
            path.rmdir()
    remaining = [path for path in workplace.iterdir() if path.name != LOCK]
    if remaining and not is_done:
        return
    for path in remaining:
        _remove(path)
    (workplace / LOCK).unlink()  # last: from now on another process may use the workplace
    with contextlib.suppress(OSError):  # another process may already use it
        workplace.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
