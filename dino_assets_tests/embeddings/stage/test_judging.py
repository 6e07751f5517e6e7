"""What is wrong with committed embeddings is seen: each fault is planted once."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dino_assets.embeddings.options import EmbeddingOptions
from dino_assets.embeddings.rows import make_schema
from dino_assets.embeddings.stage.judging import judge_embeddings
from dino_assets.store.commits import tables
from dino_assets.store.commits.parts import put_part
from dino_assets.store.commits.protocol import Draft, Manifest, Part
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.verdicts import Verdict
from dino_assets_tests.worlds.embedding_bench import Bench, write_photos
from dino_assets_tests.worlds.outputs import pushing

BOTH = EmbeddingOptions(("cls", "mean"))
PLANT_NUMBERS = itertools.count()  # equal recipes are not made again


@pytest.fixture
def bench(make_bench: Callable[[ObjectStore], Bench], tmp_path: Path) -> Bench:
    bench = make_bench(ObjectStore.in_memory())
    bench.add_drop("d", write_photos(tmp_path / "card", [0]))
    bench.commit(options=BOTH)
    return bench


def plant(
    bench: Bench, rows: pa.Table, *, facts: dict[str, Any] | None = None, space: str | None = None
) -> None:
    """Put other rows, facts or a part of another space in the drop's place."""
    manifest: Manifest = bench.table().manifest("d")
    recipe = replace(manifest.recipe, code_version=f"planted {next(PLANT_NUMBERS)}")
    schema = make_schema(16, BOTH)
    table = rows.cast(schema)
    metadata = {"asset": "embeddings", "space": space or bench.space}
    table = table.replace_schema_metadata(tables.with_metadata(schema, metadata).metadata)
    parts: list[Part] = [
        put_part(bench.store, recipe.output, data, rows=piece.num_rows)
        for piece, data in tables.encode(table)
    ]
    planted_facts = dict(manifest.facts) if facts is None else facts
    commit(bench.store, Draft(recipe, pushing([*parts, planted_facts]), schema))


def judge(bench: Bench) -> Verdict:
    return judge_embeddings(open_table(bench.store, "tiles"), bench.table(), "d")


def with_vectors(rows: pa.Table, column: str, vectors: np.ndarray) -> pa.Table:
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), 16)
    return rows.set_column(rows.column_names.index(column), column, values)


def vectors_of(rows: pa.Table, column: str) -> np.ndarray:
    return np.stack(rows[column].to_numpy(zero_copy_only=False))


def test_judge_embeddings__sound(bench: Bench):
    assert judge(bench) == Verdict(
        "d", True, "16 vectors for 16 tiles, finite, one space; torch fp32 on cpu"
    )


def test_judge_embeddings__not_committed(bench: Bench):
    bench.forget()
    verdict = judge(bench)
    assert not verdict.passed
    assert verdict.sentence == f"nothing is committed in space {bench.space}"


def test_judge_embeddings__of_one_drop_among_several(bench: Bench, tmp_path: Path):
    bench.add_drop("e", write_photos(tmp_path / "other", [1]))
    bench.commit("e", options=BOTH)
    assert len(bench.table().drops) == 2
    assert judge(bench).passed


def test_judge_embeddings__missing_unknown_and_double_tiles(bench: Bench):
    rows = bench.rows()
    plant(bench, rows.slice(2))
    assert "0 tiles embedded twice, 2 not at all, 0 missing in `tiles`" in judge(bench).sentence
    plant(bench, pa.concat_tables([rows, rows.slice(0, 1)]))
    assert "1 tiles embedded twice, 0 not at all, 0 missing in `tiles`" in judge(bench).sentence
    names = pa.array([*rows["tile_id"].to_pylist()[:-1], "somebody's"], pa.string())
    plant(bench, rows.set_column(0, "tile_id", names))
    verdict = judge(bench)
    assert "0 tiles embedded twice, 1 not at all, 1 missing in `tiles`" in verdict.sentence
    assert not verdict.passed


@pytest.mark.parametrize("column", ["cls", "mean"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_judge_embeddings__not_finite(bench: Bench, column: str, value: float):
    rows = bench.rows()
    vectors = vectors_of(rows, column).copy()
    vectors[[3, 5], 7] = value
    plant(bench, with_vectors(rows, column, vectors))
    tile = rows["tile_id"][3].as_py()
    verdict = judge(bench)
    assert not verdict.passed
    assert verdict.sentence == f"2 {column} vectors are not finite, {tile} first"


@pytest.mark.parametrize("column", ["cls", "mean"])
@pytest.mark.parametrize("factor", [10.0, 0.1, 0.0])
def test_judge_embeddings__of_another_length(bench: Bench, column: str, factor: float):
    """A model that was scaled, or rows that were never filled."""
    rows = bench.rows()
    vectors = vectors_of(rows, column).copy()
    vectors[4] *= factor
    plant(bench, with_vectors(rows, column, vectors))
    verdict = judge(bench)
    assert not verdict.passed
    assert f"1 {column} vectors have an unusual length" in verdict.sentence
    assert f"the first, {rows['tile_id'][4].as_py()}, has" in verdict.sentence


def test_judge_embeddings__two_spaces(bench: Bench):
    plant(bench, bench.rows(), space="0123456789abcdef")
    verdict = judge(bench)
    assert not verdict.passed
    assert verdict.sentence == (f"vectors of 2 spaces: {sorted([bench.space, '0123456789abcdef'])}")


def test_judge_embeddings__without_a_gate(bench: Bench):
    rows, facts = bench.rows(), dict(bench.table().manifest("d").facts)
    for gate in (None, {}, {**facts["gate"], "tiles": 15}):
        plant(bench, rows, facts={**facts, "gate": gate})
        verdict = judge(bench)
        assert not verdict.passed
        assert verdict.sentence.startswith("the engine was not compared with the reference")


def test_judge_embeddings__warns_of_an_engine_that_was_refused(bench: Bench):
    facts = dict(bench.table().manifest("d").facts)
    plant(bench, bench.rows(), facts={**facts, "refused": ["openvino bf16 on cpu: it broke"]})
    verdict = judge(bench)
    assert verdict.passed
    assert verdict.warns
    assert verdict.sentence.endswith(
        "; torch fp32 on cpu; refused before: openvino bf16 on cpu: it broke"
    )
