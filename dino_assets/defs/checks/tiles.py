"""Checks of ``tiles``."""

import dagster as dg

from dino_assets.defs.checks.outcome import judge_unmade, open_for_run, to_result
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.store.commits.reading import open_table
from dino_assets.tiles.stage import judge_tiles


@dg.asset_check(
    asset="tiles",
    blocking=True,
    description="Tile ids are unique and the tiles of every usable image cover every pixel of it.",
)
def tiles_cover_images(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Hold the tiles against the images, pixel by pixel."""
    tiles = open_for_run(context, storage, "tiles")
    images = open_table(storage.open(), "images", drops=tiles.drops)
    verdicts = [judge_tiles(images, tiles, drop) for drop in tiles.drops]
    return to_result(context, verdicts + judge_unmade(tiles))
