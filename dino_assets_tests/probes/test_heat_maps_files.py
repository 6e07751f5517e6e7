"""Files of heat maps: GeoTIFFs that GDAL calls cloud-optimised, outlines, and the QGIS style."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rasterio.io import MemoryFile
from scipy import ndimage

from dino_assets.probes.heat_maps import HeatGrid
from dino_assets.probes.heat_maps_files import (
    encode_cog,
    make_style,
    outline_hot_ground,
    to_degrees,
    to_metres,
)


@pytest.fixture
def grid() -> HeatGrid:
    """Rising from west to east; the uppermost row was not photographed."""
    scores = np.tile(np.linspace(0, 1, 700, dtype=np.float32), (600, 1))
    scores[0] = np.nan
    photographs = np.where(np.isnan(scores), 0, 3).astype(np.float32)
    return HeatGrid(scores, photographs, 400_000.0, 5_000_000.0, 2.0)


def test_encode_cog__layout_and_values(grid):
    with MemoryFile(encode_cog(grid, 32633, {"class": "smoke"})) as file, file.open() as opened:
        assert opened.crs.to_epsg() == 32633
        assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert set(opened.block_shapes) == {(256, 256)}
        assert opened.overviews(1)
        assert opened.dtypes == ("float32", "float32")
        assert np.isnan(opened.nodata)
        assert opened.descriptions == ("score", "photographs")
        assert opened.tags()["class"] == "smoke"
        assert opened.tags()["overlap"]
        assert (opened.bounds.left, opened.bounds.top) == (400_000, 5_000_000)
        assert opened.res == (2, 2)
        scores, photographs = opened.read()
    np.testing.assert_array_equal(scores, grid.scores)
    np.testing.assert_array_equal(np.isnan(photographs), np.isnan(grid.scores))
    assert np.nanmax(photographs) == 3


def test_encode_cog__equal_grids_give_equal_bytes(grid):
    assert encode_cog(grid, 32633, {"a": "b"}) == encode_cog(grid, 32633, {"a": "b"})


def test_encode_cog__the_overview_comes_before_the_picture(grid):
    """GDAL's own rule for cloud-optimised files: the data of overviews precede those of the picture."""
    import io

    import tifffile

    with tifffile.TiffFile(io.BytesIO(encode_cog(grid, 32633, {}))) as tiff:
        offsets = [page.dataoffsets[0] for page in tiff.pages]
    assert len(offsets) >= 2
    assert offsets == sorted(offsets, reverse=True)


def test_outline_hot_ground__by_hand():
    scores = np.zeros((4, 5), np.float32)
    scores[0, :2] = 0.9, 0.8
    scores[2:4, 3] = 0.7, 1.0
    grid = HeatGrid(scores, np.full((4, 5), 2, np.float32), 1000, 2000, 10)
    first, second = outline_hot_ground(grid, 0.7)
    assert (first.score, first.area_m2, first.photographs) == (1, 200, 2)
    assert (first.east, first.north) == (1035, 1965)
    assert second.mean_score == pytest.approx(0.85)
    outlines = shapely.from_wkb([first.outline, second.outline])
    assert shapely.is_valid(outlines).all()
    assert shapely.bounds(outlines).tolist() == [[1030, 1960, 1040, 1980], [1000, 1990, 1020, 2000]]


def test_outline_hot_ground__a_hole():
    scores = np.ones((3, 3), np.float32)
    scores[1, 1] = 0
    (ring,) = outline_hot_ground(HeatGrid(scores, scores, 0, 3, 1), 0.5)
    assert shapely.from_wkb(ring.outline).area == 8


def test_outline_hot_ground__nothing_is_hot(grid):
    assert outline_hot_ground(grid, 1.5) == []


def test_make_style__is_xml_with_ranges_from_the_threshold():
    style = ET.fromstring(make_style(0.6, label="a <b>").partition("\n")[2])
    ranges = style.findall(".//range")
    assert float(ranges[0].get("lower")) == pytest.approx(0.6)
    assert float(ranges[-1].get("upper")) == pytest.approx(1)
    symbols = {each.get("name") for each in style.findall(".//symbol")}
    assert {each.get("symbol") for each in ranges} == symbols


@pytest.mark.parametrize("score", [0.2391897, 0.6505150, 1 / 3, 0.9999999, 1.0])
def test_make_style__draws_a_place_whose_score_is_the_threshold(score):
    threshold = float(np.float32(score))
    ranges = ET.fromstring(make_style(threshold, label="a").partition("\n")[2]).findall(".//range")
    edges = [(float(each.get("lower")), float(each.get("upper"))) for each in ranges]
    assert edges[0][0] == threshold
    assert edges[-1][1] == 1
    assert [upper for _, upper in edges[:-1]] == [lower for lower, _ in edges[1:]]
    assert len(set(edges)) == len(edges)  # the legend has no entry twice


def test_to_metres__agrees_with_pyproj():
    degrees = np.array([(13.78, 47.61), (14.1, 47.0)])
    expected = Transformer.from_crs(4326, 32633, always_xy=True).transform(*degrees.T)
    metres = to_metres(degrees, 32633)
    np.testing.assert_allclose(metres.T, expected, atol=1e-3)
    np.testing.assert_allclose(to_degrees(metres, 32633), degrees, atol=1e-9)
    assert rasterio.__version__


def test_outline_hot_ground__regions_are_measured_one_by_one():
    dice = np.random.default_rng(0)
    scores = dice.random((40, 50)).astype(np.float32)
    scores[dice.random((40, 50)) < 0.1] = np.nan
    grid = HeatGrid(scores, np.ceil(scores * 5), 100.0, 900.0, 2.0)
    numbers, count = ndimage.label(scores >= 0.7)
    expected = sorted(
        (
            float(scores[numbers == number].max()),
            pytest.approx(float(scores[numbers == number].mean())),
            int(grid.photographs[numbers == number].max()),
            4.0 * int((numbers == number).sum()),
        )
        for number in range(1, count + 1)
    )
    regions = outline_hot_ground(grid, 0.7)
    assert sorted((r.score, r.mean_score, r.photographs, r.area_m2) for r in regions) == expected
    for region in regions:
        row, column = int((900 - region.north) // 2), int((region.east - 100) // 2)
        assert scores[row, column] == region.score
