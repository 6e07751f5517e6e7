"""``CachedExtractor``: an extractor with a cache of vectors, keyed by the picture's content."""

import contextlib
import hashlib
import logging
import os
import threading
import time
import zipfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from dino_assets.api.extractor import DINOv2Extractor
from dino_assets.api.given_pictures import to_picture
from dino_assets.embeddings.encoder.tokens import Vectors
from dino_assets.embeddings.run.embed_images import PictureResult
from dino_assets.embeddings.run.pictures import (
    RESIZE_VERSION,
    Prepared,
    prepare_picture,
    read_picture,
)
from dino_assets.errors import UnusableImageError
from dino_assets.settings.urls import expand_path
from dino_assets.store.commits.sealing import digest
from dino_assets.store.targets import explaining

log = logging.getLogger(__name__)
_ASIDE = "making"  # folder of files that are not whole yet
_LEFT_AFTER_S = 86_400


class CachedExtractor(DINOv2Extractor):
    """An extractor that computes each picture's vector only once, even if the picture is renamed or moved.

    A cached vector is found by the picture's bytes and the space. In a subclass that overrides
    ``extract_batch``, the name of that method counts too. If any of them changes, the vector is computed
    again. Several processes may share the cache folder; a killed process leaves no partial vector. The folder
    can be deleted at any time.

    >>> from dino_assets import CachedExtractor
    >>> extractor = CachedExtractor("out/cache", model_name="dinov2-small", progress=False)
    >>> embeddings, ids = extractor.extract_from_directory("path/to/photos")
    >>> ids
    ['DJI_0000.JPG', 'DJI_0001.JPG']
    """

    opens_first = False  # if all vectors are cached, no engine is needed

    def __init__(self, cache_dir: str | Path = "cache/", **kwargs: Any) -> None:
        """Open the cache folder, or make it; ``kwargs`` are arguments of ``DINOv2Extractor``.

        Raises:
            TargetError: the folder cannot be written.
        """
        super().__init__(**kwargs)
        self.cache_dir = expand_path(cache_dir)
        self.hits = 0  # pictures whose vectors were cached
        self._can_keep = True
        self._count = threading.Lock()
        with explaining(self.cache_dir):
            (self.cache_dir / _ASIDE).mkdir(parents=True, exist_ok=True)
        self._clear_leftovers()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_count"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._count = threading.Lock()

    def _prepare(self, image: Any) -> Prepared:
        try:
            picture = to_picture(image)
            if isinstance(picture, Path):
                picture = read_picture(picture)
        except UnusableImageError as err:
            return Prepared(refusal=err)
        if isinstance(picture, bytes):
            key = hashlib.sha256(picture).hexdigest()
        else:
            pixels = np.ascontiguousarray(picture)
            key = hashlib.sha256(f"pixels {pixels.shape} ".encode() + pixels.tobytes()).hexdigest()
        vector = self._find(self._path(key))
        if vector is not None:
            with self._count:
                self.hits += 1
            return Prepared(vector=vector, key=key)
        made = prepare_picture(picture, side_px=self.image_size)
        return Prepared(made.tile, refusal=made.refusal, key=key)

    def _keep(self, embedded: PictureResult) -> None:
        if not embedded.is_new or not self._can_keep or embedded.vector is None:
            return
        path = self._path(embedded.key)
        aside = self.cache_dir / _ASIDE / f"{uuid4().hex}.npz"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                np.savez(file, embedding=embedded.vector)
            aside.replace(path)
        except OSError as err:
            self._can_keep = False
            log.warning(
                "cannot write to the cache %s (%s); no more vectors are cached",
                self.cache_dir,
                err.strerror,
            )
            with contextlib.suppress(OSError):
                aside.unlink()

    def _path(self, key: str) -> Path:
        return self.cache_dir / self._name_space() / key[:2] / f"{key}.npz"

    def _name_space(self) -> str:
        """Hash everything that decides a vector, except the picture; return the hash."""
        function = getattr(self.extract_batch, "__func__", self.extract_batch)
        is_own = function is DINOv2Extractor.extract_batch
        by = "" if is_own else f"{function.__module__}.{function.__qualname__}"
        return digest([self.space, RESIZE_VERSION, by])[:16]

    def _find(self, path: Path) -> Vectors | None:
        """Read a cached vector; None if it is missing, or damaged according to the zip's checksum."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                vector = archive["embedding"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as err:
            log.warning("%s is damaged (%s); computing the vector again", path, type(err).__name__)
            return None
        is_vector = vector.dtype == np.float32 and vector.ndim == 1
        return vector if is_vector and np.isfinite(vector).all() else None

    def _clear_leftovers(self) -> None:
        """Remove the partial files that killed processes left more than a day ago."""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.cache_dir / _ASIDE):
                with contextlib.suppress(OSError):
                    if entry.stat().st_mtime < time.time() - _LEFT_AFTER_S:
                        Path(entry.path).unlink()
