"""``embed``: pictures of every kind in, a row per tile out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dino_assets as da
from dino_assets.errors import CheckpointNotFoundError, UnusableImageWarning
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.networks import Sample


@pytest.fixture
def model(tiny: Sample) -> str:
    return str(tiny.folder)


def test_embed__one_picture_however_it_is_given(tmp_path: Path, model: str):
    data = photo_bytes(640, 480, kind="PNG")
    (tmp_path / "a.png").write_bytes(data)
    image = Image.open(tmp_path / "a.png")
    wanted = da.embed(tmp_path / "a.png", model=model)
    assert wanted.vectors.shape == (1, 48)
    assert wanted.windows.tolist() == [[0, 0, 640, 480]]
    assert wanted.images == (str(tmp_path / "a.png"),)
    for picture in (data, image, np.asarray(image), [np.asarray(image)]):
        result = da.embed(picture, model=model)
        np.testing.assert_array_equal(result.vectors, wanted.vectors)
        assert result.images == ("0",)


def test_embed__large_pictures_are_cut_unless_whole(model: str):
    photo = photo_bytes(1600, 1200)
    cut, whole = (da.embed(photo, model=model, whole=whole) for whole in (False, True))
    assert len(cut.vectors) == len(cut.windows) == len(cut.tile_ids) == 24
    assert len(set(cut.tile_ids)) == 24
    assert whole.windows.tolist() == [[0, 0, 1600, 1200]]
    assert cut.space == whole.space


def test_embed__rows_are_in_the_order_of_the_pictures(model: str):
    photos = [photo_bytes(1600, 1200, seed=1), photo_bytes(64, 48, seed=2)]
    result = da.embed(photos, model=model)
    assert result.images == ("0",) * 24 + ("1",)
    each = [da.embed(photo, model=model).vectors for photo in photos]
    np.testing.assert_allclose(result.vectors, np.concatenate(each), atol=1e-5)


def test_embed__a_folder_and_a_picture_that_cannot_be_used(tmp_path: Path, model: str):
    for name in ("b.jpg", "a.jpg"):
        (tmp_path / name).write_bytes(photo_bytes())
    (tmp_path / "bad.jpg").write_text("not a picture")
    with pytest.warns(UnusableImageWarning) as caught:
        result = da.embed(tmp_path, model=model)
    assert result.images == ("a.jpg", "b.jpg")
    assert list(result.left_out) == ["bad.jpg"]
    assert [each.message.image_id for each in caught] == ["bad.jpg"]
    assert caught[0].filename == __file__


def test_embed__nothing_to_embed(model: str):
    result = da.embed([], model=model)
    assert result.vectors.shape == (0, 48)
    assert result.windows.shape == (0, 4)


def test_embed__the_mean_over_patches(model: str):
    photo = photo_bytes()
    cls, mean = (da.embed(photo, model=model, column=column).vectors for column in ("cls", "mean"))
    assert cls.shape == mean.shape
    assert not np.allclose(cls, mean)


def test_embed__a_model_that_is_not_there(tmp_path: Path):
    with pytest.raises(CheckpointNotFoundError):
        da.embed(photo_bytes(), model=str(tmp_path / "nowhere"))
