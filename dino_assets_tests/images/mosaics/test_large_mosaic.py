"""A mosaic of 40,000 × 40,000 px goes through within 1 GB: checked, tiled, read.

The drawing fills x and y from 9,984 to 29,951 (whole cells of 32 px); around it is nothing. Tiles of
518 px every 259 px: ceil((40,000 - 518) / 259) + 1 = 154 across and down. Of the starts 259 k, those
with 259 k + 518 > 9,984 and 259 k < 29,952 touch the drawing: k = 37 … 115, which are 79.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.windows import Window

from dino_assets.drops.records import Drop
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.images.stage.drafting import draft_images
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import open_store
from dino_assets.tiles.grid import cut_tiles, make_grid
from dino_assets.tiles.rows import open_tiled, read_tile_rows
from dino_assets.tiles.stage import draft_tiles, judge_tiles
from dino_assets_tests.conftest import REPOSITORY

SIDE, LEFT, RIGHT = 40_000, 9_984, 29_952
TILE, BLOCK = 518, 512
ROW_STEP = 50


def draw(x: int, y: int, width: int, height: int) -> np.ndarray:
    """Draw a window (4, h, w): red, green, blue, alpha."""
    across = np.arange(x, x + width)[None]
    down = np.arange(y, y + height)[:, None]
    inside = (across >= LEFT) & (across < RIGHT) & (down >= LEFT) & (down < RIGHT)
    bands = np.empty((4, height, width), np.uint8)
    bands[0], bands[1], bands[2], bands[3] = across + down, across ^ down, across >> 7, 255
    bands[:, ~inside] = 0
    return bands


def write_large(path: Path) -> None:
    """Block by block; what is empty stays unwritten."""
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, count=4, dtype="uint8", tiled=True,
        blockxsize=BLOCK, blockysize=BLOCK, compress="zstd", zstd_level=1, photometric="RGB",
        alpha="yes", SPARSE_OK=True, BIGTIFF="IF_SAFER", crs="EPSG:32632",
        transform=Affine(0.02, 0, 500_000, 0, -0.02, 5_300_000),
    ) as file:  # fmt: skip
        assert file.colorinterp[3] == ColorInterp.alpha
        start = LEFT // BLOCK * BLOCK
        for y in range(start, RIGHT, BLOCK):
            for x in range(start, RIGHT, 8 * BLOCK):
                size = min(8 * BLOCK, SIDE - x), min(BLOCK, SIDE - y)
                file.write(draw(x, y, *size), window=Window(x, y, *size))


def walk(folder: Path) -> dict[str, object]:
    """Run the stages for a drop of one mosaic, in a process whose memory is measured."""
    start_s = time.perf_counter()
    seconds = {}

    def lap(name: str) -> None:
        seconds[name] = round(time.perf_counter() - start_s - sum(seconds.values()), 2)

    store = open_store(StorageSettings(url="store", root=folder))
    source = FolderSource(folder / "drop", shown="drop")
    commit(store, draft_images(Drop("d", "", "", "d"), source, threads=2))
    images = open_table(store, "images")
    lap("images")
    committed = commit(store, draft_tiles(images, "d", make_grid(TILE)))
    tiles = open_table(store, "tiles")
    lap("tiles")
    verdict = judge_tiles(images, tiles, "d")
    lap("check")
    rows = list(read_tile_rows(tiles.read("d")))
    wrong_tiles = tiles_read = 0
    with open_tiled(source, rows[0]) as pixels:
        lap("hash again")
        for row in rows[::ROW_STEP]:
            window = np.array([[row.x, row.y, row.w, row.h]])
            tile = cut_tiles(pixels, window, TILE, span_px=row.span_px)[0]
            wrong_tiles += not np.array_equal(
                tile, draw(*window[0].tolist())[:3].transpose(1, 2, 0)
            )
            tiles_read += 1
    lap("read")
    return {
        "facts": dict(committed.manifest.facts),
        "verdict": verdict.sentence,
        "tiles": len(rows),
        "read": tiles_read,
        "wrong": wrong_tiles,
        "gsd_m": float(np.mean([row.place.gsd_m for row in rows])),
        "places": len({row.place.geometry for row in rows}),
        "seconds": seconds,
        "peak_bytes": read_peak_bytes(),
    }


def read_peak_bytes() -> int:
    """Read this process's peak memory. Not ru_maxrss, which starts with the parent's memory."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024


@pytest.mark.slow
def test_large_mosaic__within_one_gigabyte(tmp_path):
    path = tmp_path / "drop" / "large.tif"
    path.parent.mkdir()
    write_large(path)
    assert path.stat().st_size < 2 * 10**9
    root = REPOSITORY
    process = subprocess.run(
        [sys.executable, "-W", "error", "-m", walk.__module__, tmp_path],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    print(f"{path.stat().st_size / 1e6:.0f} MB", report)
    assert report["tiles"] == report["places"] == 79**2 == 6_241
    assert report["facts"]["nodata_left_out"] == 154**2 - 79**2
    assert report["verdict"] == ("6,241 tiles cover 1 image; 17,475 tiles without data left out")
    assert report["read"] == 125
    assert report["wrong"] == 0
    assert report["gsd_m"] == pytest.approx(0.02, rel=1e-3)
    assert report["peak_bytes"] <= 2**30


if __name__ == "__main__":
    print(json.dumps(walk(Path(sys.argv[1]))))
