"""Converted networks on the disk, a folder each: whole and of this very network, or made anew."""

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
# Tracing and silencing warnings change what all threads share; and who waits finds it done.
_ONE_AT_A_TIME = threading.Lock()


def label_network(source: NetworkSource, spec: EngineSpec, *, version: str) -> dict[str, object]:
    """All that decides what a conversion gives."""
    return {
        "weights": source.checkpoint.weights_sha256,
        "network": source.checkpoint.network,
        "side": source.side_px,
        "outputs": list(source.outputs),
        "batch": spec.batch,
        "engine": spec.engine,
        "version": version,
    }


def open_kept(
    folder: Path | None,
    label: dict[str, object],
    *,
    write: Callable[[Path], None],
    read: Callable[[Path], Opened],
) -> Opened:
    """Read a folder's network; where it is absent, damaged or another one, write it first.

    A flipped bit of a weight is an embedding that is wrong for ever, so a hit reads every byte once:
    0.1 s for a ViT-S. Without a folder nothing is kept.
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
                "the converted network in %s is damaged or another one: made anew", folder.name
            )
        try:
            return _make(folder, label, write=write, read=read)
        except OSError as err:
            if err.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            log.warning("converted networks cannot be kept: %s", err)
    return open_kept(None, label, write=write, read=read)


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
        # Before the others see it: what is open stays readable, whatever they put in its place.
        network = read(new)
        _put(new, folder, label, aside=Path(made) / "old")
    return network


def _clear_leftovers(folder: Path) -> None:
    """Remove what killed conversions left: none works for a day."""
    for left in folder.parent.glob(f"{folder.name}-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_AFTER_S:
                shutil.rmtree(left)


def _put(new: Path, folder: Path, label: dict[str, object], *, aside: Path) -> None:
    # Whoever is first, all have converted the same network; a folder is there whole or not at all.
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
