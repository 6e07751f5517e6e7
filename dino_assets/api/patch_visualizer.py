"""``PatchVisualizer``: attention maps, patch features and their similarity, as pictures and arrays."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dino_assets.api.patch_files import (
    FEATURES,
    PAGES,
    PICTURES,
    check_target,
    encode_features,
    encode_sheet,
)
from dino_assets.api.patch_reading import fall_back, open_reader, read_photo
from dino_assets.api.patch_references import BiasFinder, Debias
from dino_assets.embeddings.attention.components import Foreground, find_components
from dino_assets.embeddings.attention.grid import MAX_PX, PatchGrid, scale_to_grid
from dino_assets.embeddings.attention.likeness import compare_patches, take_out
from dino_assets.embeddings.attention.page import make_similarity_page
from dino_assets.embeddings.attention.pictures import (
    Photo,
    draw_attention,
    draw_components,
    draw_heads,
    draw_similarity,
)
from dino_assets.embeddings.attention.reader import Attention, check_index
from dino_assets.embeddings.encoder.tokens import Vectors
from dino_assets.errors import ConfigError, SourceError, UnusableImageError
from dino_assets.settings.environment import DEFAULT_MODEL
from dino_assets.store.targets import write_target
from dino_assets.weights.hub.filling import Progress
from dino_assets.weights.records import facts_of_caveat

log = logging.getLogger(__name__)

ImagePath = str | Path
View = Literal["attention", "heads", "pca", "similarity", "features"]


@dataclass(frozen=True)
class PatchView:
    """A written file, and facts about its content."""

    path: Path
    view: View
    facts: dict[str, Any]


class PatchVisualizer:
    """Attention maps and patch features of a DINOv2 or DINOv3 model, as pictures and as arrays.

    ``model_name`` is a folder, a Hub repository or a short name. ``device`` is auto, cpu, cuda, cuda:1 or
    mps; without a GPU, ``"cuda"`` gives a warning and the CPU is used. A picture whose longer side exceeds
    ``max_px`` is scaled down to it. Both sides are rounded down to whole patches.
    Everything is computed in float32, one picture at a time. Layers and heads count from 0; negative
    numbers count from the last. After an error no partial file remains.

    >>> from dino_assets import PatchVisualizer
    >>> visualizer = PatchVisualizer("dinov2-small", device="cpu")
    >>> _ = visualizer.visualize_attention("photo.jpg", "out/attention.png")

    Raises:
        CheckpointError: the model cannot be found, fetched or used; the subclasses say why.
        DeviceUnavailableError: this machine does not have the device.
    """

    def __init__(
        self,
        model_name: str = DEFAULT_MODEL,
        device: str | None = "auto",
        *,
        max_px: int = MAX_PX,
        revision: str | None = None,
        progress: Progress = lambda done, total: None,
    ) -> None:
        device = fall_back(device)
        self._reader = open_reader(model_name, device, revision=revision, progress=progress)
        self.checkpoint = self._reader.checkpoint
        self.max_px = max_px
        self._bias_finder = BiasFinder(self._reader, self._read)

    def attention(self, image_path: ImagePath, layer: int = -1) -> Attention:
        """Compute the attention of the CLS token to the patches, to the registers and to itself.

        The attention to the patches has the shape (heads, rows, columns).

        Raises:
            SourceError, UnusableImageError: the picture cannot be read or used.
            ConfigError: the layer does not exist.
        """
        return self._read_attention(self._read(image_path), layer)

    def patch_features(
        self, image_path: ImagePath, layer: int = -1, *, debias: Debias | None = None
    ) -> Vectors:
        """Compute patch features (rows, columns, D) of any layer, with the model's last norm applied.

        ``debias`` removes the part of the features that depends only on a patch's position. This part is
        measured on drawn pictures (``"noise"`` or ``"blank"``), or on your own pictures. For these, give a
        list of paths: some dozens, of all kinds of pictures.

        Raises:
            SourceError, UnusableImageError: a picture cannot be read or used.
            ConfigError: the layer does not exist.
        """
        return self._read_features(self._read(image_path), layer, debias)[0]

    def similarity(
        self,
        image_path: ImagePath,
        point: tuple[float, float],
        layer: int = -1,
        *,
        debias: Debias | None = None,
    ) -> Vectors:
        """Compute the cosine similarity (rows, columns) of all patches to the one at a point (x, y).

        The point is in pixels of the upright picture. ``debias`` is as for ``patch_features``.

        Raises:
            SourceError, UnusableImageError: a picture cannot be read or used.
            ConfigError: the point is outside the picture, or the layer does not exist.
        """
        photo = self._read(image_path)
        patch = photo.grid.find_patch(*point)
        features, _ = self._read_features(photo, layer, debias)
        return compare_patches(features, *patch)

    def visualize_attention(
        self,
        image_path: ImagePath,
        output_path: ImagePath,
        layer: int = -1,
        head: int | None = None,
    ) -> PatchView:
        """Draw the attention of one ``head`` over the picture; without ``head``, the mean of all heads.

        Raises:
            ConfigError: the layer or head does not exist, or the ending is not a picture's.
            SourceError, UnusableImageError: the picture cannot be read or used.
            TargetError, DiskFullError: the file cannot be written.
        """
        target = check_target(output_path, PICTURES, images=[image_path])
        if head is not None:
            head = check_index("head", head, self.checkpoint.heads)
        photo = self._read(image_path)
        attention = self._read_attention(photo, layer)
        sheet = draw_attention(photo, attention, head=head, checkpoint=self.checkpoint)
        write_target(target, encode_sheet(sheet, target.suffix))
        facts = {"head": head, "attention": attention.divide(head)}
        return self._describe("attention", target, [photo], attention.layer, facts)

    def visualize_heads(
        self, image_path: ImagePath, output_path: ImagePath, layer: int = -1
    ) -> PatchView:
        """Draw the attention of every head and the mean of all, on one colour scale.

        Raises:
            As ``visualize_attention``.
        """
        target = check_target(output_path, PICTURES, images=[image_path])
        photo = self._read(image_path)
        attention = self._read_attention(photo, layer)
        sheet = draw_heads(photo, attention, checkpoint=self.checkpoint)
        write_target(target, encode_sheet(sheet, target.suffix))
        heads = [attention.divide(head) for head in range(len(attention.patches))]
        return self._describe("heads", target, [photo], attention.layer, {"heads": heads})

    def visualize_pca(
        self,
        image_paths: ImagePath | Sequence[ImagePath],
        output_path: ImagePath,
        layer: int = -1,
        *,
        foreground: Foreground | None = None,
        debias: Debias | None = None,
        progress: Progress = lambda done, total: None,
    ) -> PatchView:
        """Draw the first three principal components of patch features as colours.

        All pictures share the same components. ``foreground`` keeps only the patches above or below the mean
        of the first component, as the DINOv2 paper does. The sign of a component is arbitrary, so ``"auto"``
        guesses the side; ``"above"`` and ``"below"`` set it. Unreadable pictures are left out with a warning
        each, if at least one is readable; ``facts["left_out"]`` lists them. ``debias`` is as for
        ``patch_features``. ``progress`` is called with the number of pictures so far and in all.

        Raises:
            ConfigError: there are no pictures, the layer does not exist, or the ending is not a picture's.
            SourceError, UnusableImageError: none of the pictures can be read.
            TargetError, DiskFullError: the file cannot be written.
        """
        paths = [image_paths] if isinstance(image_paths, str | Path) else list(image_paths)
        if not paths:
            raise ConfigError(
                "image_paths is empty; give at least one picture", setting="image_paths"
            )
        target = check_target(output_path, PICTURES, images=paths)
        layer = check_index("layer", layer, self.checkpoint.layers)
        photos, features = [], []
        left_out: list[dict[str, str]] = []
        for number, path in enumerate(paths):
            progress(number, len(paths))
            try:
                photo = self._read(path)
            except (SourceError, UnusableImageError) as err:
                if len(left_out) == len(paths) - 1:
                    raise
                log.warning("leaving out a picture: %s", err)
                left_out.append({"image": str(path), "reason": str(err)})
                continue
            features.append(self._read_features(photo, layer, debias)[0])
            photos.append(photo)
        components = find_components(features, foreground=foreground)
        sheet = draw_components(photos, components, layer=layer, checkpoint=self.checkpoint)
        write_target(target, encode_sheet(sheet, target.suffix))
        facts: dict[str, Any] = {
            "variance": list(components.shares),
            "foreground": components.side,
            "left_out": left_out,
        }
        return self._describe("pca", target, photos, layer, facts)

    def visualize_similarity(
        self,
        image_path: ImagePath,
        output_path: ImagePath,
        point: tuple[float, float] | None = None,
        layer: int = -1,
        *,
        debias: Debias | None = None,
    ) -> PatchView:
        """Write a page that shows patches similar to a clicked one, or a picture for one ``point`` (x, y).

        The ending of ``output_path`` decides between page and picture. An ``.html`` page is one file that
        needs no network; it starts with ``point`` if that is given. A picture needs a ``point``. Page and
        picture say whether the position bias was removed. ``debias`` is as for ``patch_features``.

        Raises:
            ConfigError: the ending is unknown, the layer does not exist, or the point is outside the picture
                or missing.
            SourceError, UnusableImageError: a picture cannot be read or used.
            TargetError, DiskFullError: the file cannot be written.
        """
        target = check_target(output_path, (*PAGES, *PICTURES), images=[image_path])
        is_page = target.suffix.lower() in PAGES
        layer = check_index("layer", layer, self.checkpoint.layers)
        if point is None and not is_page:
            raise ConfigError(
                "a picture shows the similarity to one patch: give a point (x, y) in pixels of the input "
                "picture, or an output file that ends in .html",
                setting="point",
            )
        photo = self._read(image_path)
        patch = None if point is None else photo.grid.find_patch(*point)
        features, origin = self._read_features(photo, layer, debias)
        words: dict[str, Any] = {"layer": layer, "debias": origin, "checkpoint": self.checkpoint}
        if is_page:
            page = make_similarity_page(photo, features, patch=patch, **words)
            write_target(target, page.encode())
        elif patch is not None:
            values = compare_patches(features, *patch)
            sheet = draw_similarity(photo, values, patch=patch, **words)
            write_target(target, encode_sheet(sheet, target.suffix))
        facts = {"patch": patch, "debias": origin}
        return self._describe("similarity", target, [photo], layer, facts)

    def save_patch_features(
        self,
        image_path: ImagePath,
        output_path: ImagePath,
        layer: int = -1,
        *,
        debias: Debias | None = None,
    ) -> PatchView:
        """Save patch features (rows, columns, D) and facts about them as ``.npz`` or ``.pt``.

        ``debias`` is as for ``patch_features``.

        Raises:
            ConfigError: the layer does not exist, or the ending is unknown.
            SourceError, UnusableImageError: a picture cannot be read or used.
            TargetError, DiskFullError: the file cannot be written.
        """
        target = check_target(output_path, FEATURES, images=[image_path])
        layer = check_index("layer", layer, self.checkpoint.layers)
        photo = self._read(image_path)
        features, origin = self._read_features(photo, layer, debias)
        view = self._describe("features", target, [photo], layer, {"debias": origin})
        facts = {**view.facts, **_describe_grid(photo.grid), "image": photo.name}
        del facts["images"]
        without_none = {name: "" if value is None else value for name, value in facts.items()}
        write_target(target, encode_features(features, without_none, target.suffix))
        return view

    def _read(self, path: ImagePath) -> Photo:
        return read_photo(path, patch_px=self.checkpoint.patch_px, max_px=self.max_px)

    def _read_attention(self, photo: Photo, layer: int) -> Attention:
        return self._reader.read_attention(scale_to_grid(photo.pixels, photo.grid), layer=layer)

    def _read_features(
        self, photo: Photo, layer: int, debias: Debias | None
    ) -> tuple[Vectors, str | None]:
        """Compute features; also return which pictures the bias was measured on, None without ``debias``."""
        pixels = scale_to_grid(photo.pixels, photo.grid)
        features = self._reader.read_features(pixels, layer=layer)
        if debias is None:
            return features, None
        layer = check_index("layer", layer, self.checkpoint.layers)
        bias = self._bias_finder.find(photo.grid, layer, debias)
        return take_out(features, bias), bias.origin

    def _describe(
        self, view: View, path: Path, photos: Sequence[Photo], layer: int, facts: dict[str, Any]
    ) -> PatchView:
        checkpoint = self.checkpoint
        images = [{"image": photo.name, **_describe_grid(photo.grid)} for photo in photos]
        common = {
            "model": checkpoint.model,
            "revision": checkpoint.revision,
            "layer": layer,
            "layers": checkpoint.layers,
            "images": images,
        }
        return PatchView(path, view, common | facts | facts_of_caveat(checkpoint.caveat))


def _describe_grid(grid: PatchGrid) -> dict[str, int]:
    return {
        "width": grid.width,
        "height": grid.height,
        "rows": grid.rows,
        "columns": grid.columns,
        "patch_px": grid.patch_px,
    }
