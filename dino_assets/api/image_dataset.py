"""``ImageDataset``: a dataset of pictures for a PyTorch DataLoader.

This module imports torch; ``import dino_assets`` does not import this module.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from dino_assets.api.constants import IMAGE_SIZE
from dino_assets.api.given_pictures import to_picture
from dino_assets.api.image_files import IMAGE_COL, find_images
from dino_assets.embeddings.run.pictures import read_pixels, to_square
from dino_assets.errors import UnusableImageError

if TYPE_CHECKING:
    import pandas as pd


class ImageDataset(Dataset[tuple[Any, str]]):
    """Pictures of a folder, a CSV (``image_path``), a text list, a list of paths, or a DataFrame.

    An item is (picture, id). The picture is an upright uint8 tensor (3, 224, 224); batches of these fit
    ``DINOv2Extractor.extract_batch``. A ``transform`` receives the upright RGB Pillow image, and its result
    is the picture instead. Reading an unusable picture raises UnusableImageError.

    >>> from dino_assets import ImageDataset
    >>> picture, image_id = ImageDataset("path/to/photos")[0]
    >>> tuple(picture.shape), image_id
    ((3, 224, 224), 'DJI_0000.JPG')
    """

    def __init__(
        self,
        image_source: "str | Path | Sequence[str | Path] | pd.DataFrame",
        transform: Callable[[Image.Image], Any] | None = None,
        *,
        image_size: int = IMAGE_SIZE,
        image_col: str = IMAGE_COL,
    ) -> None:
        """List the pictures; none is opened yet.

        Raises:
            SourceError, ConfigError: there are no pictures, or the list cannot be read.
        """
        self._files = find_images(image_source, image_col=image_col)
        self.transform = transform
        self.image_size = image_size

    @property
    def image_ids(self) -> list[str]:
        """Ids in the order of the items."""
        return self._files.ids

    def __len__(self) -> int:
        """The number of pictures, including unusable ones."""
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        """Read the picture at ``index``; return it with its id.

        Raises:
            UnusableImageError: the file is not a usable picture; the message names it.
        """
        image_id = self._files.ids[index]
        try:
            pixels = read_pixels(to_picture(os.fspath(self._files.paths[index])))
        except UnusableImageError as err:
            raise UnusableImageError(err.reason, f"{image_id!r}: {err.detail}") from err
        if self.transform is not None:
            return self.transform(Image.fromarray(pixels)), image_id
        square = torch.tensor(to_square(pixels, self.image_size))
        return square.permute(2, 0, 1).contiguous(), image_id
