"""Target folders of imports: checks before writing, temporary folders, cleaning after a kill."""

import fcntl
import glob
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dino_assets.errors import ConfigError
from dino_assets.settings.environment import find_root
from dino_assets.settings.urls import resolve_path
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import is_paper
from dino_assets.weights.hub.listings import RECORD, is_litter, read_record

LOCK = "lock"
_OF_A_CHECKPOINT = re.compile(
    r"(?:(?:pre|image_|video_pre)?processor_|generation_)?config\.json"
    r"|[^.].*\.safetensors(?:\.index\.json)?",
    re.IGNORECASE,
)


def check_folder(source: Path, folder: Path) -> None:
    """Check that an import may write to a folder.

    Raises:
        ConfigError: the folder is a link, or is or contains the source, the project or the current folder.
    """
    if folder.is_symlink() or not folder.name.strip("."):
        raise _refusal(
            folder,
            "link",
            "is a link or has no name of its own. Nothing was changed. Give a new folder.",
        )
    place = resolve_path(folder)
    if source.exists() and place in (resolved := resolve_path(source), *resolved.parents):
        raise ConfigError(
            f"{str(source)!r} is the folder {str(folder)!r} or lies in it. Import into another folder.",
            setting="folder",
            value=str(folder),
            reason="source",
        )
    for standing in (Path.cwd().resolve(), find_root().resolve()):
        if place in (standing, *standing.parents):
            raise _refusal(
                folder,
                "project",
                "holds the project or the current folder. Give a folder inside it, for example "
                "models/NAME.",
            )


def check_old(folder: Path, old: Path, *, replaces: bool) -> None:
    """Check that the folder ``old`` may be replaced; messages call it ``folder``.

    Raises:
        ConfigError: ``old`` is not empty and ``replaces`` is False, or it holds more than a checkpoint.
    """
    if not old.exists() or (old.is_dir() and not any(old.iterdir())):
        return
    if not replaces:
        raise _refusal(
            folder,
            "exists",
            "exists already. Nothing was changed. Give a new folder, or replace this one with --replace.",
        )
    if not (old / CONFIG).is_file():
        raise _refusal(
            folder,
            "no-checkpoint",
            f"is not a checkpoint (no {CONFIG}), so it was not replaced. Give another folder.",
            value=CONFIG,
        )
    record = read_record(old / RECORD)
    for path in sorted(old.iterdir()):
        is_replaceable = (
            path.name in record.listing.names
            if record
            else _OF_A_CHECKPOINT.fullmatch(path.name) or is_paper(path.name)
        )
        if (path.is_dir() or not is_replaceable) and not is_litter(path):
            raise _refusal(
                folder,
                "loss",
                f"holds {path.name!r}, which does not belong to a checkpoint and would be lost. Nothing was "
                "changed. Move that file, or give another folder.",
                value=path.name,
            )


def _refusal(folder: Path, reason: str, sentence: str, *, value: str = "") -> ConfigError:
    return ConfigError(
        f"{str(folder)!r} {sentence}", setting="folder", value=value or str(folder), reason=reason
    )


def clear_leftovers(folder: Path) -> None:
    """Remove what killed imports into this folder left behind."""
    for workplace in folder.parent.glob(f"{glob.escape(_prefix(folder))}*"):
        _remove_unless_locked(workplace, folder)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make an empty folder beside the final one; remove what is left of the new folder when the block ends.

    During the block, the process holds the lock of a file beside the new folder. If the next import finds
    that file unlocked, the folder was left by a killed import and can be removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
    try:
        with (workplace / LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new = workplace / folder.name  # with usual permissions; mkdtemp's folder is private
            new.mkdir()
            yield new
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _prefix(folder: Path) -> str:
    return f".{folder.name}.importing-"


def _remove_unless_locked(workplace: Path, folder: Path) -> None:
    try:
        # NFS locks only files that are open for writing.
        with (workplace / LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not folder.exists():  # killed between two renames, on a disk without atomic exchange
                for aside in workplace.glob("*.replaced"):
                    aside.rename(folder)
            shutil.rmtree(workplace, ignore_errors=True)
    except OSError:
        return  # another import is running, or has just begun or ended
