"""Inboxes for the tests of the stages: real pictures, real listings, counted reads."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from dino_assets.demo.flights.camera import Camera
from dino_assets.demo.flights.tags import Exposure, write_exif, write_xmp
from dino_assets.drops.records import Drop, SourceEntry
from dino_assets.drops.registering import register_drop
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import Source
from dino_assets.images.stage.drafting import draft_images
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.conftest import photo_bytes


class CountingSource:
    """A real folder that remembers what was read, and may change under the reader's hands."""

    is_list = False

    def __init__(self, folder: Path, *, on_read: Callable[[str], None] = lambda path: None) -> None:
        self.folder = FolderSource(folder, shown=folder.name)
        self.on_read = on_read
        self.was_read: list[str] = []

    def entries(self) -> list[SourceEntry]:
        return self.folder.entries()

    def open_file(self, path: str) -> AbstractContextManager[Path]:
        self.was_read.append(path)
        return self.folder.open_file(path)

    def read(self, path: str) -> bytes:
        self.was_read.append(path)
        data = self.folder.read(path)
        self.on_read(path)
        return data


def fill(folder: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    """Photographs by path; each has other pixels."""
    for seed, (path, (width, height)) in enumerate(sizes.items()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(photo_bytes(width, height, seed=seed))
    return folder


def drone_photo(
    *,
    seed: int = 0,
    size: tuple[int, int] = (400, 300),
    altitude_m: float = 50.0,
    at: tuple[float, float] = (47.0, 11.0),
    taken: datetime = datetime(2024, 6, 14, 10, 5, 12),  # noqa: DTZ001 - EXIF has no zone
    xmp: tuple[str, str] = ("", ""),
    blur: float = 0.0,
    orientation: int = 1,
) -> bytes:
    """A textured picture with a DJI camera's EXIF and XMP; ``xmp`` replaces a piece of the packet."""
    camera = Camera(*size)
    capture = Exposure("DJI_0001.JPG", taken, *at, 600.0, altitude_m, 30.0, 0.0, 0.0)
    coarse = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).filter(ImageFilter.GaussianBlur(1.5 + blur))
    sink = io.BytesIO()
    exif, packet = write_exif(camera, capture), write_xmp(capture)
    exif[0x0112] = orientation
    assert xmp[0].encode() in packet
    packet = packet.replace(*(text.encode() for text in xmp))
    picture.save(sink, "JPEG", quality=95, exif=exif, xmp=packet)
    return sink.getvalue()


def fill_bytes(folder: Path, files: dict[str, bytes]) -> Path:
    """Files by path."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def write_mosaic(path: Path, *, side_px: int = 1280, nodata_from: int = 640) -> Path:
    """A georeferenced orthophoto of 5 cm pixels; from column ``nodata_from`` on there is nothing."""
    import rasterio
    from rasterio.transform import Affine

    pixels = np.random.default_rng(0).integers(1, 256, (3, side_px, side_px), dtype=np.uint8)
    pixels[:, :, nodata_from:] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=side_px, height=side_px, count=3, dtype="uint8", nodata=0,
        tiled=True, compress="deflate", crs="EPSG:32633", transform=Affine(0.05, 0, 5e5, 0, -0.05, 52e5),
    ) as file:  # fmt: skip
        file.write(pixels)
    return path


def make_drop(name: str, folder: Path) -> Drop:
    """A drop as registering would write it."""
    drop, _ = register_drop(ObjectStore.in_memory(), name, source=str(folder), root=folder)
    return drop


def commit_images(
    store: ObjectStore, name: str, folder: Path, *, source: Source | None = None
) -> CommittedTable:
    """List, read and commit a folder; gives the table back."""
    drop = make_drop(name, folder)
    inbox = source or open_source(drop.source, root=folder)
    commit(store, draft_images(drop, inbox, threads=2))
    return open_table(store, "images")
