"""Classes that the committed probe, or else the prototypes, suggest for tiles."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.embeddings.stage.pool import hash_inputs
from dino_assets.errors import CorruptObjectError, NotCommittedError
from dino_assets.labels.formats.records import Suggestion, Suggestions
from dino_assets.probes.stage.drafting import ASSET
from dino_assets.probes.stage.heat_maps_sources import find_sources, hash_sources, score_tiles
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore

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


@dataclass(frozen=True)
class SuggestionTables:
    """The tables from which classes are suggested: the probe's predictions, embeddings, and tiles."""

    probes: CommittedTable
    embeddings: CommittedTable
    tiles: CommittedTable


def read_suggestions(
    store: ObjectStore, space: str, drop_of_tile: Mapping[str, str]
) -> Suggestions:
    """Suggest classes for the tiles of a space, with the hashes of what they follow from, as recipe inputs."""
    tables = SuggestionTables(
        open_table(store, ASSET, space=space),
        open_table(store, "embeddings", drops=set(drop_of_tile.values()), space=space),
        open_table(store, "tiles"),
    )
    suggested = suggest_by_probe(tables.probes, drop_of_tile)
    inputs = {str(m.recipe.output.asset): content_hash(m) for m in tables.probes.manifests}
    if not suggested and (suggested := suggest_classes(tables, drop_of_tile)):
        of_drops = hash_inputs(tables.embeddings).items()
        inputs = {f"embeddings/{drop}": sha256 for drop, sha256 in of_drops}
        inputs |= hash_sources(find_sources(store, space))
    of_tile = {
        tile_id: Suggestion(each.class_name, each.probability)
        for tile_id, each in sorted(suggested.items())
    }
    return Suggestions(of_tile, inputs)


def suggest_classes(
    tables: SuggestionTables, drop_of_tile: Mapping[str, str]
) -> dict[str, SuggestedClass]:
    """Suggest classes for tiles by the probe of a space; without a probe, by its prototypes, if there are any.

    ``drop_of_tile`` maps the ids of the tiles to their drops.
    """
    if not drop_of_tile:
        return {}
    by_probe = suggest_by_probe(tables.probes, drop_of_tile)
    return by_probe or _suggest_by_prototypes(tables, drop_of_tile)


def suggest_by_probe(
    probes: CommittedTable, tile_ids: Collection[str]
) -> dict[str, SuggestedClass]:
    """Suggest classes for tiles by the probe of a space; without a probe, none."""
    if not probes.manifests:
        return {}
    try:
        table = probes.read(columns=_COLUMNS)
    except (NotCommittedError, CorruptObjectError, pa.ArrowInvalid) as err:
        message = "the probe of space %s cannot be read, so it suggests nothing: %s"
        log.warning(message, probes.space, err)
        return {}
    rows = table.filter(pc.is_in(table["tile_id"], pa.array(list(tile_ids), pa.string())))
    columns = (rows[name].to_pylist() for name in _COLUMNS)
    return {
        tile_id: SuggestedClass(class_name, probability, entropy)
        for tile_id, class_name, probability, entropy in zip(*columns, strict=True)
    }


def _suggest_by_prototypes(
    tables: SuggestionTables, drop_of_tile: Mapping[str, str]
) -> dict[str, SuggestedClass]:
    """Suggest for each tile the prototype that it is most like, if its score reaches that prototype's threshold."""
    embeddings = tables.embeddings
    try:
        sources = find_sources(embeddings.store, str(embeddings.space))
    except NotCommittedError:
        return {}
    except CorruptObjectError as err:
        log.warning("the prototypes of space %s suggest nothing: %s", embeddings.space, err)
        return {}
    best: dict[str, tuple[float, str]] = {}
    drops = set(drop_of_tile.values()) & set(embeddings.drops)
    for of_drop in score_tiles(embeddings, tables.tiles, sources, drops).values():
        for each in of_drop:
            for row in np.flatnonzero(each.scores >= each.threshold.score).tolist():
                if (tile_id := each.tile_ids[row].as_py()) in drop_of_tile:
                    scored = (float(each.scores[row]), each.source.name)
                    best[tile_id] = max(best.get(tile_id, scored), scored)
    return {tile_id: SuggestedClass(name) for tile_id, (_, name) in best.items()}
