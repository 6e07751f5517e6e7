"""On-disk cache of converted networks: one folder per network, verified by digests before use."""

import contextlib
import errno
import hashlib
import json
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from dino_assets.embeddings.encoder.engine import EngineSpec, NetworkSource

log = logging.getLogger(__name__)

STAMP = "stamp.json"
LEFT_AFTER_S = 86_400
Opened = TypeVar("Opened")
# One thread converts at a time, because tracing and silencing warnings change state that all threads share. A
# thread that had to wait finds the cached network.
_ONE_AT_A_TIME = threading.Lock()


def label_network(source: NetworkSource, spec: EngineSpec, *, version: str) -> dict[str, object]:
    """Collect everything that decides the result of a conversion, as the label of the converted network."""
    return {
        "weights": source.checkpoint.weights_sha256,
        "network": source.checkpoint.network,
        "side": source.side_px,
        "outputs": list(source.outputs),
        "batch": spec.batch,
        "engine": spec.engine,
        "version": version,
    }


def open_converted(
    folder: Path | None,
    label: dict[str, object],
    *,
    write: Callable[[Path], None],
    read: Callable[[Path], Opened],
) -> Opened:
    """Open the converted network in ``folder``; make it first if it is absent, damaged or has another label.

    ``write`` converts the network into a folder, and ``read`` opens it from there. A flipped bit in a weight
    would make every later embedding wrong. So every file is verified before use, which takes 0.1 s for a
    ViT-S. If ``folder`` is None or cannot be written, nothing is cached.
    """
    with _ONE_AT_A_TIME:
        if folder is None:
            with tempfile.TemporaryDirectory() as nowhere:
                write(Path(nowhere))
                return read(Path(nowhere))
        if _is_whole(folder, label):
            return read(folder)
        if folder.exists():
            log.warning(
                "the converted network in %s is damaged or belongs to another model; converting it again",
                folder.name,
            )
        try:
            return _make(folder, label, write=write, read=read)
        except OSError as err:
            if err.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            log.warning(
                "cannot cache the converted network, so every start converts it again: %s", err
            )
    return open_converted(None, label, write=write, read=read)


def _make(
    folder: Path,
    label: dict[str, object],
    *,
    write: Callable[[Path], None],
    read: Callable[[Path], Opened],
) -> Opened:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(folder)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as made:
        new = Path(made) / "new"
        new.mkdir()
        write(new)
        names = sorted(path.name for path in new.iterdir())
        stamp = {"of": label, "files": _digest(new, names)}
        (new / STAMP).write_text(json.dumps(stamp))
        # Opened before it is renamed: an open file stays readable when another process replaces the folder.
        network = read(new)
        _put(new, folder, label, aside=Path(made) / "old")
    return network


def _clear_leftovers(folder: Path) -> None:
    """Remove temporary folders of killed conversions: those older than a day; no conversion takes so long."""
    for left in folder.parent.glob(f"{folder.name}-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_AFTER_S:
                shutil.rmtree(left)


def _put(new: Path, folder: Path, label: dict[str, object], *, aside: Path) -> None:
    # Several processes may convert the same network; the first rename wins. A folder is complete or absent.
    with contextlib.suppress(OSError):
        if folder.exists() and not _is_whole(folder, label):
            folder.rename(aside)
        new.rename(folder)


def _is_whole(folder: Path, label: dict[str, object]) -> bool:
    try:
        stamp = json.loads((folder / STAMP).read_text())
        return bool(stamp["of"] == label and stamp["files"] == _digest(folder, stamp["files"]))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _digest(folder: Path, names: Iterable[str]) -> dict[str, str]:
    digests = {}
    for name in names:
        with (folder / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
