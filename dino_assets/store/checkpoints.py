"""A committed checkpoint as a directory that transformers can load."""

import shutil
from pathlib import Path
from tempfile import mkdtemp

from dino_assets.records import Manifest
from dino_assets.store.manifests import content_hash
from dino_assets.store.objects import ObjectStore
from dino_assets.store.parts import fetch_part


def checkpoint_folder(store: ObjectStore, manifest: Manifest, *, cache: Path) -> Path:
    """The files of a ``weights`` manifest under their own names, fetched once and verified.

    Raises:
        CorruptObjectError: a file in the store is not the one committed.
    """
    folder = cache / content_hash(manifest)[:32]
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Complete or absent: made aside and renamed; a killed one is left for `make clean`.
    made = Path(mkdtemp(prefix=".making-", dir=cache))
    try:
        for part in manifest.parts:
            fetch_part(store, part, made / str(part.name))
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder
