"""``CachedExtractor``: keys, shared folders, damaged vectors, killed processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dino_assets import CachedExtractor, DINOv2Extractor, UnusableImageWarning
from dino_assets.embeddings.encoder.engine import Encoder
from dino_assets.errors import TargetError
from dino_assets_tests.conftest import REPOSITORY, photo_bytes
from dino_assets_tests.worlds.networks import Sample, write_sample
from dino_assets_tests.worlds.pictures import NAMES, write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "images")


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """The number of tiles in each call of an encoder."""
    sizes: list[int] = []
    original = Encoder.encode

    def encode(self: Encoder, tiles: np.ndarray) -> object:
        sizes.append(len(tiles))
        return original(self, tiles)

    monkeypatch.setattr(Encoder, "encode", encode)
    return sizes


def make(sample: Sample, cache: str | Path = "cache/", **options: object) -> CachedExtractor:
    settings = {"model_name": str(sample.folder), "device": "cpu", "precision": "fp32"}
    return CachedExtractor(cache, **{**settings, **options})


def plainly(sample: Sample, folder: Path) -> torch.Tensor:
    extractor = DINOv2Extractor(str(sample.folder), device="cpu", precision="fp32")
    return extractor.extract_from_directory(folder)[0]


def vectors_in(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*.npz") if path.parent.name != "making")


def test_extract__second_call_computes_nothing(tiny, folder, tmp_path, encoded):
    first = make(tiny).extract_from_directory(folder)
    assert sum(encoded) >= 4
    encoded.clear()
    extractor = make(tiny)
    second = extractor.extract_from_directory(folder)
    assert (encoded, extractor.hits) == ([], 4)
    assert second[1] == first[1]
    assert torch.equal(second[0], first[0])
    assert torch.equal(first[0], plainly(tiny, folder))
    assert len(vectors_in(tmp_path / "cache")) == 4


def test_extract__changed_content_of_the_same_name(tiny, folder, encoded):
    make(tiny).extract_from_directory(folder)
    encoded.clear()
    (folder / NAMES[0]).write_bytes(photo_bytes(300, 200, seed=99))
    embeddings, _ = make(tiny).extract_from_directory(folder)
    assert encoded == [1]
    assert torch.equal(embeddings, plainly(tiny, folder))


def test_extract__renamed_or_moved_pictures(tiny, folder, tmp_path, encoded):
    make(tiny).extract_from_directory(folder)
    encoded.clear()
    other_folder = tmp_path / "other" / "images"
    shutil.copytree(folder, other_folder)
    (other_folder / NAMES[0]).rename(other_folder / "renamed.jpg")
    embeddings, ids = make(tiny).extract_from_directory(other_folder)
    assert (encoded, ids[-1]) == ([], "renamed.jpg")
    assert torch.equal(embeddings, plainly(tiny, other_folder))


def test_extract__other_weights_size_or_precision(tiny, folder, tmp_path, encoded):
    make(tiny).extract_from_directory(folder)
    other_sample = write_sample(tmp_path / "other", "dinov3_vit", seed=1)
    for sample, options in (
        (other_sample, {}),
        (tiny, {"image_size": 112}),
        (tiny, {"precision": "half"}),
    ):
        extractor = make(sample, **options)
        extractor.extract_from_directory(folder)
        assert extractor.hits == 0
    copied_folder = tmp_path / "copied"  # the same weights in another folder
    shutil.copytree(tiny.folder, copied_folder)
    extractor = make(Sample(copied_folder, tiny.checkpoint))
    extractor.extract_from_directory(folder)
    assert extractor.hits == 4


def test_extract__subclass_with_another_extract_batch(tiny, folder):
    class Doubled(CachedExtractor):
        def extract_batch(self, batch):
            return 2 * super().extract_batch(batch)

    make(tiny).extract_from_directory(folder)
    options = {"model_name": str(tiny.folder), "device": "cpu", "precision": "fp32"}
    for hits in (0, 4):
        extractor = Doubled(**options)
        embeddings, _ = extractor.extract_from_directory(folder)
        assert extractor.hits == hits
        assert torch.equal(embeddings, 2 * plainly(tiny, folder))


def test_extract_single__files_bytes_and_pixels(tiny, folder, encoded):
    extractor = make(tiny)
    path = folder / NAMES[0]
    wanted = extractor.extract_single(path)
    encoded.clear()
    assert torch.equal(extractor.extract_single(path.read_bytes()), wanted)
    assert encoded == []
    pixels = np.zeros((50, 40, 3), np.uint8)
    extractor.extract_single(pixels)
    extractor.extract_single(pixels.copy())
    extractor.extract_single(pixels.reshape(40, 50, 3))
    assert encoded == [1, 1]


def test_extract__leaves_unusable_pictures_out_every_time(tiny, folder):
    (folder / "no.jpg").write_text("no picture")
    for _ in range(2):
        with pytest.warns(UnusableImageWarning) as caught:
            _, ids = make(tiny).extract_from_directory(folder)
        assert ([w.message.image_id for w in caught], len(ids)) == (["no.jpg"], 4)


@pytest.mark.parametrize("spoil", [b"", b"PK", None])
def test_extract__recomputes_damaged_vectors(tiny, folder, tmp_path, spoil):
    make(tiny).extract_from_directory(folder)
    for path in vectors_in(tmp_path / "cache"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data if spoil is None else spoil)
    extractor = make(tiny)
    embeddings, _ = extractor.extract_from_directory(folder)
    assert extractor.hits == 0
    assert torch.equal(embeddings, plainly(tiny, folder))
    second_extractor = make(tiny)
    second_extractor.extract_from_directory(folder)
    assert second_extractor.hits == 4


def start(tiny: Sample, folder: Path, cache: Path) -> subprocess.Popen:
    module = "dino_assets_tests.worlds.caching_process"
    command = [sys.executable, "-m", module, str(tiny.folder), str(folder), str(cache)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_extract__after_a_kill(tiny, tmp_path):
    folder = write_pictures(tmp_path / "many", [f"{n}.jpg" for n in range(120)])
    cache = tmp_path / "kept"
    process = start(tiny, folder, cache)
    while len(vectors_in(cache)) < 10:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    count = len(vectors_in(cache))
    extractor = make(tiny, cache)
    embeddings, ids = extractor.extract_from_directory(folder)
    assert extractor.hits == count
    assert len(ids) == 120
    assert torch.equal(embeddings, plainly(tiny, folder))


@pytest.mark.slow
def test_extract__several_processes_at_once(tiny, tmp_path):
    folder = write_pictures(tmp_path / "many", [f"{n}.jpg" for n in range(40)])
    processes = [start(tiny, folder, tmp_path / "kept") for _ in range(3)]
    assert [process.communicate()[0].strip() for process in processes] == ["40"] * 3
    assert len(vectors_in(tmp_path / "kept")) == 40
    extractor = make(tiny, tmp_path / "kept")
    embeddings, _ = extractor.extract_from_directory(folder)
    assert extractor.hits == 40
    assert torch.equal(embeddings, plainly(tiny, folder))


def test_init__removes_old_partial_files(tiny, tmp_path):
    making = tmp_path / "cache" / "making"
    making.mkdir(parents=True)
    for name in ("old.npz", "new.npz"):
        (making / name).touch()
    os.utime(making / "old.npz", (0, 0))
    make(tiny)
    assert [path.name for path in making.iterdir()] == ["new.npz"]


def test_init__folder_that_cannot_be_made(tiny, tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(TargetError):
        make(tiny)


def test_extract__read_only_cache(tiny, folder, tmp_path, caplog):
    extractor = make(tiny)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").touch()
    embeddings, _ = extractor.extract_from_directory(folder)
    assert torch.equal(embeddings, plainly(tiny, folder))
    assert caplog.text.count("no more vectors are cached") == 1
