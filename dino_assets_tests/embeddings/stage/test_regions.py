"""Regions in the table ``embeddings``: an opt-in column, the means of the tile's own patches."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dino_assets.embeddings.options import EmbeddingOptions
from dino_assets.embeddings.regions import pool_regions
from dino_assets.embeddings.stage.patch_maps import read_patches
from dino_assets.errors import ConfigError
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.embedding_bench import Bench, Calls, vectors_of, write_photos

REGIONS = EmbeddingOptions(("cls",), "fp32", regions=4)


@pytest.fixture
def bench(make_bench: Callable[[ObjectStore], Bench], tmp_path: Path) -> Bench:
    """Two photographs, 32 tiles of 16 × 16 patches."""
    bench = make_bench(ObjectStore.in_memory())
    return bench.add_drop("d", write_photos(tmp_path / "card", range(2)))


def test_regions__are_the_means_of_the_patches(bench):
    bench.commit(options=replace(REGIONS, with_patches=True))
    maps = read_patches(bench.table(), "d", range(32))
    expected = pool_regions(maps.reshape(32, 256, 16), 4)
    np.testing.assert_allclose(
        vectors_of(bench, "regions").reshape(32, 16, 16), expected, atol=1e-5
    )


def test_regions__change_neither_the_other_vectors_nor_the_recipe_without_them(bench):
    plain = bench.commit(options=EmbeddingOptions(("cls",), "fp32"))
    assert "regions" not in plain.manifest.recipe.config
    before = vectors_of(bench)
    with_regions = bench.commit(options=REGIONS)
    assert with_regions.manifest.recipe.config["regions"] == 4
    np.testing.assert_allclose(vectors_of(bench), before, atol=1e-5)


def test_regions__are_copied_from_a_drop_with_the_same_regions_only(
    bench, tmp_path: Path, calls: Calls
):
    shutil.copytree(tmp_path / "card", tmp_path / "twin")
    bench.add_drop("twin", tmp_path / "twin")
    bench.commit(options=REGIONS)
    calls.reset()
    bench.commit("twin", options=replace(REGIONS, regions=2))
    assert sum(calls.of_run) == 32
    calls.reset()
    bench.commit("twin", options=REGIONS)
    assert not calls.of_run
    assert bench.rows("twin")["regions"].equals(bench.rows("d")["regions"])


def test_regions__losing_them_is_said(bench, caplog):
    bench.commit(options=REGIONS)
    with caplog.at_level(logging.WARNING):
        bench.commit(options=EmbeddingOptions(("cls",), "fp32"))
    assert any("regions" in record.message for record in caplog.records)


def test_regions__more_than_patches_are_refused_before_a_run(bench):
    """The bench's tiles have 16 × 16 patches."""
    with pytest.raises(ConfigError, match="16×16 patches"):
        bench.commit(options=replace(REGIONS, regions=17))
