"""One pool, one space, one column."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dino_assets.embeddings.options import EmbeddingOptions
from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.errors import ConfigError, MixedSpacesError
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.embeddings.stage.test_judging import plant
from dino_assets_tests.worlds.embedding_bench import COMPUTE, Bench, write_photos
from dino_assets_tests.worlds.raising import raising

BOTH = EmbeddingOptions(("cls", "mean"))


@pytest.fixture
def bench(make_bench: Callable[[ObjectStore], Bench], tmp_path: Path) -> Bench:
    bench = make_bench(ObjectStore.in_memory())
    bench.add_drop("d", write_photos(tmp_path / "d", [0]))
    return bench.add_drop("e", write_photos(tmp_path / "e", [0, 1]))


def test_read_pool__rows_and_vectors_belong_together(bench: Bench):
    bench.commit("d", options=BOTH)
    bench.commit("e", options=BOTH)
    for column in ("cls", "mean"):
        pool = read_pool(bench.table(), column)
        assert pool.drops == ["d"] * 16 + ["e"] * 32
        expected = [*bench.rows("d")[column].to_pylist(), *bench.rows("e")[column].to_pylist()]
        np.testing.assert_array_equal(pool.vectors, np.array(expected, np.float32))
        assert pool.vectors.dtype == np.float32
    assert len(pool.distinct()) == 32


def test_read_pool__of_two_spaces_is_refused(bench: Bench):
    """A part that says it is of another space, whatever put it there: both are named."""
    bench.commit("d", options=BOTH)
    plant(bench, bench.rows("d"), space="fedcba9876543210")
    with raising(MixedSpacesError, spaces=("fedcba9876543210", bench.space)):
        read_pool(bench.table(), "cls")


def test_read_pool__another_precision_is_another_pool(bench: Bench):
    bench.commit("d")
    other_output = bench.commit(
        "e", compute=replace(COMPUTE, precision="half")
    ).manifest.recipe.output
    assert set(read_pool(bench.table(), "cls").drops) == {"d"}
    table = open_table(bench.store, "embeddings", space=other_output.space)
    assert set(read_pool(table, "cls").drops) == {"e"}


def test_read_pool__refuses_a_missing_column(bench: Bench):
    bench.commit("d", options=BOTH)
    bench.commit("e")
    with raising(ConfigError, setting="column", value="mean", match=r"columns: \[cls, mean\]"):
        read_pool(bench.table(), "mean")
    assert len(read_pool(bench.table(), "cls")) == 48
