"""The first three components of patch features."""

import numpy as np
import pytest

from dino_assets.embeddings.attention.components import find_components


def make_features(scores, *, seed=0):
    """Features (rows, columns, 8) whose components are scores (rows, columns, 3), turned somehow."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 8)))
    return (np.asarray(scores) @ basis[:3] + 5).astype(np.float32)


def draw_scores(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (rows, columns, 3)) * [9, 3, 1]


def correlate(first_map, second_map):
    return abs(np.corrcoef(first_map.ravel(), second_map.ravel())[0, 1])


def test_find_components__in_the_order_of_their_variance():
    scores = draw_scores(20, 30)
    components = find_components([make_features(scores)])
    assert components.maps[0].shape == (20, 30, 3)
    assert components.maps[0].min() == 0
    assert components.maps[0].max() == 1
    for number in range(3):
        assert correlate(components.maps[0][..., number], scores[..., number]) > 0.98
    assert components.shares == pytest.approx([81 / 91, 9 / 91, 1 / 91], abs=0.02)
    assert sum(components.shares) == pytest.approx(1)
    assert components.masks[0].all()
    assert components.side is None


def test_find_components__one_basis_for_all_pictures():
    scores = draw_scores(10, 30)
    components = find_components([make_features(scores)])
    components_of_parts = find_components([make_features(scores[:4]), make_features(scores[4:])])
    assert [each.shape for each in components_of_parts.maps] == [(4, 30, 3), (6, 30, 3)]
    assert np.allclose(np.concatenate(components_of_parts.maps), components.maps[0])


def test_find_components__signs_are_reproducible():
    features = make_features(draw_scores(12, 12))
    shuffled = features.reshape(-1, 8)[::-1].reshape(12, 12, 8)
    maps, shuffled_maps = (find_components([each]).maps[0] for each in (features, shuffled))
    assert np.allclose(shuffled_maps.reshape(-1, 3)[::-1], maps.reshape(-1, 3), atol=1e-4)


def test_find_components__the_foreground_has_fewer_edge_patches():
    scores = draw_scores(12, 12) / 30
    scores[4:8, 3:9, 0] += 10
    for sign in (1, -1):
        components = find_components([make_features(scores * sign)], foreground="auto")
        foreground = np.zeros((12, 12), bool)
        foreground[4:8, 3:9] = True
        assert np.array_equal(components.masks[0], foreground)
        assert not components.maps[0][~foreground].any()
        # Of the foreground alone, what divides it from the background no longer counts.
        assert correlate(components.maps[0][foreground][:, 0], scores[foreground][:, 0]) > 0.95


def test_find_components__either_side_can_be_chosen():
    features = make_features(draw_scores(12, 12))
    above, below = (find_components([features], foreground=side) for side in ("above", "below"))
    assert np.array_equal(above.masks[0], ~below.masks[0])
    assert (above.side, below.side) == ("above", "below")


@pytest.mark.parametrize("foreground", [None, "auto"])
@pytest.mark.parametrize("shape", [(3, 4, 8), (1, 1, 8), (1, 2, 2)])
def test_find_components__of_a_picture_without_differences(shape, foreground):
    components = find_components([np.full(shape, 3, np.float32)], foreground=foreground)
    assert components.maps[0].shape == (*shape[:2], 3)
    assert np.isfinite(components.maps[0]).all()
    assert components.shares == (0, 0, 0)


def test_find_components__an_outlier_does_not_dim_other_patches():
    scores = draw_scores(20, 20)
    features = make_features(scores)
    features[5, 5] += 1000
    components = find_components([features])
    spread = np.delete(components.maps[0][..., 1].ravel(), 105)
    assert spread.std() > 0.2
