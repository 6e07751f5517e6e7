"""Where an export goes: a folder that is whole under its name, or as it was."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dino_assets.errors import TargetError
from dino_assets.exports.papers import FORMAT, MANIFEST
from dino_assets.store.folders import publish_folder
from dino_assets.store.targets import explaining

Made = TypeVar("Made")


def fill_folder(folder: Path, fill: Callable[[Path], Made]) -> Made:
    """Fill a folder aside, and put it in its place when ``fill`` is through; an older export goes.

    Raises:
        TargetError: something that is no export stands there, or nothing can be written there.
        DiskFullError: there is no room.
    """
    with explaining(folder):
        check_place(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as aside:
            new = Path(aside) / "new"
            new.mkdir()
            made = fill(new)
            publish_folder(new, folder, check_old=lambda old: check_place(old, name=folder))
    return made


def check_place(folder: Path, *, name: Path | None = None) -> None:
    """Refuse a place that holds anything but an older export.

    Raises:
        TargetError: says what would be lost.
    """
    shown = name or folder
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise TargetError(
            f"cannot write {str(shown)!r}: it is a file or a link, and a folder is expected. Name "
            "another place",
            path=str(shown),
            reason="no-folder",
        )
    ours = _list_export(folder)
    others = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and path.relative_to(folder).as_posix() not in ours
    )
    if others:
        raise TargetError(
            f"cannot write {str(shown)!r}: it holds {others[0]!r}, which is no part of an earlier export "
            "and would be lost. Name a new folder",
            path=str(shown),
            reason="occupied",
        )


def _list_export(folder: Path) -> set[str]:
    """The files of an export that stands in a folder; none where there is no export."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        is_ours = manifest["format"] == FORMAT
        return {MANIFEST, *manifest["files"]} if is_ours else set()
    except (OSError, ValueError, LookupError, TypeError):
        return set()
