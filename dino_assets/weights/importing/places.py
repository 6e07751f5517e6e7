"""Where an imported checkpoint goes: what may stand there, and what a killed import left there."""

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
    """Refuse folders that no checkpoint can be put in the place of.

    Raises:
        ConfigError: a link, the source's own, the project's or the current one, or one around these.
    """
    if folder.is_symlink() or not folder.name.strip("."):
        raise _refusal(
            folder,
            "link",
            "is a link or has no name of its own, and was left alone. Name a new folder.",
        )
    place = resolve_path(folder)
    if source.exists() and place in (resolved := resolve_path(source), *resolved.parents):
        raise ConfigError(
            f"{str(source)!r} is or lies in {str(folder)!r}. Import into another folder.",
            setting="folder",
            value=str(folder),
            reason="source",
        )
    for standing in (Path.cwd().resolve(), find_root().resolve()):
        if place in (standing, *standing.parents):
            raise _refusal(
                folder,
                "project",
                "holds the project, or the folder you stand in. Name a folder in it, such as "
                "models/NAME.",
            )


def check_old(folder: Path, old: Path, *, replaces: bool) -> None:
    """Refuse to put a checkpoint where ``old`` stands, if that may not go; ``folder`` is its name.

    Raises:
        ConfigError: it holds anything, and is not to be replaced; or more than a checkpoint.
    """
    if not old.exists() or (old.is_dir() and not any(old.iterdir())):
        return
    if not replaces:
        raise _refusal(
            folder,
            "exists",
            "is there already and was left alone. Name a new folder, or ask for it to be replaced "
            "(--replace).",
        )
    if not (old / CONFIG).is_file():
        raise _refusal(
            folder,
            "no-checkpoint",
            f"does not look like a checkpoint (no {CONFIG}), so it was not replaced. Name another "
            "folder.",
            value=CONFIG,
        )
    record = read_record(old / RECORD)
    for path in sorted(old.iterdir()):
        is_ours = (
            path.name in record.listing.names
            if record
            else _OF_A_CHECKPOINT.fullmatch(path.name) or is_paper(path.name)
        )
        if (path.is_dir() or not is_ours) and not is_litter(path):
            raise _refusal(
                folder,
                "loss",
                f"holds {path.name!r}, which belongs to no checkpoint and would be lost, so it was not "
                "replaced. Move that away, or name another folder.",
                value=path.name,
            )


def _refusal(folder: Path, reason: str, sentence: str, *, value: str = "") -> ConfigError:
    return ConfigError(
        f"{str(folder)!r} {sentence}", setting="folder", value=value or str(folder), reason=reason
    )


def clear_leftovers(folder: Path) -> None:
    """Remove what killed imports into this folder left behind."""
    for left in folder.parent.glob(f"{glob.escape(_prefix(folder))}*"):
        _remove_unless_locked(left, folder)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder near the final one, gone afterwards whatever happens.

    A lock beside it is held while its process lives, so that what a killed import left is known as
    such and cleared away by the next one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
    try:
        with (workplace / LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new = workplace / folder.name  # made plainly: mkdtemp's own is closed to everybody else
            new.mkdir()
            yield new
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _prefix(folder: Path) -> str:
    return f".{folder.name}.importing-"


def _remove_unless_locked(workplace: Path, folder: Path) -> None:
    try:
        # A file, opened to write: NFS locks nothing else.
        with (workplace / LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not folder.exists():  # killed between the two renames of a disk that cannot exchange
                for aside in workplace.glob("*.replaced"):
                    aside.rename(folder)
            shutil.rmtree(workplace, ignore_errors=True)
    except OSError:
        return  # another import is at work, or has just begun or finished
