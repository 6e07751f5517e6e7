"""Groups of similar rows against the definition, whatever the blocks and however alike the rows are."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from dino_assets.errors import InvalidVectorsError
from dino_assets.numerics.first_wins import group_similar


def group_by_definition(vectors: np.ndarray, least: float) -> list[int]:
    """Each row in order: the first earlier row that joined none and is similar, else itself."""
    points = vectors.astype(np.float64)
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    units = np.divide(points, lengths, out=np.zeros_like(points), where=lengths > 0)
    firsts, result = [], []
    for row, unit in enumerate(units):
        similar = [first for first in firsts if unit @ units[first] >= least]
        result.append(similar[0] if similar else row)
        if not similar:
            firsts.append(row)
    return result


def draw(kind: str, rng: np.random.Generator) -> np.ndarray:
    count, dims = int(rng.integers(20, 200)), int(rng.integers(2, 60))
    noise = rng.normal(size=(count, dims))
    centres = rng.normal(size=(7, dims))[rng.integers(0, 7, count)]
    return {
        "scattered": noise,
        "clusters": centres + rng.choice([0.02, 0.1, 0.3]) * noise,
        "equal": centres,
        "nearly equal": np.ones((count, dims)) + 1e-4 * noise,
        "one direction": np.outer(rng.uniform(0.5, 2, count), np.ones(dims)),
        "with zeros": centres * (rng.random(count) > 0.2)[:, None],
    }[kind]


@pytest.mark.parametrize(
    "kind", ["scattered", "clusters", "equal", "nearly equal", "one direction", "with zeros"]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("seed", range(4))
def test_group_similar__as_defined(kind: str, dtype: type, seed: int):
    rng = np.random.default_rng(seed)
    vectors = draw(kind, rng).astype(dtype)
    least = float(rng.choice([0.3, 0.9, 0.98, 0.9999]))
    sizes = {name: int(rng.integers(1, 70)) for name in ("block_rows", "first_rows")}
    with threadpool_limits(1):
        groups = group_similar(vectors, least, **sizes)
        assert groups.firsts.tolist() == group_by_definition(vectors, least)
        assert groups.firsts.tolist() == group_similar(vectors, least).firsts.tolist()
    points = vectors.astype(np.float64)
    for row in np.flatnonzero(groups.firsts != np.arange(len(vectors))):
        one, other = points[row], points[groups.firsts[row]]
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert groups.cosines[row] == pytest.approx(cosine, abs=1e-12)
        assert groups.cosines[row] >= least


def test_group_similar__a_row_does_not_join_one_that_joined():
    """Each vector is 10° from the next: the third is similar to the second, which joined the first."""
    angles = np.radians([0, 10, 20, 30, 40])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert group_similar(vectors, np.cos(np.radians(15))).firsts.tolist() == [0, 0, 2, 2, 4]


def test_group_similar__a_cosine_at_the_limit():
    """Float64 decides where products in float32 cannot."""
    vectors = np.array([[3, 4], [4, 3]], np.float32)
    assert group_similar(vectors, 0.96).firsts.tolist() == [0, 0]
    assert group_similar(vectors, np.nextafter(0.96, 1)).firsts.tolist() == [0, 1]


def test_group_similar__from_a_memory_map(tmp_path):
    vectors = draw("clusters", np.random.default_rng(0)).astype(np.float16)
    mapped = np.memmap(tmp_path / "vectors", np.float16, "w+", shape=vectors.shape)
    mapped[:] = vectors
    assert group_similar(mapped, 0.9).firsts.tolist() == group_by_definition(vectors, 0.9)


def test_group_similar__nothing_and_no_numbers():
    assert group_similar(np.empty((0, 4)), 0.9).firsts.tolist() == []
    assert group_similar(np.ones((1, 4)), 0.9).firsts.tolist() == [0]
    with pytest.raises(InvalidVectorsError):
        group_similar(np.array([[1.0, np.nan]]), 0.9)
