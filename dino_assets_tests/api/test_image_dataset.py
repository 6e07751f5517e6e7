"""``ImageDataset``: sources, transforms, unusable pictures, DataLoader workers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dino_assets import DINOv2Extractor, ImageDataset
from dino_assets.errors import ConfigError, SourceError, UnusableImageError
from dino_assets_tests.worlds.pictures import NAMES, write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "images")


@pytest.mark.parametrize("workers", [0, 2])
def test_image_dataset__in_a_data_loader(tiny, folder, workers):
    extractor = DINOv2Extractor(str(tiny.folder), device="cpu", precision="fp32")
    dataset = ImageDataset(str(folder))
    assert isinstance(dataset, Dataset)
    batches, ids = [], []
    for pictures, names in DataLoader(dataset, batch_size=3, num_workers=workers):
        assert (pictures.dtype, pictures.shape[1:]) == (torch.uint8, (3, 224, 224))
        batches.append(extractor.extract_batch(pictures))
        ids += names
    wanted, names = extractor.extract_from_directory(folder)
    assert ids == names == dataset.image_ids
    assert torch.equal(torch.cat(batches), wanted)


def test_image_dataset__transform_gets_the_whole_picture(folder):
    dataset = ImageDataset(folder, transform=lambda image: (type(image), image.mode, image.size))
    assert dataset[0] == ((Image.Image, "RGB", (300, 240)), NAMES[0])


def test_image_dataset__every_kind_of_source(folder, tmp_path):
    paths = [str(folder / name) for name in NAMES[:2]]
    (tmp_path / "a.csv").write_text("image_path,label\n" + "".join(f"{p},x\n" for p in paths))
    (tmp_path / "a.txt").write_text("\n".join(paths))
    table = pd.DataFrame({"file": paths})
    for dataset in (
        ImageDataset(paths),
        ImageDataset(str(tmp_path / "a.csv")),
        ImageDataset(tmp_path / "a.txt"),
        ImageDataset(table, image_col="file"),
    ):
        assert dataset.image_ids == paths
        assert dataset[1][0].shape == (3, 224, 224)
    with pytest.raises(ConfigError):
        ImageDataset(table)
    with pytest.raises(SourceError):
        ImageDataset(str(tmp_path / "absent.csv"))


def test_image_dataset__another_size(folder):
    picture, _ = ImageDataset(folder, image_size=98)[0]
    with Image.open(folder / NAMES[0]) as image:
        wanted = np.asarray(image.resize((98, 98), Image.Resampling.BILINEAR))
    assert np.array_equal(picture.permute(1, 2, 0), wanted)


def test_image_dataset__names_an_unusable_picture(folder):
    (folder / "no.jpg").write_text("no picture")
    dataset = ImageDataset(folder)
    assert len(dataset) == 5
    with pytest.raises(UnusableImageError) as caught:
        dataset[dataset.image_ids.index("no.jpg")]
    assert caught.value.reason == "not-an-image"
    assert "'no.jpg'" in str(caught.value)
