"""Queries of ``Project.find``: a tile's id, a vector, or a picture that is embedded as the tiles were."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from dino_assets.compute.devices import resolve_compute
from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.stage import queries
from dino_assets.embeddings.stage.queries import Query, QueryVector, SpaceEncoders
from dino_assets.settings.environment import find_cache
from dino_assets.settings.hub import find_engine_cache
from dino_assets.store.commits.reading import CommittedTable

if TYPE_CHECKING:
    from dino_assets.api.project import Project


def read_query(
    project: "Project", embeddings: CommittedTable, query: Query, column: str
) -> QueryVector:
    """Read the vector of a query, for a search in ``column``: cls, mean, or regions.

    Raises:
        ConfigError: there is no such file or tile, or a picture's vector would be of another space.
        InvalidVectorsError: a .npy file holds no vector.
        UnusableImageError: a picture cannot be used.
    """
    settings = project.settings
    compute = ComputeSettings(device=settings.device)  # type: ignore[arg-type]
    encoders = SpaceEncoders(
        project.store, lambda: resolve_compute(compute), find_engine_cache(settings.root)
    )
    embed = partial(encoders.embed, embeddings, column=column)
    return queries.read_query(embeddings, query, column, embed=embed)


def open_with_copies(project: "Project", asset: str, *, space: str | None = None) -> CommittedTable:
    """Open a table of a project that is read from copies in the project's cache folder."""
    from dino_assets.store.commits.mapped import MappedParts

    copies = MappedParts(find_cache(project.settings.root) / "tables")
    return replace(project.table(asset, space=space), copies=copies)
