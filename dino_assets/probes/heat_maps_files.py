"""Files of a heat map: a cloud-optimised GeoTIFF, outlines of hot ground, and a style for QGIS."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.images.mosaics.opening import enter_gdal
from dino_assets.probes.heat_maps import HeatGrid

_POLYGON = 3
BANDS = ("score", "photographs")
RULE = "mean of the tiles, weighted by nearness to the nadir and to the tile's middle"
_BLOCK_PX = 256
_CLASSES = 5  # of colours in the style
_COLOURS = ("253,231,37", "94,201,98", "33,145,140", "59,82,139", "68,1,84")


@dataclass(frozen=True)
class HotGround:
    """Ground that hangs together and is hot: its outline as WKB in the map's plane, and what its cells show.

    ``east`` and ``north`` are the middle of its hottest cell. ``photographs`` is the largest number that show a
    cell.
    """

    outline: bytes
    score: float
    mean_score: float
    photographs: int
    area_m2: float
    east: float
    north: float


def encode_cog(grid: HeatGrid, epsg: int, tags: Mapping[str, str]) -> bytes:
    """Encode a grid as a GeoTIFF with the bands score and photographs (float32), nodata NaN, and overviews.

    Equal grids give equal bytes.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    with enter_gdal():
        import rasterio
        from rasterio.io import MemoryFile

        height, width = grid.scores.shape
        photographs = np.where(np.isnan(grid.scores), np.float32(np.nan), grid.photographs)
        options: dict[str, Any] = {
            "driver": "COG",
            "count": len(BANDS),
            "dtype": "float32",
            "width": width,
            "height": height,
            "crs": f"EPSG:{epsg}",
            "transform": make_transform(grid),
            "nodata": float("nan"),
            "compress": "DEFLATE",
            "blocksize": _BLOCK_PX,
            "overview_resampling": "AVERAGE",
        }
        with MemoryFile() as file:
            with rasterio.open(file.name, "w", **options) as out:
                out.write(np.stack([grid.scores, photographs.astype(np.float32)]))
                for number, name in enumerate(BANDS, 1):
                    out.set_band_description(number, name)
                out.update_tags(**tags, overlap=RULE)
            return bytes(file.read())


def read_cog(data: bytes) -> tuple[HeatGrid, int]:
    """Read a grid as ``encode_cog`` writes it, and the EPSG code of its plane.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    with enter_gdal():
        import rasterio
        from rasterio.io import MemoryFile

        with MemoryFile(data) as file, rasterio.open(file.name) as raster:
            scores, photographs = raster.read()
            place, epsg = raster.transform, int(raster.crs.to_epsg())
    counts = np.nan_to_num(photographs).astype(np.float32)
    return HeatGrid(scores, counts, float(place.c), float(place.f), float(place.a)), epsg


def make_transform(grid: HeatGrid) -> Any:
    """Make the affine map from columns and rows of a grid to metres east and north."""
    from affine import Affine

    return Affine(grid.cell_m, 0.0, grid.west, 0.0, -grid.cell_m, grid.north)


def outline_hot_ground(grid: HeatGrid, threshold: float) -> list[HotGround]:
    """Outline the ground whose cells have at least the threshold, hottest first; a shared corner does not join cells.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    from scipy import ndimage

    with np.errstate(invalid="ignore"):
        hot = grid.scores >= threshold
    numbers, count = ndimage.label(hot)
    if not count:
        return []
    with enter_gdal():
        from rasterio.features import shapes

        outlines = {
            int(number): encode_polygon(shape["coordinates"])
            for shape, number in shapes(
                numbers.astype(np.int32), mask=hot, connectivity=4, transform=make_transform(grid)
            )
        }
    # All regions at once: one after the other, 100,000 regions take minutes.
    every = np.arange(1, count + 1)
    places = np.array(ndimage.maximum_position(grid.scores, numbers, every))
    means = ndimage.mean(grid.scores, numbers, every)
    photographs = ndimage.maximum(grid.photographs, numbers, every)
    cells = np.bincount(numbers.ravel(), minlength=count + 1)
    regions = [
        HotGround(
            outlines[number],
            float(grid.scores[row, column]),
            float(means[number - 1]),
            int(photographs[number - 1]),
            float(cells[number] * grid.cell_m**2),
            grid.west + (column + 0.5) * grid.cell_m,
            grid.north - (row + 0.5) * grid.cell_m,
        )
        for number, (row, column) in enumerate(places.tolist(), 1)
    ]
    return sorted(regions, key=lambda each: (-each.score, each.outline))


def encode_polygon(rings: Sequence[Sequence[tuple[float, float]]]) -> bytes:
    """Encode a polygon as WKB: its outer ring, then its holes."""
    parts = [struct.pack("<BII", 1, _POLYGON, len(rings))]
    for ring in rings:
        flat = [number for point in ring for number in point]
        parts.append(struct.pack(f"<I{len(flat)}d", len(ring), *flat))
    return b"".join(parts)


def make_style(threshold: float, *, label: str) -> str:
    """Make a QGIS style (QML) that fills outlines by their score, in steps from the threshold to 1."""
    # All digits: QGIS does not draw a place whose score is below a rounded threshold.
    count = _CLASSES if threshold < 1 else 1
    edges = np.linspace(min(threshold, 1.0), 1.0, count + 1).tolist()
    ranges, symbols = [], []
    for number in range(count):
        low, high = edges[number], edges[number + 1]
        ranges.append(
            f'   <range symbol="{number}" lower="{low!r}" upper="{high!r}" render="true" '
            f'label="{escape(label)} {low:.2f} – {high:.2f}"/>'
        )
        colour = _COLOURS[count - 1 - number]
        symbols.append(
            f'   <symbol name="{number}" type="fill" alpha="0.6">\n'
            '    <layer class="SimpleFill" enabled="1"><Option type="Map">\n'
            f'     <Option name="color" type="QString" value="{colour},255"/>\n'
            '     <Option name="outline_color" type="QString" value="35,35,35,255"/>\n'
            '     <Option name="outline_width" type="QString" value="0.4"/>\n'
            "    </Option></layer>\n   </symbol>"
        )
    return "\n".join(
        [
            "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>",
            '<qgis styleCategories="Symbology" version="3.28">',
            ' <renderer-v2 type="graduatedSymbol" attr="score" graduatedMethod="GraduatedColor">',
            "  <ranges>",
            *ranges,
            "  </ranges>",
            "  <symbols>",
            *symbols,
            "  </symbols>",
            " </renderer-v2>",
            "</qgis>",
            "",
        ]
    )


def to_metres(degrees: NDArray[np.float64], epsg: int) -> NDArray[np.float64]:
    """Convert longitude and latitude (…, 2) to metres east and north of a map's system.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    return _convert(degrees, "EPSG:4326", f"EPSG:{epsg}")


def to_degrees(metres: NDArray[np.float64], epsg: int) -> NDArray[np.float64]:
    """Convert metres east and north (…, 2) of a map's system to longitude and latitude.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    return _convert(metres, f"EPSG:{epsg}", "EPSG:4326")


def _convert(points: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    with enter_gdal():
        from rasterio.warp import transform

        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        placed = transform(source, target, x, y)
    return np.stack([np.asarray(each, np.float64) for each in placed[:2]], 1).reshape(points.shape)
