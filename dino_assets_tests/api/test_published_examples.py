"""The published example scripts of the API, with changed imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from dino_assets_tests.worlds.networks import Sample
from dino_assets_tests.worlds.pictures import write_pictures

PIPELINE = """
from pathlib import Path
from dino_assets import DINOv2Extractor, DiverseImageSelector, UMAPVisualizer

def test_full_pipeline():
    extractor = DINOv2Extractor()
    embeddings, ids = extractor.extract_from_directory("test_images/")
    visualizer = UMAPVisualizer()
    projection = visualizer.fit_transform(embeddings)
    visualizer.plot_static("test_umap.png")
    selector = DiverseImageSelector(strategy="hybrid")
    indices = selector.select(embeddings, n_samples=10)
    assert len(indices) == 10
    assert Path("test_umap.png").exists()

test_full_pipeline()
"""

CHAIN = """
from tqdm import tqdm
from dino_assets import DINOv2Extractor, DiverseImageSelector, UMAPVisualizer

class ProgressExtractor(DINOv2Extractor):
    def extract_batch(self, batch):
        with tqdm(total=len(batch), desc="Extracting") as pbar:
            features = super().extract_batch(batch)
            pbar.update(len(batch))
        return features

extractor = ProgressExtractor(model_name="facebook/dinov2-base", batch_size=5, num_workers=8)
embeddings, ids = extractor.extract_from_directory("test_images/")
projection = UMAPVisualizer().fit_transform(embeddings)
indices = DiverseImageSelector(strategy="hybrid").select(embeddings, n_samples=4)
print(len(ids), projection.shape, len(indices))
"""

CUSTOM = """
import numpy as np
from dino_assets import DiverseImageSelector, IncrementalUMAP, UncertaintySelector

rng = np.random.default_rng(0)
embeddings, new_embeddings = rng.normal(size=(50, 8)), rng.normal(size=(5, 8))
umap = IncrementalUMAP()
umap.update(embeddings)
umap.update(new_embeddings)
print(umap.projection.shape)

class TheirSelector(DiverseImageSelector):
    def select(self, embeddings, uncertainties, n_samples):
        diversity_scores = self.compute_diversity(embeddings)
        combined_scores = diversity_scores * uncertainties
        return np.argsort(combined_scores)[-n_samples:]

uncertainties = rng.uniform(size=50)
theirs = TheirSelector().select(embeddings, uncertainties, 7)
print(sorted(theirs) == sorted(UncertaintySelector(method="topn").select(embeddings, uncertainties, 7)))
"""


@pytest.fixture
def run(hub, small: Sample, tmp_path: Path):
    """Run a script beside a folder of a dozen pictures, with a Hub that has the default model."""
    hub.add("facebook/dinov2-base", {path.name: path for path in small.folder.iterdir()})
    write_pictures(tmp_path / "test_images", [f"{number:02}.jpg" for number in range(12)])

    def run(script: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "example.py").write_text(script)
        process = subprocess.run(
            [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        return process

    return run


def test_examples__whole_pipeline(run, tmp_path: Path):
    run(PIPELINE)
    assert (tmp_path / "test_umap.png").read_bytes().startswith(b"\x89PNG")


def test_examples__subclass_gets_every_batch(run):
    process = run(CHAIN)
    assert process.stdout.split() == ["12", "(12,", "2)", "4"]
    assert process.stderr.count("Extracting:   0%") == 3


def test_examples__own_selector_and_incremental_map(run):
    assert run(CUSTOM).stdout.split("\n") == ["(55, 2)", "True", ""]
