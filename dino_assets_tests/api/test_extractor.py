"""``DINOv2Extractor``: equal to transformers, in order, with warnings for pictures left out."""

import io
import os
import subprocess
import sys
import threading
import unittest
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dino_assets import DINOv2Extractor, UnusableImageWarning
from dino_assets.api import models
from dino_assets.errors import (
    CheckpointNotFoundError,
    ConfigError,
    DeviceUnavailableError,
    EngineRefusedError,
    InvalidVectorsError,
    SourceError,
    UnusableImageError,
)
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.networks import Sample
from dino_assets_tests.worlds.pictures import NAMES, embed_plainly, write_pictures


def make(sample: Sample, **options: object) -> DINOv2Extractor:
    return DINOv2Extractor(str(sample.folder), device="cpu", precision="fp32", **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "images")


@pytest.fixture
def extractor(tiny: Sample) -> DINOv2Extractor:
    return make(tiny)


def assert_close(result: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-5)


def test_extractor__published_unit_tests(hub, small, tmp_path):
    """The published unittest of the API, unchanged, with its model by name."""
    hub.add("facebook/dinov2-small", {path.name: path for path in small.folder.iterdir()})
    write_pictures(tmp_path, ["test.jpg", "test1.jpg", "test2.jpg", "test3.jpg"])

    class TestExtractor(unittest.TestCase):
        def setUp(self):
            self.extractor = DINOv2Extractor(model_name="facebook/dinov2-small", device="cpu")

        def test_single_image(self):
            embeddings, _ids = self.extractor.extract_from_list(["test.jpg"])
            self.assertEqual(embeddings.shape[0], 1)  # noqa: PT009
            self.assertEqual(embeddings.shape[1], 384)  # noqa: PT009

        def test_batch_processing(self):
            images = ["test1.jpg", "test2.jpg", "test3.jpg"]
            _embeddings, ids = self.extractor.extract_from_list(images)
            self.assertEqual(len(ids), 3)  # noqa: PT009

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(TestExtractor)
    result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    assert (result.testsRun, result.failures, result.errors) == (2, [], [])


def test_extract_from_directory__equals_transformers(small, folder):
    embeddings, ids = make(small).extract_from_directory(folder)
    assert ids == sorted(NAMES)
    assert (embeddings.dtype, embeddings.device.type) == (torch.float32, "cpu")
    assert_close(embeddings, embed_plainly(small, [folder / each for each in ids]))


def test_extract_from_directory__half_precision_within_the_numerics_check(small, folder):
    half_extractor = DINOv2Extractor(str(small.folder), device="cpu")
    embeddings, ids = half_extractor.extract_from_directory(str(folder))
    wanted = embed_plainly(small, [folder / each for each in ids])
    assert torch.cosine_similarity(embeddings, wanted).min() >= 0.999


def test_extract_from_directory__names_unusable_pictures(extractor, folder):
    (folder / "class1" / "cut.jpg").write_bytes(photo_bytes(200, 200)[:3000])
    (folder / "no.jpg").write_text("no picture")
    with pytest.warns(UnusableImageWarning) as caught:
        embeddings, ids = extractor.extract_from_directory(folder)
    reasons = {(each.message.image_id, each.message.reason) for each in caught}
    assert reasons == {("class1/cut.jpg", "truncated"), ("no.jpg", "not-an-image")}
    assert all(each.message.image_id in str(each.message) for each in caught)
    assert ids == sorted(NAMES)
    singles = torch.stack([extractor.extract_single(folder / each) for each in ids])
    assert torch.equal(embeddings, singles)


def test_extract_from_list__warns_every_time_at_the_callers_line(extractor, tmp_path):
    (tmp_path / "no.jpg").write_text("no picture")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # which shows equal warnings of one line only once
        for _ in range(2):
            extractor.extract_from_list(["no.jpg"])
    assert [Path(each.filename).name for each in caught] == ["test_extractor.py"] * 2


def test_extract_from_list__nothing_usable(extractor, tmp_path):
    (tmp_path / "no.jpg").write_text("no picture")
    with pytest.warns(UnusableImageWarning):
        embeddings, ids = extractor.extract_from_list(["no.jpg", "absent.jpg", "a\0b.jpg"])
    assert (embeddings.shape, ids) == ((0, 48), [])
    assert extractor.extract_from_list([])[0].shape == (0, 48)


def test_extract_from_list__repeated_paths(extractor, folder):
    paths = [folder / "class1" / "img1.jpg"] * 3
    embeddings, ids = extractor.extract_from_list(paths)
    assert ids == [str(paths[0])] * 3
    assert torch.equal(embeddings[0], embeddings[2])


@pytest.mark.parametrize("paths", ["a.jpg", [3], [None], [np.zeros((3, 3, 3))]])
def test_extract_from_list__refuses_other_values(extractor, paths):
    with pytest.raises(ConfigError) as caught:
        extractor.extract_from_list(paths)
    assert caught.value.setting == "image_paths"


def test_extract_from_csv__ids_as_written(extractor, folder, tmp_path):
    lines = [f"{folder / NAMES[0]},lemur,a", "images/class1/img2.JPG,macaque,b"]
    (tmp_path / "list.csv").write_text("image_path,label,metadata\n" + "\n".join(lines) + "\n")
    embeddings, ids = extractor.extract_from_csv(tmp_path / "list.csv")
    assert ids == [str(folder / NAMES[0]), "images/class1/img2.JPG"]
    wanted, _ = extractor.extract_from_list([folder / NAMES[0], folder / NAMES[1]])
    assert torch.equal(embeddings, wanted)
    with pytest.raises(SourceError) as caught:
        extractor.extract_from_csv(tmp_path / "list.csv", image_col="file")
    assert caught.value.reason == "column-missing"
    assert "image_path, label, metadata" in str(caught.value)


def test_extract_single__every_kind_of_picture(extractor, folder):
    path = folder / NAMES[0]
    with Image.open(path) as image:
        pixels = np.asarray(image)
        wanted = extractor.extract_single(image)
    assert wanted.shape == (48,)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    for picture in (str(path), path, path.read_bytes(), pixels, tensor, tensor / 255, tensor[None]):
        assert torch.equal(extractor.extract_single(picture), wanted)
    with pytest.raises(UnusableImageError) as caught:
        extractor.extract_single(folder / "absent.jpg")
    assert caught.value.reason == "missing"


def test_extract_batch__every_kind_of_batch(extractor):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    wanted = extractor.extract_batch(batch)
    assert wanted.shape == (3, 48)
    other_batches = [
        pixels,
        list(pixels),
        batch / 255,
        batch.contiguous(),
        [Image.fromarray(p) for p in pixels],
    ]
    for other_batch in other_batches:
        assert torch.equal(extractor.extract_batch(other_batch), wanted)
    assert extractor.extract_batch(batch[:0]).shape == (0, 48)
    larger_pixels = np.repeat(np.repeat(pixels, 2, axis=1), 2, axis=2)
    assert extractor.extract_batch(larger_pixels).shape == (3, 48)
    with pytest.raises(UnusableImageError) as caught:
        extractor.extract_batch(batch / 127 - 1)
    assert "leave normalisation out of your transform" in str(caught.value)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_extractor__subclass_gets_every_batch(tiny, folder, batch_size, capsys):
    """The published ``ProgressExtractor``, which also records its calls."""
    from tqdm import tqdm

    calls = []

    class ProgressExtractor(DINOv2Extractor):
        def extract_batch(self, batch):
            calls.append((len(batch), threading.current_thread()))
            with tqdm(total=len(batch), desc="Extracting") as pbar:
                features = super().extract_batch(batch)
                pbar.update(len(batch))
            return features

    (folder / "no.jpg").write_text("no picture")
    options = {"device": "cpu", "precision": "fp32", "batch_size": batch_size}
    extractor = ProgressExtractor(str(tiny.folder), **options)
    with pytest.warns(UnusableImageWarning):
        embeddings, ids = extractor.extract_from_directory(folder)
    assert sum(count for count, _ in calls) == len(ids) == 4
    assert max(count for count, _ in calls) == min(4, batch_size)
    assert {thread for _, thread in calls} == {threading.current_thread()}
    (folder / "no.jpg").unlink()
    assert torch.equal(embeddings, make(tiny).extract_from_directory(folder)[0])
    calls.clear()
    extractor.extract_single(folder / NAMES[0])
    assert [count for count, _ in calls] == [1]


def test_extractor__subclass_with_other_vectors(tiny, folder):
    class Mirrored(DINOv2Extractor):
        def extract_batch(self, batch):
            sides = super().extract_batch(batch), super().extract_batch(batch.flip(-1))
            return torch.cat(sides, dim=1)

    embeddings, _ = Mirrored(str(tiny.folder), precision="fp32").extract_from_directory(folder)
    plain_embeddings, _ = make(tiny).extract_from_directory(folder)
    assert embeddings.shape == (4, 96)
    assert torch.equal(embeddings[:, :48], plain_embeddings)
    assert not torch.equal(embeddings[:, 48:], plain_embeddings)


def test_extractor__subclass_that_returns_too_few(tiny, folder):
    class Losing(DINOv2Extractor):
        def extract_batch(self, batch):
            return super().extract_batch(batch)[1:]

    with pytest.raises(InvalidVectorsError):
        Losing(str(tiny.folder), precision="fp32").extract_from_directory(folder)


def test_extract_in_chunks__equals_one_call(extractor, folder):
    pieces = list(extractor.extract_in_chunks(folder, chunk_size=3))
    assert [len(ids) for _, ids in pieces] == [3, 1]
    embeddings, ids = extractor.extract_from_directory(folder)
    assert [each for _, ids in pieces for each in ids] == ids
    assert torch.equal(torch.cat([each for each, _ in pieces]), embeddings)


def test_extractor__keeps_torchs_number_of_threads(extractor, folder):
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        extractor.extract_from_directory(folder)
        extractor.extract_batch(np.zeros((1, 224, 224, 3), np.uint8))
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


def test_one_torch_thread__torch_imported_inside_the_block(tiny):
    """The number of threads is restored, although torch was not loaded before."""
    code = f"""
import sys
from dino_assets.compute.threads import one_torch_thread
from dino_assets.embeddings.encoder.choosing import build_engine
from dino_assets.embeddings.encoder.engine import EngineSpec, NetworkSource
from dino_assets.weights.checkpoint import read_checkpoint
from pathlib import Path
folder = Path({str(tiny.folder)!r})
source = NetworkSource(folder, read_checkpoint(folder, model="tiny"), 224)
with one_torch_thread():
    assert "torch" not in sys.modules
    build_engine(source, EngineSpec("torch", "cpu", "fp32", 1))
    import torch
    assert torch.get_num_threads() == 1
print(torch.get_num_threads())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    assert process.stdout.strip() == "2"


def test_extract_from_directory__refused_engine(tiny, folder, monkeypatch):
    """The engine is opened once, before a picture is read."""
    threads = []

    def refuse(*_: object, **__: object) -> None:
        threads.append(threading.current_thread())
        raise EngineRefusedError("none")

    monkeypatch.setattr(models, "open_encoder", refuse)
    extractor = make(tiny)
    monkeypatch.setattr(extractor, "_prepare", lambda _: pytest.fail("it was read"))
    with pytest.raises(EngineRefusedError):
        extractor.extract_from_directory(folder)
    assert threads == [threading.current_thread()]


def test_extractor__uses_several_devices(tiny, folder):
    wanted = make(tiny).extract_from_directory(folder)
    extractor = DINOv2Extractor(str(tiny.folder), device=["cpu", "cpu"], precision="fp32")
    assert extractor.device == "cpu,cpu"
    result = extractor.extract_from_directory(folder)
    assert result[1] == wanted[1]
    assert torch.equal(result[0], wanted[0])


def test_extractor__progress_can_be_switched(tiny, folder, capsys):
    for progress, is_shown in ((None, False), (False, False), (True, True)):
        make(tiny, progress=progress).extract_from_directory(folder)
        assert ("4/4" in capsys.readouterr().err) == is_shown


def test_extractor__relative_folder(tiny, tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "notebooks").mkdir(parents=True)
    (project / "dagster.yaml").touch()
    (project / "notebooks" / "model").symlink_to(tiny.folder)
    monkeypatch.chdir(project / "notebooks")
    extractor = DINOv2Extractor("model", precision="fp32")
    assert (extractor.model_name, extractor.dim) == ("model", 48)
    extractor.extract_single(np.zeros((9, 9, 3), np.uint8))
    assert (project / ".cache" / "engines").is_dir()


def test_extractor__warns_of_random_weights(checkpoint_dir, caplog):
    extractor = DINOv2Extractor(str(checkpoint_dir))
    assert "random weights" in caplog.text
    assert "random weights" in extractor.describe()["caveat"]


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"model_name": "dinov9-base"}, CheckpointNotFoundError, "dinov2-base"),
        ({"model_name": " "}, ConfigError, "model_name"),
        ({"batch_size": 0}, ConfigError, "batch_size"),
        ({"num_workers": -1}, ConfigError, "num_workers"),
        ({"precision": "int8"}, ConfigError, "precision"),
        ({"image_size": 225}, ConfigError, "16"),
        ({"device": "tpu"}, ConfigError, "tpu"),
        ({"device": []}, ConfigError, "device"),
    ],
)
def test_extractor__invalid_arguments(tiny, options, kind, named):
    with pytest.raises(kind) as caught:
        DINOv2Extractor(**{"model_name": str(tiny.folder), **options})
    assert named in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_extractor__missing_device(tiny):
    with pytest.raises(DeviceUnavailableError):
        DINOv2Extractor(str(tiny.folder), device="cuda:0")


def test_extract_single__no_warnings(extractor, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor.extract_from_directory(folder)
        for side in (224, 100):  # a tensor of read-only memory would warn
            extractor.extract_single(photo_bytes(side, side))
