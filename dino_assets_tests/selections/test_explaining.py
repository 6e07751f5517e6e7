"""Why each tile was chosen: every figure is computed again from the vectors."""

import re
from pathlib import Path

import numpy as np
import pytest

from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.selections.choosing import select
from dino_assets.selections.explaining import NEIGHBOURS, explain_selection
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage.chosen_files import export_round, read_chosen
from dino_assets.selections.stage.drafting import UNEXPLAINED
from dino_assets.selections.strategies.strategy import REASONS
from dino_assets_tests.worlds.curation import CurationWorld

STRATEGIES = ("random", "cluster", "fps", "hybrid", "medoids", "herding", "herding+fps")


def draw_vectors(seed: int, count: int = 120) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, 16))[rng.integers(0, 6, count)]
    return scale_to_unit((centres + 0.4 * rng.normal(size=(count, 16))).astype(np.float32))


def measure(vectors: np.ndarray, rows: np.ndarray, row: int) -> np.ndarray:
    """Distances of some rows to one row, by the definition."""
    return np.linalg.norm(vectors[rows].astype(np.float64) - vectors[row], axis=1)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("chosen", [[], [3, 50, 77]])
def test_explain_selection__figures_by_the_definition(strategy: str, chosen: list[int]):
    vectors = draw_vectors(1)
    rng = np.random.default_rng(0)
    selection = select(vectors, budget=9, strategy=strategy, n_clusters=4, rng=rng, chosen=chosen)
    explained = explain_selection(vectors, selection, chosen=chosen)
    every = [*chosen, *selection.indices.tolist()]
    everything = np.arange(len(vectors))
    to_each = np.stack([measure(vectors, everything, row) for row in every], 1)
    nearest = np.array(every)[to_each.argmin(axis=1)]
    for number, (row, each) in enumerate(zip(selection.indices.tolist(), explained, strict=True)):
        earlier = np.array([*chosen, *selection.indices[:number]], np.int64)
        assert each.stands_for == np.count_nonzero(nearest == row) >= 1
        if len(earlier):
            assert each.to_chosen == pytest.approx(measure(vectors, earlier, row).min(), abs=1e-9)
        else:
            assert each.to_chosen is None
        others = np.setdiff1d(everything, [row])
        order = np.argsort(measure(vectors, others, row), kind="stable")
        assert list(each.neighbours) == others[order][:NEIGHBOURS].tolist()
    total = sum(each.stands_for for each in explained)
    assert total + np.count_nonzero(np.isin(nearest, chosen)) == len(vectors)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_explain_selection__sentence_has_the_figures_of_this_tile(strategy: str):
    vectors = draw_vectors(2)
    rng = np.random.default_rng(0)
    selection = select(vectors, budget=8, strategy=strategy, n_clusters=3, rng=rng)
    explained = explain_selection(vectors, selection)
    for reason, each in zip(selection.reasons, explained, strict=True):
        assert each.why.lower().startswith(REASONS[reason.word].split(" its ")[0].lower())
        assert f"stands for {each.stands_for} of 120 tiles." in each.why
        distances = re.findall(r"distance (\S+) to the nearest", each.why)
        expected = [] if each.to_chosen is None else [f"{each.to_chosen:.3f}"]
        assert distances == expected
        if reason.cluster is not None:
            assert f"cluster {reason.cluster}" in each.why


def test_explain_selection__few_and_equal_tiles():
    assert explain_selection(*_select(np.empty((0, 4), np.float32))) == []
    (only,) = explain_selection(*_select(draw_vectors(0, 1)))
    assert (only.stands_for, only.to_chosen, only.neighbours) == (1, None, ())
    equal = np.repeat(draw_vectors(0, 1), 4, axis=0)
    explained = explain_selection(*_select(equal))
    assert sum(each.stands_for for each in explained) == 4
    assert all(len(set(each.neighbours)) == 3 for each in explained)


def _select(vectors: np.ndarray):
    rng = np.random.default_rng(0)
    return vectors, select(vectors, budget=3, strategy="herding", rng=rng)


def test_draft_selections__rows_have_the_explanation(world: CurationWorld, tmp_path: Path):
    world.select(RoundSettings(budget=5))
    manifest = world.select(RoundSettings(round=2, budget=6, strategy="fps")).manifest
    rows = world.rounds().read("round-0002").to_pylist()
    pool = read_pool(world.embeddings(), "cls").distinct()
    vectors = scale_to_unit(pool.vectors)
    place = {tile_id: row for row, tile_id in enumerate(pool.tile_ids)}
    first_round = world.rounds().read("round-0001")["tile_id"].to_pylist()
    every = [place[each] for each in [*first_round, *(row["tile_id"] for row in rows)]]
    distances = np.stack([measure(vectors, np.arange(len(pool)), row) for row in every], 1)
    nearest = np.array(every)[distances.argmin(axis=1)]
    for number, row in enumerate(rows):
        own = place[row["tile_id"]]
        assert row["stands_for"] == np.count_nonzero(nearest == own)
        earlier = np.array(every[: 5 + number])
        assert row["to_chosen"] == pytest.approx(measure(vectors, earlier, own).min(), abs=1e-9)
        others = np.array([place[each] for each in row["neighbours"]])
        assert len(others) == NEIGHBOURS
        assert (
            measure(vectors, others, own).max()
            <= np.sort(measure(vectors, np.setdiff1d(np.arange(len(pool)), [own]), own))[
                NEIGHBOURS - 1
            ]
            + 1e-9
        )
        assert f"{row['to_chosen']:.3f}" in row["why"]
    chosen = read_chosen(world.store, manifest).rows.to_pylist()
    assert [row["why"] for row in chosen] == [row["why"] for row in rows]
    assert chosen[0]["neighbours"].split() == rows[0]["neighbours"]
    page = world.read_file(manifest, "round-map.html").decode()
    assert rows[0]["why"].rstrip(".")[1:] in page


@pytest.mark.parametrize("version", ["3", "6"])
def test_export__round_of_an_earlier_version(world: CurationWorld, tmp_path: Path, version: str):
    assert version in UNEXPLAINED
    manifest = world.select(RoundSettings(budget=4), code_version=version).manifest
    assert "why" not in world.rounds().read("round-0001").column_names
    paths = list(export_round(world.store, "round-0001", folder=tmp_path, say=lambda line: None))
    assert "chosen.csv" in {path.name for path in paths}
    chosen = read_chosen(world.store, manifest).rows
    assert chosen["why"].null_count == len(chosen) == 4
