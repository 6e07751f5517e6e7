"""Maps of embeddings: layout, clusters, drawings, added embeddings."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dino_assets import IncrementalUMAP, UMAPVisualizer
from dino_assets.api.thumbnails import UnreadableThumbWarning
from dino_assets.errors import ConfigError, InvalidVectorsError, NotFittedError, TargetError
from dino_assets_tests.worlds.raising import raising

RNG = np.random.default_rng(11)
KINDS = np.repeat(np.arange(3), 20)
POOL = (RNG.normal(size=(3, 16))[KINDS] * 3 + RNG.normal(size=(60, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> UMAPVisualizer:
    visualizer = UMAPVisualizer()
    visualizer.fit_transform(POOL)
    visualizer.cluster(n_clusters=3)
    return visualizer


def read_picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def count_colours(picture: np.ndarray) -> int:
    return len(np.unique(picture.reshape(-1, 3), axis=0))


def test_umap_visualizer__published_defaults():
    parameters = inspect.signature(UMAPVisualizer).parameters
    assert {name: each.default for name, each in parameters.items()} == {
        "n_neighbors": 15,
        "min_dist": 0.1,
        "n_components": 2,
        "metric": "cosine",
        "random_state": 42,
    }


def test_fit_transform__equal_input_gives_equal_places(fitted: UMAPVisualizer):
    projection = UMAPVisualizer().fit_transform(torch.tensor(POOL))
    assert projection.shape == (60, 2)
    np.testing.assert_array_equal(projection, fitted.projection)
    assert UMAPVisualizer(n_components=3).fit_transform(POOL).shape == (60, 3)


def test_cluster__labels_by_size(fitted: UMAPVisualizer):
    assert len({(kind, label) for kind, label in zip(KINDS, fitted.labels, strict=True)}) == 3
    uneven_visualizer = UMAPVisualizer()
    uneven_visualizer.fit_transform(POOL[10:])
    labels = uneven_visualizer.cluster(3)
    assert np.bincount(labels).tolist() == sorted(np.bincount(labels).tolist(), reverse=True)
    assert len(set(uneven_visualizer.cluster().tolist())) == 50  # at most as many as embeddings
    with raising(ConfigError, setting="method", value="dbscan"):
        uneven_visualizer.cluster(method="dbscan")


def test_plot_static__size_and_colours(fitted: UMAPVisualizer, tmp_path: Path):
    picture = read_picture(
        fitted.plot_static(str(tmp_path / "new" / "map.png"), dpi=100, figsize=(6, 5))
    )
    assert picture.shape == (500, 600, 3)
    larger_picture = read_picture(fitted.plot_static(tmp_path / "large.png", 400, 100, (6, 5)))
    assert larger_picture.mean() < picture.mean()
    plain_visualizer = UMAPVisualizer()
    plain_visualizer.fit_transform(POOL)
    grey_picture = read_picture(
        plain_visualizer.plot_static(tmp_path / "plain.png", 50, 100, (6, 5))
    )
    assert count_colours(grey_picture) < count_colours(picture)


@pytest.mark.parametrize("components", [1, 3])
def test_plot_static__other_numbers_of_components(components: int, tmp_path: Path):
    visualizer = UMAPVisualizer(n_components=components)
    visualizer.fit_transform(POOL)
    assert read_picture(visualizer.plot_static(tmp_path / "m.png", dpi=50)).shape == (500, 600, 3)


def test_plot_interactive__names_and_shows_pictures(
    fitted: UMAPVisualizer, tmp_path: Path, write_photo
):
    paths = [str(tmp_path / f"{number}.jpg") for number in range(60)]
    for number, path in enumerate(paths[:-1]):
        write_photo(Path(path), 90, 60, seed=number)
    Path(paths[-1]).write_text("no picture")
    named_page = fitted.plot_interactive(tmp_path / "map.html", paths)
    with pytest.warns(UnreadableThumbWarning):
        shown_page = fitted.plot_interactive(str(tmp_path / "shown.html"), paths, show_images=True)
    for page in (named_page, shown_page):
        assert "59.jpg" in page.read_text()
    assert shown_page.stat().st_size > named_page.stat().st_size + 59 * 200
    with raising(ConfigError, setting="image_paths", value=2):
        fitted.plot_interactive(tmp_path / "map.html", paths[:2])
    with raising(ConfigError, setting="image_paths"):
        fitted.plot_interactive(tmp_path / "map.html", show_images=True)


def test_visualizer__messages_name_what_is_missing(fitted: UMAPVisualizer, tmp_path: Path):
    fresh_visualizer = UMAPVisualizer()
    for method in (
        fresh_visualizer.cluster,
        lambda: fresh_visualizer.plot_static(tmp_path / "a.png"),
    ):
        with pytest.raises(NotFittedError):
            method()
    with raising(InvalidVectorsError):
        fresh_visualizer.fit_transform(np.zeros(3))
    with raising(TargetError, reason="is-a-folder"):
        fitted.plot_static(tmp_path)
    small_visualizer = UMAPVisualizer()
    small_visualizer.fit_transform(POOL[:5])
    assert small_visualizer.why


def test_incremental_umap__keeps_places_in_any_order():
    first, new_points = POOL[::2], POOL[1::2]
    whole_map, pieces_map = IncrementalUMAP(), IncrementalUMAP()
    start = whole_map.update(first)
    np.testing.assert_array_equal(pieces_map.fit_transform(first), start)
    new_places = whole_map.update(torch.tensor(new_points))
    for row in new_points[::-1]:
        pieces_map.update(row[None])
    np.testing.assert_array_equal(whole_map.projection, np.concatenate([start, new_places]))
    np.testing.assert_array_equal(pieces_map.projection[30:], new_places[::-1])
    assert len(whole_map.cluster(3)) == 60
    with raising(InvalidVectorsError, dims=(4, 16)):
        whole_map.update(np.ones((1, 4)))


def test_reducer__published_subclass():
    """The subclass checks for a reducer, and lays out everything again without one."""

    class PublishedMap(UMAPVisualizer):
        def update(self, new_embeddings):
            if hasattr(self, "reducer"):
                new_projection = self.reducer.transform(new_embeddings)
                self.projection = np.vstack([self.projection, new_projection])
                return new_projection
            return self.fit_transform(new_embeddings)

    visualizer, incremental = PublishedMap(), IncrementalUMAP()
    first = visualizer.update(POOL[:50])
    new_places = visualizer.update(torch.from_numpy(POOL[50:]))
    incremental.fit_transform(POOL[:50])
    assert np.array_equal(visualizer.projection, np.concatenate([first, new_places]))
    assert np.array_equal(new_places, incremental.update(POOL[50:]))
