"""Quick probe: ridge regression of the classes, solved in closed form.

It serves where hundreds of probes are trained and only compared with each other. Its scores are not probabilities.
"""

import numpy as np
from numpy.typing import NDArray

STRENGTH = 0.1  # of the penalty, for vectors of length 1


def predict_by_ridge(
    vectors: NDArray[np.float32],
    classes: NDArray[np.int64],
    others: NDArray[np.float32],
    *,
    strength: float = STRENGTH,
) -> NDArray[np.int64]:
    """Train on vectors (N, D) with classes (N,), and predict the classes (M,) of other vectors (M, D).

    Only classes that occur in the training rows are predicted. Vectors are expected to have length 1.
    """
    present, targets = np.unique(classes, return_inverse=True)
    answers = np.eye(len(present))[targets]
    mean, offset = vectors.mean(axis=0, dtype=np.float64), answers.mean(axis=0)
    rows, answers = vectors - mean, answers - offset
    if len(rows) <= rows.shape[1]:
        gram = rows @ rows.T
        gram[np.diag_indices_from(gram)] += strength
        weights = rows.T @ np.linalg.solve(gram, answers)
    else:
        gram = rows.T @ rows
        gram[np.diag_indices_from(gram)] += strength
        weights = np.linalg.solve(gram, rows.T @ answers)
    scores = (others - mean) @ weights + offset
    return np.asarray(present[scores.argmax(axis=1)], np.int64)
