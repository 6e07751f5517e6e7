"""Target folder of an export: replaced as a whole, or left unchanged."""

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
    """Fill a temporary folder, then rename it to ``folder``; an older export there is replaced.

    ``fill`` gets the temporary folder; what it returns is returned.

    Raises:
        TargetError: the folder has files that do not belong to an export, or cannot be written.
        DiskFullError: the disk is full.
    """
    with explaining(folder):
        check_place(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as aside:
            new = Path(aside) / "new"
            new.mkdir()
            result = fill(new)
            publish_folder(new, folder, check_old=lambda old: check_place(old, name=folder))
    return result


def check_place(folder: Path, *, name: Path | None = None) -> None:
    """Refuse a target folder with files that do not belong to an earlier export.

    If ``name`` is given, the error names this path instead of ``folder``.

    Raises:
        TargetError: the target is not a folder, or one of its files would be lost.
    """
    shown = name or folder
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise TargetError(
            f"cannot write {str(shown)!r}: it is a file or a link, but a folder is expected. Choose "
            "another folder",
            path=str(shown),
            reason="no-folder",
        )
    exported = _list_export(folder)
    others = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and path.relative_to(folder).as_posix() not in exported
    )
    if others:
        raise TargetError(
            f"cannot write {str(shown)!r}: it contains {others[0]!r}, which is not part of an earlier export "
            "and would be lost. Choose a new folder",
            path=str(shown),
            reason="occupied",
        )


def _list_export(folder: Path) -> set[str]:
    """List the files that belong to the export in a folder: an empty set if there is no export."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        is_ours = manifest["format"] == FORMAT
        return {MANIFEST, *manifest["files"]} if is_ours else set()
    except (OSError, ValueError, LookupError, TypeError):
        return set()
