"""Filling a folder with a checkpoint's files: one process at a time, in view only when whole."""

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
    """Who looks on while a folder is filled.

    ``progress`` hears of bytes so far and in all; they go back where a file has to be fetched again.
    ``check_early`` may raise at the sight of the small files, before the weights are fetched; ``check`` at
    the sight of the whole new folder. What was there before then stays.
    """

    progress: Progress = lambda done, total: None
    check_early: Callable[[Path], object] = lambda folder: None
    check: Callable[[Path], object] = lambda folder: None


@dataclass(frozen=True)
class Filling:
    """One folder to be filled.

    ``workplace`` is on its disk and holds the lock, the ``.part`` files, which whoever comes next
    resumes, and the new folder until it is whole. Files are looked for in ``copyable`` before they are
    fetched, by name or hash; those of ``linkable`` are shared as they are, since nobody writes there.
    """

    folder: Path
    workplace: Path
    linkable: Sequence[Path]
    copyable: Sequence[Path]
    room_advice: str
    extra: Mapping[str, bytes] = field(default_factory=dict)  # small files that belong in it too
    check_old: Callable[[Path], object] = lambda old: None  # may refuse to have this taken away
    exchange: Exchange = exchange_names

    def run(self, listing: Listing, fetch: FetchFile, watch: Watch) -> Path:
        """Bring what is missing, verified, and put the folder in its place in one step.

        Raises:
            DiskFullError: there is no room, said before the first byte is asked for.
        """
        restore_aside(self.folder, self.workplace)
        making = self.workplace / "making" / listing.commit
        parts = self.workplace / "parts"
        for needed in (making, parts):
            needed.mkdir(parents=True, exist_ok=True)
        for stray in [path for path in making.iterdir() if path.name not in listing.names]:
            _remove(stray)  # an exchange that was killed leaves an older checkpoint here
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
        # The weights last: what is no model of ours is known by its small files.
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
        # With what was begun of commits that a branch has left behind.
        for done_with in (parts, making.parent):
            shutil.rmtree(done_with, ignore_errors=True)
        return self.folder


def _take(
    file: HubFile, making: Path, folders: Sequence[Path], put: Callable[[Path, Path], object]
) -> bool:
    """Link or copy a file that is on this machine; every byte of what comes of it is read."""
    target = making / file.name
    for source in [folder / name for folder in folders for name in (file.name, file.digest)]:
        target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or nothing to be linked to
            if source.stat().st_size == file.bytes:
                put(source, target)
        if file.is_at(target):
            return True
    return False


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    sync(target)


def restore_aside(folder: Path, workplace: Path) -> None:
    """Put a folder back that a kill between two renames, where names cannot be exchanged, left."""
    for aside in workplace.glob(ASIDES):
        if not folder.exists():
            aside.rename(folder)


@contextlib.contextmanager
def hold_workplace(workplace: Path) -> Iterator[None]:
    """Hold a workplace alone; waits for another process, however that one ends."""
    while True:
        try:
            workplace.mkdir(parents=True, exist_ok=True)
            opened = (workplace / LOCK).open("ab")
        except (FileNotFoundError, FileExistsError):
            if workplace.parent.is_dir() and not workplace.is_file():
                continue  # its holder clears it away at this moment
            raise
        with opened as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning("another process fetches the same; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_same(lock.fileno(), workplace / LOCK):  # else its holder took it all away
                yield
                return


def clear_away(workplace: Path, *, is_done: bool = False) -> None:
    """Remove a workplace that we hold; unless it ``is_done``, not what another can go on with."""
    for path in (*workplace.glob("making/*"), workplace / "making", workplace / "parts"):
        with contextlib.suppress(OSError):  # something is in it, or it is not there
            path.rmdir()
    left = [path for path in workplace.iterdir() if path.name != LOCK]
    if left and not is_done:
        return
    for path in left:
        _remove(path)
    (workplace / LOCK).unlink()  # last: from now on the workplace is anybody's
    with contextlib.suppress(OSError):  # somebody has come already
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
