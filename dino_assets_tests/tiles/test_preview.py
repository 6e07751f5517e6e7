import io
from pathlib import Path

import pytest
from PIL import Image

from dino_assets.errors import ConfigError, SourceError, UnusableImageError
from dino_assets.tiles.preview import preview_tiles
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.inboxes import drone_photo, write_mosaic
from dino_assets_tests.worlds.raising import raising


def test_preview_tiles__describes_and_draws_the_grid(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(photo_bytes(2000, 1100))
    preview = preview_tiles(tmp_path / "a.jpg", side_px=518)
    assert preview.sentence == "a.jpg, 2000 x 1100 px: 28 tiles of 518 px, 7 x 4, overlap 50%"
    assert Image.open(io.BytesIO(preview.picture)).format == "PNG"


def test_preview_tiles__by_metres(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(drone_photo(size=(2000, 1500), altitude_m=50))
    # A pixel is 50 × 6.17 / 3.61 / 2000 = 4.27 cm, 20 m are 468 px.
    preview = preview_tiles(tmp_path / "a.jpg", side_px=518, side_m=20)
    assert "tiles of 468 px (20 m)" in preview.sentence


def test_preview_tiles__metres_with_unknown_scale(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(photo_bytes(2000, 1100))
    preview = preview_tiles(tmp_path / "a.jpg", side_px=518, side_m=20)
    assert "28 tiles of 518 px (not 20 m: the scale is not known)" in preview.sentence


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (3000, 20)])
def test_preview_tiles__small_and_thin(tmp_path: Path, size: tuple[int, int]):
    (tmp_path / "a.png").write_bytes(photo_bytes(*size, kind="PNG"))
    assert preview_tiles(tmp_path / "a.png", side_px=518).picture


def test_preview_tiles__refuses_unreadable_files(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(UnusableImageError) as image_error:
        preview_tiles(tmp_path / "a.jpg", side_px=518)
    assert image_error.value.reason == "not-an-image"
    with raising(SourceError, reason="unreadable", path="gone.jpg"):
        preview_tiles(tmp_path / "gone.jpg", side_px=518)
    with pytest.raises(SourceError) as source_error:
        preview_tiles(tmp_path / "nowhere" / "gone.jpg", side_px=518)
    assert source_error.value.path == str(tmp_path / "nowhere")
    with pytest.raises(ConfigError) as config_error:
        preview_tiles(tmp_path / "a.jpg", side_px=518, overlap=1)
    assert (config_error.value.setting, config_error.value.value) == ("overlap", 1)


def test_preview_tiles__refuses_the_same_grids_as_the_asset(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(photo_bytes(2000, 1100))
    with pytest.raises(ConfigError) as config_error:
        preview_tiles(tmp_path / "a.jpg", side_px=500, patch_px=14)
    assert (config_error.value.setting, config_error.value.value) == ("tile_px", 500)
    write_mosaic(tmp_path / "ortho.tif")
    with pytest.raises(ConfigError) as config_error:
        preview_tiles(tmp_path / "ortho.tif", side_px=518)
    assert (config_error.value.setting, config_error.value.value) == ("image", "ortho.tif")
