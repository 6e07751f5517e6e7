"""Records of probes: the linear classifier of vectors and the labelled vectors it learns from."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.numerics.neighbours import blocks, scale_to_unit
from dino_assets.probes.probe_settings import ProbeKind

# The bias of a class that a probe did not learn: its probability is less than a millionth of a millionth.
ABSENT_BIAS = -30.0


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Labelled vectors (N, D) of one space, the class (N,) of each as an index into ``class_names``."""

    vectors: NDArray[np.float32]
    classes: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, rows: NDArray[np.integer]) -> "TrainingSet":
        """Return some of the rows; the names of the classes stay."""
        return TrainingSet(self.vectors[rows], self.classes[rows], self.class_names)


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier of vectors (N, D) into C classes.

    A vector is scaled to length 1; ``center`` (D,) is subtracted, and the rest is divided by ``scale``. The
    product with ``weights`` (C, D) plus ``bias`` (C,) are the scores of the classes, and their softmax the
    probabilities. ``strength`` is the C of the logistic regression, None for another kind.
    """

    kind: ProbeKind
    class_names: tuple[str, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    center: NDArray[np.float32]
    scale: float
    strength: float | None = None

    def predict(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Compute the probability of each class (N, C); each row adds up to 1."""
        weights = self.weights.astype(np.float64)
        result = np.empty((len(vectors), len(self.class_names)), np.float32)
        # In blocks of float64: 1,000,000 vectors need the memory of one block only.
        for block in blocks(len(vectors)):
            rows = prepare(vectors[block], self.center, self.scale)
            result[block] = compute_softmax(rows @ weights.T + self.bias)
        return result


@dataclass(frozen=True, eq=False)
class Preparation:
    """The mean of unit vectors and the typical distance from it."""

    center: NDArray[np.float32]
    scale: float


def fit_preparation(vectors: NDArray[np.float32]) -> Preparation:
    """Measure the mean of unit vectors, and the root mean square of their distances from it.

    Vectors of an untrained network have almost one direction. Without this step, no penalty would suit them.
    """
    unit = scale_to_unit(vectors).astype(np.float64)
    center = unit.mean(axis=0).astype(np.float32)
    scale = float(np.sqrt(np.square(unit - center).sum(axis=1).mean()))
    return Preparation(center, float(np.float32(scale if scale > 0 else 1.0)))


def prepare(
    vectors: NDArray[np.floating], center: NDArray[np.float32], scale: float
) -> NDArray[np.float64]:
    """Scale vectors to length 1, subtract the center and divide by the scale, in float64."""
    rows = scale_to_unit(np.asarray(vectors)).astype(np.float64)
    return np.asarray((rows - center) / scale)


def compute_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert scores (N, C) to probabilities (N, C)."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class PredictedTile:
    """A row of ``probes``: a tile of the pool, its predicted class, and how uncertain the prediction is.

    ``probabilities`` are in the order of the classes in ``probe.json``, and ``probability`` is that of the
    predicted class. If ``is_held_out``, the tile has a ``label``, and the prediction is that of a probe which did
    not see the tile's ground; ``fold`` is the fold that held it out.
    """

    drop: str
    tile_id: str
    image_id: str
    class_name: str
    probability: Annotated[float, pa.float32()]
    probabilities: Annotated[tuple[float, ...], pa.list_(pa.float32())]
    entropy: Annotated[float, pa.float32()]
    margin: Annotated[float, pa.float32()]
    disagreement: Annotated[float, pa.float32()]
    label: str | None
    is_held_out: bool
    fold: int | None
