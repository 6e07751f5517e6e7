"""Checks of ``embeddings``."""

from dataclasses import asdict

import dagster as dg

from dino_assets.defs.checks.outcome import SHOWN_ROWS, judge_unmade, open_for_run, to_result
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.embeddings.stage.drafting import open_embeddings
from dino_assets.embeddings.stage.drift import compare_drops
from dino_assets.embeddings.stage.judging import judge_embeddings
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.weights.stage import load_checkpoint


def _open_embedded(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> tuple[CommittedTable, dict[str, CommittedTable]]:
    """The run's tiles, and per drop its embeddings in the space that is asked for now."""
    store, tiles = storage.open(), open_for_run(context, storage, "tiles")
    return tiles, open_embeddings(store, tiles, load_checkpoint(store), compute.configured())


@dg.asset_check(
    asset="embeddings",
    blocking=True,
    description=(
        "One finite vector per tile, under the tile's own id, in one space, of a length that the gate's "
        "tiles have; warns where an engine was refused."
    ),
)
def embeddings_match_tiles(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> dg.AssetCheckResult:
    """Hold the vectors against the tiles."""
    tiles, found = _open_embedded(context, storage, compute)
    verdicts = [judge_embeddings(tiles, found[drop], drop) for drop in tiles.drops]
    return to_result(context, verdicts + judge_unmade(tiles))


@dg.asset_check(
    asset="embeddings",
    description=(
        "Warns of a drop with tiles unlike those of all other drops, and names them; says so where too "
        "few drops are there to tell. Never blocks."
    ),
)
def embeddings_are_familiar(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> dg.AssetCheckResult:
    """Name the tiles that no other drop has the like of."""
    tiles, found = _open_embedded(context, storage, compute)
    spaces: dict[str, list[str]] = {}
    for drop, table in found.items():
        if drop in table.drops:
            spaces.setdefault(str(table.space), []).append(drop)
    drifts = []
    for space, names in spaces.items():
        drifts += compare_drops(open_table(storage.open(), "embeddings", space=space), names)
    rows = [tile for drift in drifts if drift.verdict.warns for tile in drift.novel][:SHOWN_ROWS]
    columns = [dg.TableColumn(name) for name in ("drop", "tile_id", "image_id", "novelty")]
    return to_result(
        context,
        [drift.verdict for drift in drifts] + judge_unmade(tiles),
        most_novel=dg.MetadataValue.table(
            [dg.TableRecord(asdict(tile)) for tile in rows], schema=dg.TableSchema(columns)
        ),
    )
