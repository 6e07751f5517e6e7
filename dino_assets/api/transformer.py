"""``DINOv2Transformer``: embedding of pictures as a step of a scikit-learn pipeline."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np

# Imported at the top for the base classes; `dino_assets` imports this module only on first use.
from sklearn.base import (  # noqa: TID253
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)

from dino_assets.api.extractor import DINOv2Extractor
from dino_assets.errors import ConfigError, UnusableImageError

# Enough for a pipeline and a second one to compare with.
OPEN_MODELS = 2


class DINOv2Transformer(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """A transformer from paths of pictures to embeddings; it needs no fitting.

    Neither the estimator nor its pickle holds a model. The model is opened for the first picture, and
    shared by all clones in a process.

    >>> from dino_assets import DINOv2Transformer
    >>> DINOv2Transformer("dinov2-small").transform(["photo.jpg"]).shape[0]
    1
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
        """Return the estimator itself; ``X`` is checked in ``transform``."""
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed paths (N,), or a table with one column of paths; return (N, D) float32.

        Raises:
            ConfigError: ``X`` is not a list of paths.
            UnusableImageError: a file is not a usable picture, and a pipeline cannot leave out a row.
            CheckpointError: the model cannot be found, fetched or used.
        """
        paths = _read_paths(X)
        if not paths:
            return np.empty((0, self._n_features_out), np.float32)
        embeddings, ids = self._open().extract_from_list(paths)
        if len(ids) < len(paths):
            first = next(path for path in paths if path not in set(ids))
            raise UnusableImageError(
                "unreadable",
                f"{len(paths) - len(ids)} of {len(paths)} pictures cannot be read, the first is {first!r}. "
                "Remove them from X and y.",
            )
        return np.asarray(embeddings.numpy(), np.float32)

    @property
    def _n_features_out(self) -> int:
        """The number of output columns, from which scikit-learn makes their names."""
        return self._open().dim

    def _open(self) -> DINOv2Extractor:
        return _open_extractor(self.model_name, self.device, self.batch_size, self.num_workers)

    def __sklearn_tags__(self) -> Any:
        """Declare to scikit-learn that the input is one column of strings, and that no fitting is needed."""
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
            f"X is {X!r:.60}; a list of paths is expected", setting="X", value=type(X).__name__
        )
    if values.ndim == 2 and values.shape[1] != 1:
        raise ConfigError(
            f"X has {values.shape[1]} columns; one column of paths is expected",
            setting="X",
            value=values.shape,
        )
    paths = values.ravel().tolist()
    for path in paths:
        if not isinstance(path, str | Path):
            raise ConfigError(
                f"X holds {path!r}; paths of pictures are expected", setting="X", value=path
            )
    return [str(path) for path in paths]
