"""``DINOv2Transformer``: pictures to embeddings as a step of a scikit-learn pipeline."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np

# Base classes: the name is looked up when it is used, so nobody else loads scikit-learn.
from sklearn.base import (  # noqa: TID253
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)

from dino_assets.api.extractor import DINOv2Extractor
from dino_assets.errors import ConfigError, UnusableImageError

# Of one pipeline and of the one that it is compared with.
OPEN_MODELS = 2


class DINOv2Transformer(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Embed pictures, named by their paths. There is nothing to fit.

    Neither the estimator nor its pickle holds a model: it is opened when the first picture comes, and
    shared by all clones of a process.
    """

    def __init__(
        self,
        model_name: str = "facebook/dinov2-base",
        device: str = "auto",
        batch_size: int = 32,
        num_workers: int = 4,
    ) -> None:
        self.model_name = model_name
        self.device = device
        self.batch_size = batch_size
        self.num_workers = num_workers

    def fit(self, X: Any, y: Any = None) -> Self:
        """Return itself; ``X`` is looked at when it is transformed."""
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed paths (N,), or a table's one column of them; gives (N, D) float32, a row for each.

        Raises:
            ConfigError: not a list of paths.
            UnusableImageError: a file that is no picture: a row of a pipeline cannot be left out.
            CheckpointError: the model is not to be had.
        """
        paths = _read_paths(X)
        if not paths:
            return np.empty((0, self._n_features_out), np.float32)
        embeddings, ids = self._open().extract_from_list(paths)
        if len(ids) < len(paths):
            first = next(path for path in paths if path not in set(ids))
            raise UnusableImageError(
                "unreadable",
                f"{len(paths) - len(ids)} of {len(paths)} pictures cannot be read, {first!r} first: take "
                "them out of X and y",
            )
        return np.asarray(embeddings.numpy(), np.float32)

    @property
    def _n_features_out(self) -> int:
        """How many columns come out; scikit-learn names them by it."""
        return self._open().dim

    def _open(self) -> DINOv2Extractor:
        return _open_extractor(self.model_name, self.device, self.batch_size, self.num_workers)

    def __sklearn_tags__(self) -> Any:
        """Say what it takes: strings in one dimension, and no fitting."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


@lru_cache(OPEN_MODELS)
def _open_extractor(
    model_name: str, device: str, batch_size: int, num_workers: int
) -> DINOv2Extractor:
    return DINOv2Extractor(model_name, device, batch_size, num_workers, progress=False)


def _read_paths(X: Any) -> list[str]:
    values = np.asarray(X, object)
    if isinstance(X, str | Path) or values.ndim not in (1, 2):
        raise ConfigError(
            f"X is {X!r:.60}: expected a list of paths", setting="X", value=type(X).__name__
        )
    if values.ndim == 2 and values.shape[1] != 1:
        raise ConfigError(
            f"X has {values.shape[1]} columns: pass the one that holds the paths",
            setting="X",
            value=values.shape,
        )
    paths = values.ravel().tolist()
    for path in paths:
        if not isinstance(path, str | Path):
            raise ConfigError(
                f"X holds {path!r}: expected paths of pictures", setting="X", value=path
            )
    return [str(path) for path in paths]
