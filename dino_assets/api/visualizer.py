"""``UMAPVisualizer`` and ``IncrementalUMAP``: maps of embeddings, as pictures and pages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from dino_assets.api.arrays import as_array
from dino_assets.api.thumbnails import make_thumbs
from dino_assets.errors import ConfigError, NotFittedError
from dino_assets.numerics.kmeans import fit_kmeans
from dino_assets.numerics.neighbours import Metric, check_vectors, scale_to_unit
from dino_assets.projections.layout import fit_projection
from dino_assets.projections.map.page import make_page
from dino_assets.projections.map.picture import draw_map
from dino_assets.projections.placing import Landmarks, place_points
from dino_assets.settings.choices import check_range, check_word
from dino_assets.store.targets import write_target

ClusterMethod = Literal["kmeans"]
POINTS_PER_INCH = 72


@dataclass(frozen=True, eq=False)
class FittedReducer:
    """A finished map that places further embeddings."""

    landmarks: Landmarks

    def transform(self, embeddings: Any) -> np.ndarray:
        """Place embeddings (M, D) on the map; return their places (M, n_components), float32.

        The map does not change.

        Raises:
            ConfigError: the map was made from a single embedding.
            InvalidVectorsError: the embeddings are not finite numbers (M, D), or D differs from the map's.
        """
        return place_points(self.landmarks, check_vectors(as_array(embeddings)))


class UMAPVisualizer:
    """A UMAP layout of embeddings, with clusters and drawings.

    ``projection`` (N, n_components) and ``embeddings`` (N, D) are None before ``fit_transform``. ``labels``
    (N,) are None before ``cluster``. ``reducer`` exists only after ``fit_transform``; its ``transform``
    places further embeddings.

    >>> import numpy as np
    >>> from dino_assets import UMAPVisualizer
    >>> embeddings = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    >>> UMAPVisualizer().fit_transform(embeddings).shape
    (50, 2)
    """

    reducer: FittedReducer  # no default: callers check with hasattr whether it exists

    def __init__(
        self,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        n_components: int = 2,
        metric: Metric = "cosine",
        random_state: int = 42,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.min_dist = min_dist
        self.n_components = n_components
        self.metric: Metric = metric
        self.random_state = random_state
        self.projection: np.ndarray | None = None
        self.embeddings: np.ndarray | None = None
        self.labels: np.ndarray | None = None
        self.why = ""

    def fit_transform(self, embeddings: Any) -> np.ndarray:
        """Make a map of embeddings (N, D); return their places (N, n_components), float32.

        On one machine, equal embeddings and an equal ``random_state`` give equal places. If fewer than ten
        embeddings differ, principal components replace UMAP, and ``why`` says so.

        Raises:
            ConfigError: a setting is outside its range.
            InvalidVectorsError: the embeddings are not a matrix (N, D) of finite numbers.
        """
        points = check_vectors(as_array(embeddings))
        fitted = fit_projection(
            points,
            n_neighbors=self.n_neighbors,
            min_dist=self.min_dist,
            n_components=self.n_components,
            metric=self.metric,
            seed=self.random_state,
        )
        self.embeddings, self.projection, self.labels = points, fitted.coordinates, None
        self.why = fitted.why
        landmarks = Landmarks(points, fitted.coordinates, self.n_neighbors, self.metric)
        self.reducer = FittedReducer(landmarks)
        return fitted.coordinates

    def cluster(self, n_clusters: int = 100, method: ClusterMethod = "kmeans") -> np.ndarray:
        """Cluster the embeddings, not their places; return labels (N,), with 0 for the largest cluster.

        There are never more clusters than different embeddings.

        Raises:
            NotFittedError: ``fit_transform`` was not called.
            ConfigError: the method is unknown, or ``n_clusters`` is below 1.
        """
        check_word("method", method, get_args(ClusterMethod))
        points, _ = self._require_map()
        if self.metric == "cosine":
            points = scale_to_unit(points)
        rng = np.random.default_rng(self.random_state)
        labels = fit_kmeans(points, n_clusters, rng=rng).labels
        sizes = np.bincount(labels)
        rank = np.empty(len(sizes), np.int64)
        rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
        self.labels = rank[labels]
        return self.labels

    def plot_static(
        self,
        output_path: str | Path,
        dot_size: float = 50,
        dpi: int = 150,
        figsize: tuple[float, float] = (12, 10),
    ) -> Path:
        """Draw the map as a PNG, coloured by cluster if ``cluster`` was called; return its path.

        ``dot_size`` is an area in square points, as in matplotlib; if there are many dots, they are drawn
        smaller. If the map has more than two components, the first two are drawn.

        Raises:
            NotFittedError: ``fit_transform`` was not called.
            ConfigError: the picture would be too small or too large.
            TargetError: the file cannot be written.
        """
        _, places = self._require_map()
        width_px, height_px = (round(side * dpi) for side in figsize)
        check_range("figsize", max(width_px, height_px), most=20_000, meaning="pixels at this dpi")
        check_range("dot_size", dot_size, least=0)
        dot_px = 2 * math.sqrt(dot_size / math.pi) * dpi / POINTS_PER_INCH
        picture = draw_map(
            _in_a_plane(places),
            groups=self.labels,
            group_names=self._name_clusters(),
            chosen=(),
            title="Map of embeddings",
            caption=self._describe(),
            width_px=width_px,
            height_px=height_px,
            dot_px=dot_px,
        )
        path = Path(output_path)
        write_target(path, picture)
        return path

    def plot_interactive(
        self,
        output_path: str | Path,
        image_paths: Sequence[str | Path] | None = None,
        show_images: bool = False,
    ) -> Path:
        """Write the map as one HTML file that needs no network; return its path.

        ``image_paths`` has one path per embedding. The page shows the path of the point under the pointer;
        with ``show_images`` it also shows a thumbnail of the file.

        Raises:
            NotFittedError: ``fit_transform`` was not called.
            ConfigError: there is not one path per embedding, or ``show_images`` is set without paths.
            TargetError: the file cannot be written.
        """
        _, places = self._require_map()
        if image_paths is not None and len(image_paths) != len(places):
            raise ConfigError(
                f"{len(image_paths)} image_paths for {len(places)} embeddings; give one per embedding",
                setting="image_paths",
                value=len(image_paths),
            )
        if show_images and image_paths is None:
            raise ConfigError(
                "show_images=True needs image_paths; give one per embedding, in their order",
                setting="image_paths",
            )
        names = [str(path) for path in image_paths or range(len(places))]
        page = make_page(
            _in_a_plane(places),
            tile_ids=names,
            groups=self.labels,
            group_names=self._name_clusters(),
            thumbs=make_thumbs(names) if show_images else [b""] * len(places),
            title="Map of embeddings",
            caption=self._describe(),
        )
        path = Path(output_path)
        write_target(path, page.encode())
        return path

    def _require_map(self) -> tuple[np.ndarray, np.ndarray]:
        if self.embeddings is None or self.projection is None:
            raise NotFittedError("there is no map yet; call fit_transform(embeddings) first")
        return self.embeddings, self.projection

    def _name_clusters(self) -> list[str]:
        count = 0 if self.labels is None or not len(self.labels) else int(self.labels.max()) + 1
        return [f"cluster {number + 1}" for number in range(count)]

    def _describe(self) -> str:
        _, places = self._require_map()
        how = self.why or (
            f"UMAP, {self.n_neighbors} neighbours by {self.metric} distance, min_dist {self.min_dist}"
        )
        drawn = f"; the first 2 of {places.shape[1]} components" if places.shape[1] > 2 else ""
        return f"{len(places):,} embeddings; {how}{drawn}. Only distances to near neighbours have a meaning."


class IncrementalUMAP(UMAPVisualizer):
    """A map that stays fixed while further embeddings are added.

    >>> import numpy as np
    >>> from dino_assets import IncrementalUMAP
    >>> embeddings = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    >>> growing = IncrementalUMAP()
    >>> growing.update(embeddings[:50]).shape, growing.update(embeddings[50:]).shape
    ((50, 2), (10, 2))
    """

    def update(self, new_embeddings: Any) -> np.ndarray:
        """Place new embeddings (M, D) on the map; return their places. The first call makes the map.

        Placed embeddings never move. A place depends only on its embedding and on the embeddings of the
        first call. Embeddings of a new kind lie between the ones most similar to them; call
        ``fit_transform`` with all embeddings to give them an area of their own.

        Raises:
            ConfigError: the map was made from a single embedding.
            InvalidVectorsError: the embeddings are not finite numbers (M, D), or D differs from the map's.
        """
        if not hasattr(self, "reducer"):
            return self.fit_transform(new_embeddings)
        embeddings, projection = self._require_map()
        points = check_vectors(as_array(new_embeddings))
        places = self.reducer.transform(points)
        self.embeddings = np.concatenate([embeddings, points])
        self.projection = np.concatenate([projection, places])
        self.labels = None  # the old labels do not include the new rows
        return places


def _in_a_plane(places: np.ndarray) -> np.ndarray:
    """Take the first two components; a single component becomes a line."""
    if places.shape[1] >= 2:
        return places[:, :2]
    return np.column_stack([places, np.zeros(len(places), places.dtype)])
