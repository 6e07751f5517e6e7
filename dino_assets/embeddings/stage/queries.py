"""Queries for tiles, as vectors of a space: a tile's id, a vector, or an outside picture that is embedded."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.engine import Encoder, NetworkSource
from dino_assets.embeddings.encoder.ready import ReadyEncoder, open_encoder
from dino_assets.embeddings.encoder.tokens import TokenName
from dino_assets.embeddings.regions import REGIONS, mark_patches, place_tile
from dino_assets.embeddings.run.embed_images import embed_images
from dino_assets.embeddings.run.pictures import read_picture, read_pixels
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.finding import read_vector
from dino_assets.embeddings.stage.pool import check_embedded
from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import cut_tiles, is_whole, make_grid
from dino_assets.weights.stage import OUTPUT as WEIGHTS
from dino_assets.weights.stage import checkpoint_folder, checkpoint_of

Query = str | os.PathLike[str] | NDArray[np.float32]
Window = tuple[int, ...]  # x, y, width and height, or empty for the whole picture
# A function that embeds a window of a picture (H, W, 3) as the tiles were embedded.
EmbedWindow = Callable[[NDArray[np.uint8], Window], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class QueryVector:
    """The vector of a query, and the id of the tile if the query is a tile."""

    vector: NDArray[np.float32]
    tile_id: str = ""


def read_query(
    embeddings: CommittedTable, query: Query, column: str, *, embed: EmbedWindow
) -> QueryVector:
    """Read the vector of a query, for a search in ``column``: cls, mean, or regions.

    ``embed`` is only called for a picture.

    Raises:
        ConfigError: there is no such file or tile, or a window is not inside its picture.
        InvalidVectorsError: a .npy file holds no vector.
        UnusableImageError: a picture cannot be used.
    """
    if isinstance(query, np.ndarray):
        return QueryVector(np.asarray(query, np.float32))
    file, window = split_window(query)
    if not file.is_file():
        return QueryVector(read_vector(embeddings, os.fspath(query), column), os.fspath(query))
    if not window and file.suffix.lower() == ".npy":
        return QueryVector(_load(file))
    return QueryVector(embed(*_read_picture(file, _read_window(window) if window else ())))


def split_window(query: str | os.PathLike[str]) -> tuple[Path, str]:
    """Split ``photo.jpg:x,y,w,h`` into the file and the window, which is empty for a whole picture."""
    name, _, window = os.fspath(query).rpartition(":")
    whole = Path(os.fspath(query))
    return (Path(name), window) if name and window and not whole.is_file() else (whole, "")


def _load(file: Path) -> NDArray[np.float32]:
    try:
        return np.asarray(np.load(file, allow_pickle=False), np.float32).squeeze()
    except (ValueError, TypeError, EOFError) as err:
        raise InvalidVectorsError(
            f"{file} holds no vector of numbers ({err}). Write one with numpy.save, for example a row of "
            "`Project.vectors`"
        ) from err


def _read_window(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() for number in numbers):
        raise ConfigError(
            f"the window {text!r} is not x,y,w,h in pixels. Write, for example, photo.jpg:1200,800,512,512",
            setting="query",
            value=text,
        )
    return tuple(map(int, numbers))


def _read_picture(file: Path, window: Window) -> tuple[NDArray[np.uint8], Window]:
    """Read the pixels of a picture, and check that a window is inside it."""
    pixels = read_pixels(read_picture(file))
    if not window:
        return pixels, window
    x, y, width, height = window
    if not width or not height or x + width > pixels.shape[1] or y + height > pixels.shape[0]:
        raise ConfigError(
            f"the window {x},{y},{width},{height} is not inside {file}, which has "
            f"{pixels.shape[1]}×{pixels.shape[0]} px. Write x,y,w,h of the upright picture",
            setting="query",
            value=str(file),
        )
    return pixels, window


def cut_out(pixels: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """Cut a window out of a picture; without a window, return the picture."""
    if not window:
        return pixels
    x, y, width, height = window
    return np.ascontiguousarray(pixels[y : y + height, x : x + width])


@dataclass(frozen=True)
class SpaceEncoders:
    """Everything that opening a space's encoder needs: the store with the weights, compute settings, cache.

    ``resolve`` chooses a device of this machine. It is only called to open an encoder, because it loads torch.
    """

    store: ObjectStore
    resolve: Callable[[], ComputeSettings]
    cache: Path

    def open(self, space: Mapping[str, Any], output: TokenName) -> ReadyEncoder:
        """Open the encoder of the stored weights, with the side and precision of a space."""
        weights = read_manifest(self.store, WEIGHTS)
        source = NetworkSource(
            checkpoint_folder(self.store, weights, cache=self.cache),
            checkpoint_of(weights),
            int(space["side_px"]),
            (output,),
        )
        compute = replace(self.resolve(), precision=space["precision"])
        return open_encoder(source, compute, cache=self.cache)

    def embed(
        self,
        embeddings: CommittedTable,
        pixels: NDArray[np.uint8],
        window: Window,
        column: str,
    ) -> NDArray[np.float32]:
        """Embed a window of an outside picture as the tiles of ``embeddings`` were.

        For a search in regions, a window is not enlarged: the tile around it is embedded, and the patches inside
        the window are averaged, as they are in the regions of the stored tiles. If the window is larger than
        a tile, or if no window is given, only the middle counts.

        Raises:
            ConfigError: the stored weights are not those of the space.
            NotCommittedError: nothing is embedded in this space.
        """
        check_embedded(embeddings)
        space = embeddings.manifests[0].recipe.config["space"]
        self._check_space(embeddings, space)
        if column == REGIONS:
            return _embed_region(self.open(space, "patches").encoder, pixels, window)
        output: TokenName = column  # type: ignore[assignment]
        encoder = self.open(space, output).encoder
        (result,) = embed_images([cut_out(pixels, window)], encoder, column=output)
        if result.vector is None:
            raise result.refusal or AssertionError("a picture gives a vector or a refusal")
        return np.asarray(result.vector, np.float32)

    def _check_space(self, embeddings: CommittedTable, space: Mapping[str, Any]) -> None:
        checkpoint = checkpoint_of(read_manifest(self.store, WEIGHTS))
        compute = ComputeSettings(precision=space["precision"])
        own = current_space(checkpoint, compute, tile_px=int(space["side_px"]))
        if own != embeddings.space:
            raise ConfigError(
                f"the picture would be embedded in space {own}, and the tiles are in space {embeddings.space}: "
                "their weights differ. Give a tile or a vector instead",
                setting="query",
                value=own,
            )


def _embed_region(
    encoder: Encoder, pixels: NDArray[np.uint8], window: Window
) -> NDArray[np.float32]:
    """Embed the tile around a window of a picture, and average the patches inside the window."""
    side_px, patch_px = encoder.source.side_px, encoder.source.checkpoint.patch_px
    height, width = pixels.shape[:2]
    tile, span_px = (0, 0, width, height), 0
    if not is_whole(width, height, make_grid(side_px, patch_px=patch_px)):
        tile, span_px = place_tile(window or tile, width, height, side_px), side_px
    (patches,) = encoder.encode(cut_tiles(pixels, np.array([tile]), side_px, span_px=span_px))[
        "patches"
    ]
    side = side_px // patch_px
    inside = mark_patches(window or tile, tile, (span_px or width, span_px or height), side)
    return np.asarray(patches.reshape(side, side, -1)[inside].mean(axis=(0, 1)))
