"""Classes that the committed probe or the prototypes suggest for tiles, and the order of tiles by uncertainty or similarity."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.stage.finding import read_vector
from dino_assets.embeddings.stage.pool import has_column, read_parts
from dino_assets.numerics.search import measure_cosines
from dino_assets.probes.stage.suggesting import (
    SuggestedClass,
    SuggestionTables,
    suggest_by_probe,
    suggest_classes,
)
from dino_assets.serving.studio.tile_lookup import TileLookup, TileName


def suggest(
    lookup: TileLookup, space: str | None, tiles: Sequence[TileName]
) -> dict[str, SuggestedClass]:
    """Suggest classes for tiles by the probe of a space; without a probe, by its prototypes, if there are any."""
    if space is None:
        return {}
    tables = SuggestionTables(
        lookup.open("probes", space), lookup.open("embeddings", space), lookup.open("tiles")
    )
    return suggest_classes(tables, {tile.tile_id: tile.drop for tile in tiles})


def order_by_uncertainty(
    lookup: TileLookup, space: str | None, tile_ids: Sequence[str]
) -> list[int] | None:
    """Order tiles, the most uncertain first; tiles that the probe has not seen come last.

    Return None if there is no probe.
    """
    suggestions = {} if space is None else suggest_by_probe(lookup.open("probes", space), tile_ids)
    if not suggestions:
        return None
    entropies = {tile_id: each.entropy for tile_id, each in suggestions.items()}
    uncertainty = [
        -1.0 if (entropy := entropies.get(each)) is None else entropy for each in tile_ids
    ]
    return [int(each) for each in np.argsort(-np.array(uncertainty), kind="stable")]


def order_by_likeness(
    lookup: TileLookup, space: str, tile_ids: Sequence[str], *, like: str
) -> list[int]:
    """Order tiles by their cosine with the tile ``like``; tiles without a vector come last.

    Raises:
        ConfigError: the tile ``like`` has no vector in this space.
    """
    embeddings = lookup.open("embeddings", space)
    columns = [c for c in ("cls", "mean") if all(has_column(m, c) for m in embeddings.manifests)]
    column = columns[0] if columns else "cls"
    query = read_vector(embeddings, like, column)
    cosines: NDArray[np.float64] = np.full(len(tile_ids), -2.0)
    ids = pa.array(list(tile_ids), pa.string())
    for _, part in read_parts(embeddings, column, ["tile_id"]):
        rows = pc.index_in(ids, value_set=part["tile_id"].combine_chunks())
        places = np.flatnonzero(rows.is_valid().to_numpy(False))
        if len(places):
            vectors = to_matrix(part.take(rows.drop_null())[column])
            cosines[places] = measure_cosines(vectors, query)
    return [int(each) for each in np.argsort(-cosines, kind="stable")]
