"""Similarity of patches, and what they have by their places."""

import numpy as np
import pytest

from dino_assets.embeddings.attention.grid import fit_grid
from dino_assets.embeddings.attention.likeness import (
    NOISE_PICTURES,
    compare_patches,
    draw_references,
    measure_bias,
    take_out,
)
from dino_assets.embeddings.attention.reader import PatchReader
from dino_assets.errors import InvalidVectorsError


def test_compare_patches__by_hand():
    features = np.array([[[2, 0], [0, 3]], [[-1, 0], [5, 5]]], np.float32)
    assert np.allclose(compare_patches(features, 0, 0), [[1, 0], [-1, 0.5**0.5]])
    assert np.allclose(compare_patches(features, 1, 1), [[0.5**0.5] * 2, [-(0.5**0.5), 1]])


def test_compare_patches__a_zero_vector_has_similarity_0():
    features = np.array([[[0, 0], [1, 0]]], np.float32)
    assert np.array_equal(compare_patches(features, 0, 0), [[0, 0]])


def test_measure_bias__keeps_the_contents():
    rng = np.random.default_rng(0)
    place = rng.normal(size=(3, 4, 8)).astype(np.float32)
    place -= place.mean(axis=(0, 1))
    shared = rng.normal(size=8)
    bias = measure_bias([place + shared, place + shared + 2, place + shared - 2], origin="three")
    assert np.allclose(bias.offsets, place, atol=1e-5)
    content = rng.normal(size=(3, 4, 8)).astype(np.float32)
    assert np.allclose(take_out(content + place, bias), content, atol=1e-5)
    assert take_out(content, None) is content


def test_measure_bias__refuses_other_shapes_and_nothing():
    with pytest.raises(InvalidVectorsError) as caught:
        measure_bias([np.zeros((2, 2, 3)), np.zeros((2, 3, 3))], origin="")
    assert caught.value.row == 1
    with pytest.raises(InvalidVectorsError):
        measure_bias([], origin="")


def test_draw_references__are_of_the_grids_size_and_repeat(one_tiny):
    grid = fit_grid(48, 32, patch_px=16)
    noise = [
        list(draw_references("noise", grid, one_tiny.checkpoint, rng=np.random.default_rng(1)))
        for _ in range(2)
    ]
    assert np.array_equal(noise[0], noise[1])
    assert np.array(noise[0]).shape == (NOISE_PICTURES, 32, 48, 3)
    assert not np.array_equal(noise[0][0], noise[0][1])
    (blank,) = draw_references("blank", grid, one_tiny.checkpoint, rng=np.random.default_rng(1))
    assert blank.shape == (32, 48, 3)
    assert np.array_equal(np.unique(blank.reshape(-1, 3), axis=0), [[102, 128, 153]])


@pytest.mark.parametrize("kind", ["noise", "blank"])
@pytest.mark.parametrize("family", ["dinov2", "dinov2_with_registers"])
def test_take_out__a_blank_picture_looks_the_same_everywhere(sample_of, family, kind):
    """Its patches differ by their places alone; DINOv3 has none to add where all keys are alike."""
    tiny = sample_of(family)
    reader = PatchReader(tiny.folder, tiny.checkpoint)
    patch = tiny.checkpoint.patch_px
    grid = fit_grid(7 * patch, 5 * patch, patch_px=patch)
    rng = np.random.default_rng(0)
    references = draw_references(kind, grid, tiny.checkpoint, rng=rng)
    bias = measure_bias((reader.read_features(each) for each in references), origin=kind)
    gray = np.full((5 * patch, 7 * patch, 3), 90, np.uint8)
    features = reader.read_features(gray)
    before, after = (compare_patches(each, 2, 3) for each in (features, take_out(features, bias)))
    assert 1 - after.mean() < 0.6 * (1 - before.mean())
