"""Queries of ``Project.find``: a tile's id, a vector, or a picture that is embedded as the tiles were."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.finding import read_vector
from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.store.commits.reading import CommittedTable

if TYPE_CHECKING:
    from dino_assets.api.project import Project

Query = str | os.PathLike[str] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class QueryVector:
    """The vector of a query, and the id of the tile if the query is a tile."""

    vector: NDArray[np.float32]
    tile_id: str = ""


def read_query(
    project: "Project", embeddings: CommittedTable, query: Query, column: EmbeddingColumn
) -> QueryVector:
    """Read the vector of a query.

    Raises:
        ConfigError: there is no such file or tile, or a picture's vector would be of another space.
        InvalidVectorsError: a .npy file holds no vector.
        UnusableImageError: a picture cannot be used.
    """
    if isinstance(query, np.ndarray):
        return QueryVector(np.asarray(query, np.float32))
    name, _, window = os.fspath(query).partition(":")
    file = Path(os.fspath(query))
    if file.is_file() and file.suffix.lower() == ".npy":
        return QueryVector(_load(file))
    if file.is_file():
        return QueryVector(_embed(project, embeddings, file, (), column))
    if window and Path(name).is_file():
        return QueryVector(_embed(project, embeddings, Path(name), _read_window(window), column))
    return QueryVector(read_vector(embeddings, os.fspath(query), column), os.fspath(query))


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


def _embed(
    project: "Project",
    embeddings: CommittedTable,
    file: Path,
    window: tuple[int, ...],
    column: EmbeddingColumn,
) -> NDArray[np.float32]:
    """Embed a picture, or a window of it, by the project's weights and engine.

    Raises:
        ConfigError: the window is not inside the picture, or the vector would be of another space.
        UnusableImageError: the picture cannot be used.
    """
    from dino_assets.api.embed import embed
    from dino_assets.embeddings.run.pictures import read_picture, read_pixels

    pixels = read_pixels(read_picture(file))
    if window:
        x, y, width, height = window
        if not width or not height or x + width > pixels.shape[1] or y + height > pixels.shape[0]:
            raise ConfigError(
                f"the window {x},{y},{width},{height} is not inside {file}, which has "
                f"{pixels.shape[1]}×{pixels.shape[0]} px. Write x,y,w,h of the upright picture",
                setting="query",
                value=str(file),
            )
        pixels = np.ascontiguousarray(pixels[y : y + height, x : x + width])
    embedded = embed(
        pixels, model=str(project.checkpoint()), column=column, whole=True, progress=False
    )
    if embedded.space != embeddings.space:
        raise ConfigError(
            f"the picture would be embedded in space {embedded.space}, and the tiles are in space "
            f"{embeddings.space}: their weights, tile side or precision differ. Give a tile or a vector instead",
            setting="query",
            value=str(file),
        )
    return np.asarray(embedded.vectors[0], np.float32)
