"""The similarity page: what is in it."""

import base64
import json

import numpy as np
import pytest

from dino_assets.embeddings.attention.grid import fit_grid
from dino_assets.embeddings.attention.likeness import compare_patches
from dino_assets.embeddings.attention.page import make_similarity_page, quantise
from dino_assets.embeddings.attention.pictures import NO_DEBIAS, Photo
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets_tests.worlds.map_pages import NASTY, Document, open_picture, page_data


def make_page(checkpoint, *, name="a.jpg", size=(96, 64), features=None, **changes):
    grid = fit_grid(*size, patch_px=16)
    photo = Photo(name, np.full((size[1], size[0], 3), 90, np.uint8), grid)
    if features is None:
        features = np.random.default_rng(0).normal(size=(grid.rows, grid.columns, 8))
    options = {"layer": 2, "debias": None, "checkpoint": checkpoint} | changes
    return make_similarity_page(photo, features.astype(np.float32), **options)


@pytest.mark.parametrize("dims", [2, 48, 768])
@pytest.mark.parametrize("spread", [1, 30])
def test_quantise__similarities_stay_within_a_hundredth(dims, spread):
    rng = np.random.default_rng(dims)
    features = rng.normal(size=(9, 11, dims)).astype(np.float32)
    features[..., 0] *= spread  # some models have a few enormous dims
    quantised = quantise(features)
    assert quantised.dtype == np.int8
    assert np.abs(quantised.astype(int)).max() == 127
    for row, column in [(0, 0), (8, 10), (3, 4)]:
        exact = compare_patches(features, row, column)
        approximate = compare_patches(quantised.astype(np.float32), row, column)
        assert np.abs(approximate - exact).max() < 0.01


def test_quantise__a_zero_stays_zero():
    assert not quantise(np.zeros((1, 2, 3), np.float32)).any()


def test_make_similarity_page__holds_features_and_photograph(one_tiny):
    text = make_page(one_tiny.checkpoint, patch=(3, 5))
    data = page_data(text)
    assert (data["rows"], data["columns"], data["dims"], data["patch"]) == (4, 6, 8, 23)
    assert len(base64.b64decode(data["features"])) == 4 * 6 * 8
    (picture,) = [each for name, each, _ in Document(text).elements if name == "img"]
    head, _, photo = picture["src"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert open_picture(base64.b64decode(photo)).size == (96, 64)


def test_make_similarity_page__opens_in_the_middle(one_tiny):
    assert page_data(make_page(one_tiny.checkpoint))["patch"] == 2 * 6 + 3


def test_make_similarity_page__a_large_photograph_is_made_smaller(one_tiny):
    text = make_page(one_tiny.checkpoint, size=(4800, 2400))
    (picture,) = [each for name, each, _ in Document(text).elements if name == "img"]
    photo = base64.b64decode(picture["src"].partition(",")[2])
    assert open_picture(photo).size == (1600, 800)
    data = page_data(text)
    assert (data["width"], data["height"]) == (4800, 2400)


def test_make_similarity_page__loads_nothing_from_anywhere(one_tiny):
    text = make_page(one_tiny.checkpoint)
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    ("debias", "words"), [(None, NO_DEBIAS), ("8 noise pictures", "8 noise pictures")]
)
def test_make_similarity_page__says_whether_positions_are_taken_out(one_tiny, debias, words):
    (positions,) = Document(make_page(one_tiny.checkpoint, debias=debias)).texts(
        "p", id="positions"
    )
    assert words in positions
    assert ("not subtracted" in positions) is (debias is None)


def test_make_similarity_page__says_that_weights_are_random(one_tiny):
    from dataclasses import replace

    document = Document(make_page(one_tiny.checkpoint))
    assert document.texts("p", **{"class": "caveat"}) == []
    warning_document = Document(make_page(replace(one_tiny.checkpoint, caveat=CAVEAT)))
    assert CAVEAT in warning_document.texts("p", **{"class": "caveat"})[0]


@pytest.mark.parametrize("name", NASTY)
def test_make_similarity_page__escapes_the_name(one_tiny, name):
    text = make_page(one_tiny.checkpoint, name=name)
    text.encode()
    titles = Document(text).texts("h1")
    assert titles == [f"{name}: where else is this?".encode("utf-8", "replace").decode()]
    assert json.dumps(page_data(text))
