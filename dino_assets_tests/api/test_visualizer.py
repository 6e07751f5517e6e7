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
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


def count_colours(picture: np.ndarray) -> int:
    return len(np.unique(picture.reshape(-1, 3), axis=0))


def test_umap_visualizer__published_defaults():
    given = inspect.signature(UMAPVisualizer).parameters
    assert {name: each.default for name, each in given.items()} == {
        "n_neighbors": 15,
        "min_dist": 0.1,
        "n_components": 2,
        "metric": "cosine",
        "random_state": 42,
    }


def test_fit_transform__equal_input_gives_equal_places(fitted: UMAPVisualizer):
    again = UMAPVisualizer().fit_transform(torch.tensor(POOL))
    assert again.shape == (60, 2)
    np.testing.assert_array_equal(again, fitted.projection)
    assert UMAPVisualizer(n_components=3).fit_transform(POOL).shape == (60, 3)


def test_cluster__labels_by_size(fitted: UMAPVisualizer):
    assert len({(kind, label) for kind, label in zip(KINDS, fitted.labels, strict=True)}) == 3
    uneven = UMAPVisualizer()
    uneven.fit_transform(POOL[10:])
    labels = uneven.cluster(3)
    assert np.bincount(labels).tolist() == sorted(np.bincount(labels).tolist(), reverse=True)
    assert len(set(uneven.cluster().tolist())) == 50  # at most as many as embeddings
    with raising(ConfigError, setting="method", value="dbscan"):
        uneven.cluster(method="dbscan")


def test_plot_static__size_and_colours(fitted: UMAPVisualizer, tmp_path: Path):
    picture = read_picture(
        fitted.plot_static(str(tmp_path / "new" / "map.png"), dpi=100, figsize=(6, 5))
    )
    assert picture.shape == (500, 600, 3)
    larger = read_picture(fitted.plot_static(tmp_path / "large.png", 400, 100, (6, 5)))
    assert larger.mean() < picture.mean()
    plain = UMAPVisualizer()
    plain.fit_transform(POOL)
    grey = read_picture(plain.plot_static(tmp_path / "plain.png", 50, 100, (6, 5)))
    assert count_colours(grey) < count_colours(picture)


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
    named = fitted.plot_interactive(tmp_path / "map.html", paths)
    with pytest.warns(UnreadableThumbWarning):
        shown = fitted.plot_interactive(str(tmp_path / "shown.html"), paths, show_images=True)
    for page in (named, shown):
        assert "59.jpg" in page.read_text()
    assert shown.stat().st_size > named.stat().st_size + 59 * 200
    with raising(ConfigError, setting="image_paths", value=2):
        fitted.plot_interactive(tmp_path / "map.html", paths[:2])
    with raising(ConfigError, setting="image_paths"):
        fitted.plot_interactive(tmp_path / "map.html", show_images=True)


def test_visualizer__messages_name_what_is_missing(fitted: UMAPVisualizer, tmp_path: Path):
    fresh = UMAPVisualizer()
    for ask in (fresh.cluster, lambda: fresh.plot_static(tmp_path / "a.png")):
        with pytest.raises(NotFittedError):
            ask()
    with raising(InvalidVectorsError):
        fresh.fit_transform(np.zeros(3))
    with raising(TargetError, reason="is-a-folder"):
        fitted.plot_static(tmp_path)
    few = UMAPVisualizer()
    few.fit_transform(POOL[:5])
    assert few.why


def test_incremental_umap__keeps_places_in_any_order():
    first, new = POOL[::2], POOL[1::2]
    whole, pieces = IncrementalUMAP(), IncrementalUMAP()
    start = whole.update(first)
    np.testing.assert_array_equal(pieces.fit_transform(first), start)
    placed = whole.update(torch.tensor(new))
    for row in new[::-1]:
        pieces.update(row[None])
    np.testing.assert_array_equal(whole.projection, np.concatenate([start, placed]))
    np.testing.assert_array_equal(pieces.projection[30:], placed[::-1])
    assert len(whole.cluster(3)) == 60
    with raising(InvalidVectorsError, dims=(4, 16)):
        whole.update(np.ones((1, 4)))


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
    added = visualizer.update(torch.from_numpy(POOL[50:]))
    incremental.fit_transform(POOL[:50])
    assert np.array_equal(visualizer.projection, np.concatenate([first, added]))
    assert np.array_equal(added, incremental.update(POOL[50:]))
