"""A committed checkpoint as a directory that transformers can load."""

import hashlib
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from dino_assets.errors import CorruptObjectError
from dino_assets.records import Manifest, Part
from dino_assets.store.manifests import content_hash
from dino_assets.store.objects import ObjectStore

_RANGE_BYTES = 32 * 2**20


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
            _fetch(store, part, made / str(part.name))
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _fetch(store: ObjectStore, part: Part, path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, part.bytes, _RANGE_BYTES):
            data = store.get_range(part.key, start=start, length=_RANGE_BYTES)
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != part.sha256:
        raise CorruptObjectError(
            f"checkpoint file {part.name!r} in store {store.url!r} is not the one committed. Run "
            "`dino-assets verify --repair`, then materialise weights again.",
            store=store.url,
            key=part.key,
        )
