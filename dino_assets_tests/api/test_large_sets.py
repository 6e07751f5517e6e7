"""Functions around an extractor: batches, scales, large data sets, embedding files."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dino_assets import (
    CachedExtractor,
    DINOv2Extractor,
    UnusableImageWarning,
    extract_embeddings,
    extract_multiscale_features,
    parallel_extract,
    process_large_dataset,
    save_embeddings,
    write_embeddings,
)
from dino_assets.errors import ConfigError, SourceError, TargetError, UnusableImageError
from dino_assets_tests.worlds.networks import compute_expected
from dino_assets_tests.worlds.pictures import NAMES, embed_plainly, write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "images")


@pytest.fixture
def options(tiny) -> dict:
    return {"model_name": str(tiny.folder), "device": "cpu", "precision": "fp32"}


def assert_close(result: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-5)


def test_extract_embeddings__published_probe_learns(tiny, options):
    """The published loop over a loader, with other data and another number of classes."""
    rng = np.random.default_rng(0)
    labels = torch.arange(16) % 2
    images = torch.from_numpy(rng.random((16, 3, 224, 224), dtype=np.float32)) * 0.4
    images[labels == 1, 0] += 0.5
    probe = torch.nn.Linear(48, 2)
    optimizer = torch.optim.Adam(probe.parameters(), lr=1e-1)
    losses = []
    for _ in range(10):
        embeddings = extract_embeddings(images, **options)
        logits = probe(embeddings.mean(dim=1))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert embeddings.shape == (16, 196, 48)
    assert not embeddings.requires_grad
    assert losses[-1] < losses[0] / 2
    tiles = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert_close(embeddings, torch.from_numpy(compute_expected(tiny, tiles).patches))


def test_extract_multiscale_features__concatenates_three_sizes(tiny, folder, options):
    path = folder / NAMES[0]
    features = extract_multiscale_features(path, **options)
    wanted = [embed_plainly(tiny, [path], side=side)[0] for side in (112, 224, 336)]
    assert_close(features, torch.cat(wanted))
    extractor = DINOv2Extractor(**options)
    odd_features = extract_multiscale_features(str(path), [0.01, 0.52], extractor=extractor)
    assert_close(
        odd_features, torch.cat([embed_plainly(tiny, [path], side=s)[0] for s in (16, 112)])
    )
    assert extractor.image_size == 224


@pytest.mark.parametrize("scales", [[], [0], [-1.0], [float("nan")], [1.0, 1e9]])
def test_extract_multiscale_features__invalid_scales(folder, options, scales):
    with pytest.raises(ConfigError) as caught:
        extract_multiscale_features(folder / NAMES[0], scales, **options)
    assert caught.value.setting == "scales"


def test_extract_multiscale_features__unusable_picture(options):
    with pytest.raises(UnusableImageError):
        extract_multiscale_features("absent.jpg", **options)


def test_process_large_dataset__equals_one_call(folder, options):
    (folder / "a.png").write_bytes((folder / NAMES[0]).read_bytes())
    (folder / "no.jpg").write_text("no picture")
    with pytest.warns(UnusableImageWarning):
        embeddings = process_large_dataset(folder, chunk_size=2, **options)
    wanted, _ = DINOv2Extractor(**options).extract_from_directory(folder, "[ai]*.[jp]*g")
    assert torch.equal(embeddings, wanted)
    with pytest.raises(ConfigError):
        process_large_dataset(folder, chunk_size=0, **options)


def test_write_embeddings__one_row_group_per_chunk(folder, options, tmp_path):
    (folder / "no.jpg").write_text("no picture")
    with pytest.warns(UnusableImageWarning):
        rows = write_embeddings(folder, tmp_path / "out" / "e.parquet", chunk_size=2, **options)
    file = pq.ParquetFile(tmp_path / "out" / "e.parquet")
    assert (rows, file.num_row_groups) == (4, 2)  # all pictures of the last chunk are unusable
    table = file.read()
    wanted, ids = DINOv2Extractor(**options).extract_from_directory(folder, "img*")
    assert table["image_id"].to_pylist() == ids
    assert np.array_equal(np.stack(table["embedding"].to_numpy()), wanted.numpy())
    description = json.loads(file.schema_arrow.metadata[b"dino_assets"])
    assert description["model_name"] == options["model_name"]
    assert description["metadata"]["image_size"] == 224
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["e.parquet"]


def test_write_embeddings__memory_of_one_chunk(options, tmp_path):
    names = [f"{number}.jpg" for number in range(40)]
    folder = write_pictures(tmp_path / "many", names[:1])
    for name in names[1:]:
        (folder / name).hardlink_to(folder / names[0])
    extractor = CachedExtractor(tmp_path / "cache", **options)
    write_embeddings(folder, tmp_path / "e.parquet", extractor=extractor)
    peaks = []
    for repeats in (1, 20):
        paths = [str(folder / name) for name in names * repeats]
        tracemalloc.start()
        rows = write_embeddings(paths, tmp_path / "e.parquet", chunk_size=40, extractor=extractor)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert rows == len(paths)
    assert peaks[1] < peaks[0] + 500 * len(names) * 20  # names and row groups, without vectors


def test_write_embeddings__unwritable_paths(folder, options, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TargetError):
        write_embeddings(folder, tmp_path / "file" / "e.parquet", **options)
    with pytest.raises(ConfigError) as caught:
        write_embeddings(folder, tmp_path / "e.csv", **options)
    assert caught.value.setting == "output_path"


@pytest.mark.parametrize("ending", [".parquet", ".npz", ".pt"])
def test_write_embeddings__no_usable_picture(options, tmp_path, ending):
    (tmp_path / "no.jpg").write_text("no picture")
    (tmp_path / f"e{ending}").write_text("older")
    with pytest.warns(UnusableImageWarning), pytest.raises(SourceError) as caught:
        write_embeddings(["no.jpg"], tmp_path / f"e{ending}", **options)
    assert caught.value.reason == "no-images"
    assert (tmp_path / f"e{ending}").read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 2


def test_write_embeddings__every_ending_holds_the_same(folder, options, tmp_path):
    extractor = DINOv2Extractor(**options)
    wanted, ids = extractor.extract_from_directory(folder)
    for name in ("e.pt", "E.NPZ"):
        rows = write_embeddings(folder, tmp_path / name, chunk_size=3, extractor=extractor)
        assert rows == 4
    content = torch.load(tmp_path / "e.pt", weights_only=True)
    assert torch.equal(content["embeddings"], wanted)
    assert content["metadata"]["engine"].endswith(" fp32 on cpu")
    with np.load(tmp_path / "E.NPZ", allow_pickle=False) as arrays:
        assert arrays["image_ids"].tolist() == ids


def test_parallel_extract__one_device(folder, options):
    paths = [folder / name for name in NAMES]
    embeddings, ids = parallel_extract(paths, **options)
    wanted = DINOv2Extractor(**options).extract_from_list(paths)
    assert ids == wanted[1]
    assert torch.equal(embeddings, wanted[0])


@pytest.mark.parametrize("device", [None, ["cpu", "cpu", "cpu"]])
def test_parallel_extract__several_devices_or_the_default(folder, options, device):
    paths = [folder / name for name in NAMES] * 3
    wanted, _ = DINOv2Extractor(**options).extract_from_list(paths)
    embeddings, ids = parallel_extract(paths, n_workers=2, **{**options, "device": device})
    assert ids == [str(path) for path in paths]
    assert_close(embeddings, wanted)
    with pytest.raises(ConfigError):
        parallel_extract(paths, n_workers=0, **options)


def test_save_embeddings__opens_without_code(folder, options, tmp_path):
    extractor = DINOv2Extractor(**options)
    embeddings, ids = extractor.extract_from_directory(folder)
    path = extractor.save_embeddings(embeddings, ids, str(tmp_path / "new" / "embeddings.pt"))
    content = torch.load(path, weights_only=True)
    assert set(content) == {"embeddings", "image_ids", "model_name", "timestamp", "metadata"}
    assert torch.equal(content["embeddings"], embeddings)
    assert content["image_ids"] == ids
    assert content["model_name"] == options["model_name"]
    assert content["timestamp"].startswith("20")
    assert content["metadata"] == extractor.describe()
    assert content["metadata"]["space"] == extractor.space


def test_save_embeddings__writes_only_the_view(tmp_path):
    tensor = torch.zeros(10_000, 48)
    save_embeddings(tensor[:2], ["a", "b"], tmp_path / "e.pt")
    assert (tmp_path / "e.pt").stat().st_size < 10_000


def test_save_embeddings__arrays_and_tables(tmp_path):
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    for name in ("e.npz", "e.parquet"):
        save_embeddings(matrix, ["a", "ü/b"], tmp_path / name, model_name="m", metadata={"dim": 3})
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["embeddings"], matrix)
        assert arrays["image_ids"].tolist() == ["a", "ü/b"]
        assert str(arrays["model_name"]) == "m"
        assert json.loads(str(arrays["metadata"])) == {"dim": 3}
    table = pq.read_table(tmp_path / "e.parquet")
    assert table["image_id"].to_pylist() == ["a", "ü/b"]
    assert np.array_equal(np.stack(table["embedding"].to_numpy()), matrix)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_save_embeddings__tensors_of_any_precision(kind, tmp_path):
    tensor = torch.arange(6).reshape(2, 3).to(kind)
    save_embeddings(tensor, ["a", "b"], tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["embeddings"].dtype == np.float32
        assert np.array_equal(arrays["embeddings"], tensor.float().numpy())
    save_embeddings(tensor, ["a", "b"], tmp_path / "e.parquet")
    assert pq.read_table(tmp_path / "e.parquet").num_rows == 2


@pytest.mark.parametrize("name", ["e", "e.pth", ".e", "ü e"])
def test_save_embeddings__other_endings_mean_pt(name, tmp_path):
    path = save_embeddings(torch.ones(1, 3), ["a"], tmp_path / name)
    assert path == tmp_path / name
    assert torch.load(path, weights_only=True)["image_ids"] == ["a"]
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"]])
def test_save_embeddings__wrong_number_of_ids(tmp_path, ids):
    with pytest.raises(ConfigError) as caught:
        save_embeddings(torch.zeros(2, 3), ids, tmp_path / "e.pt")
    assert caught.value.setting == "image_ids"
    assert list(tmp_path.iterdir()) == []


def test_save_embeddings__keeps_the_older_file_on_failure(tmp_path):
    (tmp_path / "e.pt").mkdir()
    with pytest.raises(TargetError):
        save_embeddings(torch.zeros(1, 3), ["a"], tmp_path / "e.pt")
