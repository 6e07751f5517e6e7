"""Pictures of tiles and of the photographs around them, cut from the source, with a cache on the disk."""

import contextlib
import io
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np
from PIL import Image

from dino_assets.drops.sources.source import Source
from dino_assets.errors import DinoAssetsError
from dino_assets.images.records import Pixels
from dino_assets.labels.records import Window
from dino_assets.serving.studio.tile_lookup import ShownTile
from dino_assets.tiles.rows import open_tiled

Kind = Literal["tile", "around"]
SIDES_PX: dict[Kind, int] = {"tile": 640, "around": 1400}
_QUALITY = 88
_END_OF_JPEG = b"\xff\xd9"
_CACHE_BYTES = 2 * 2**30
_PHOTOGRAPHS = 2  # decoded ones in memory: 60 MB each
_AHEAD = 300  # tiles of a queue that are cut in advance

log = logging.getLogger(__name__)


class TilePictures:
    """Cuts JPEGs from photographs; ``open_source`` opens the source of a drop.

    A photograph is decoded once for all tiles that are asked for at about the same time. ``warm`` cuts the tiles
    of a queue in the background, in their order, so that the next picture is there before it is wanted.
    """

    def __init__(self, open_source: Callable[[str], Source], folder: Path) -> None:
        self._open_source = open_source
        self._folder = folder
        self._decoded: OrderedDict[str, Pixels] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="studio-pictures")
        self._queue_number = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _shrink(folder, _CACHE_BYTES)
        except OSError as err:  # a read-only project can be looked at all the same
            log.warning("pictures are not cached in %s: %s", folder, err)

    def read(self, tile: ShownTile, kind: Kind) -> bytes:
        """Return the JPEG of a tile, or of what is around it.

        Raises:
            SourceError: the photograph cannot be read, or has other bytes now.
            UnusableImageError: it cannot be decoded.
        """
        path = self._find_path(tile, kind)
        if data := _read(path):
            return data
        with self._lock_of(tile.row.image_id):
            if data := _read(path):  # another request has cut it meanwhile
                return data
            window = tile.window if kind == "tile" else tile.around
            data = self._cut(tile, window, SIDES_PX[kind])
        _write(path, data)
        return data

    def warm(self, tiles: Sequence[ShownTile]) -> None:
        """Cut the pictures of tiles in the background; a later call replaces the rest of an earlier one."""
        self._queue_number += 1
        self._worker.submit(self._cut_ahead, list(tiles[:_AHEAD]), self._queue_number)

    def close(self) -> None:
        """End the work in the background."""
        self._queue_number += 1
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _cut_ahead(self, tiles: Sequence[ShownTile], number: int) -> None:
        kinds: tuple[Kind, ...] = ("tile", "around")
        for tile in tiles:
            for kind in kinds:
                if number != self._queue_number:
                    return
                try:
                    self.read(tile, kind)
                except DinoAssetsError as err:
                    log.info("%s of %s is not cut in advance: %s", tile.row.path, tile.drop, err)

    def _cut(self, tile: ShownTile, window: Window, side_px: int) -> bytes:
        if tile.row.is_mosaic:
            with open_tiled(self._open_source(tile.drop), tile.row) as pixels:
                return _encode(pixels, window, side_px)
        return _encode(self._decode(tile), window, side_px)

    def _decode(self, tile: ShownTile) -> Pixels:
        image_id = tile.row.image_id
        with self._lock:
            if image_id in self._decoded:
                self._decoded.move_to_end(image_id)
                return self._decoded[image_id]
        with open_tiled(self._open_source(tile.drop), tile.row) as pixels:
            pass  # a photograph is in memory as a whole
        with self._lock:
            self._decoded[image_id] = pixels
            while len(self._decoded) > _PHOTOGRAPHS:
                self._decoded.popitem(last=False)
        return pixels

    def _lock_of(self, image_id: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(image_id, threading.Lock())

    def _find_path(self, tile: ShownTile, kind: Kind) -> Path:
        row = tile.row
        is_shared = kind == "around" and not row.is_mosaic
        return self._folder / f"{row.image_id if is_shared else row.tile_id}-{kind}.jpg"


def _encode(pixels: Pixels, window: Window, side_px: int) -> bytes:
    x, y, w, h = window.x, window.y, window.w, window.h
    step = max(1, max(w, h) // (2 * side_px))  # a large photograph is thinned before it is resized
    cut = np.ascontiguousarray(pixels[y : y + h, x : x + w][::step, ::step])
    picture = Image.fromarray(cut)
    scale = side_px / max(w, h)
    if scale < 1:
        size = (max(1, round(w * scale)), max(1, round(h * scale)))
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=_QUALITY)
    return sink.getvalue()


def _read(path: Path) -> bytes | None:
    """Read a picture if it is there and whole: after a loss of power a file may be empty, or end too early."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if data.endswith(_END_OF_JPEG) else None


def _write(path: Path, data: bytes) -> None:
    """Write a picture whole or not at all; a full disk only costs the cache."""
    aside = path.with_name(f".{uuid4().hex}")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as err:
        log.warning("the picture %s was not cached: %s", path.name, err)
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _shrink(folder: Path, most_bytes: int) -> None:
    """Delete the oldest pictures until the folder has at most ``most_bytes``."""
    files = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            status = entry.stat()
            files.append((status.st_mtime, status.st_size, entry.path))
    spare = sum(size for _, size, _ in files) - most_bytes
    for _, size, path in sorted(files):
        if spare <= 0:
            break
        with contextlib.suppress(OSError):
            Path(path).unlink()
        spare -= size
