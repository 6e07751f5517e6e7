"""Classes that the committed probe or the prototypes suggest for tiles, and the order of tiles by uncertainty or similarity."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.stage.finding import read_vector
from dino_assets.embeddings.stage.pool import has_column, read_parts
from dino_assets.errors import CorruptObjectError, NotCommittedError
from dino_assets.numerics.search import measure_cosines
from dino_assets.probes.stage.heat_maps_sources import find_sources, score_tiles
from dino_assets.serving.studio.tile_lookup import TileLookup, TileName

_COLUMNS = ["tile_id", "class_name", "probability", "entropy"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SuggestedClass:
    """A suggested class, its probability, and how uncertain the probe is (entropy).

    A prototype only says that few tiles are more like its examples: then both numbers are None.
    """

    class_name: str
    probability: float | None = None
    entropy: float | None = None


def suggest(
    lookup: TileLookup, space: str | None, tiles: Sequence[TileName]
) -> dict[str, SuggestedClass]:
    """Suggest classes for tiles by the probe of a space; without a probe, by its prototypes, if there are any."""
    if space is None or not tiles:
        return {}
    by_probe = suggest_by_probe(lookup, space, [tile.tile_id for tile in tiles])
    return by_probe or _suggest_by_prototypes(lookup, space, tiles)


def suggest_by_probe(
    lookup: TileLookup, space: str, tile_ids: Sequence[str]
) -> dict[str, SuggestedClass]:
    """Suggest classes for tiles by the probe of a space; without a probe, none."""
    try:
        probes = lookup.open("probes", space)
        if not probes.manifests:
            return {}
        table = probes.read(columns=_COLUMNS)
    except (NotCommittedError, CorruptObjectError, pa.ArrowInvalid) as err:
        log.warning("the probe of space %s cannot be read, so it suggests nothing: %s", space, err)
        return {}
    rows = table.filter(pc.is_in(table["tile_id"], pa.array(list(tile_ids), pa.string())))
    columns = (rows[name].to_pylist() for name in _COLUMNS)
    return {
        tile_id: SuggestedClass(class_name, probability, entropy)
        for tile_id, class_name, probability, entropy in zip(*columns, strict=True)
    }


def _suggest_by_prototypes(
    lookup: TileLookup, space: str, tiles: Sequence[TileName]
) -> dict[str, SuggestedClass]:
    """Suggest for each tile the prototype that it is most like, if its score reaches that prototype's threshold."""
    embeddings = lookup.open("embeddings", space)
    try:
        sources = find_sources(embeddings.store, space)
    except NotCommittedError:
        return {}
    except CorruptObjectError as err:
        log.warning("the prototypes of space %s suggest nothing: %s", space, err)
        return {}
    wanted = {tile.tile_id for tile in tiles}
    best: dict[str, tuple[float, str]] = {}
    drops = {tile.drop for tile in tiles} & set(embeddings.drops)
    for of_drop in score_tiles(embeddings, lookup.open("tiles"), sources, drops).values():
        for each in of_drop:
            for row in np.flatnonzero(each.scores >= each.threshold.score).tolist():
                if (tile_id := each.tile_ids[row]) in wanted:
                    scored = (float(each.scores[row]), each.source.name)
                    best[tile_id] = max(best.get(tile_id, scored), scored)
    return {tile_id: SuggestedClass(name) for tile_id, (_, name) in best.items()}


def order_by_uncertainty(
    lookup: TileLookup, space: str | None, tile_ids: Sequence[str]
) -> list[int] | None:
    """Order tiles, the most uncertain first; tiles that the probe has not seen come last.

    Return None if there is no probe.
    """
    suggestions = {} if space is None else suggest_by_probe(lookup, space, tile_ids)
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
