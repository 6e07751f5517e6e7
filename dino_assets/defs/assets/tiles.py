"""The asset ``tiles``: the windows of images that the model sees."""

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.partitions import SINGLE_RUN, drop_by_drop, drops
from dino_assets.defs.retrying import tried_again
from dino_assets.store.commits.by_drop import DropDrafts
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles import stage
from dino_assets.tiles.grid import OVERLAP, make_grid
from dino_assets.tiles.rows import SCHEMA
from dino_assets.weights.records import Checkpoint


class TilesConfig(dg.Config):
    """The settings of the grid."""

    tile_px: int = Field(
        default=0,
        description=(
            "Side of a tile in pixels, a multiple of the model's patch size; 0: 518 for DINOv2, 512 for "
            "DINOv3."
        ),
    )
    overlap: float = Field(
        default=OVERLAP,
        description="Overlap of neighbouring tiles, as a share of the tile's side.",
    )
    tile_m: float | None = Field(
        default=None,
        description=(
            "Side of a tile on the ground, in metres. Tiles of flights at 30 m and at 120 m then show "
            "areas of the same size. Images without a known scale (no height, or oblique) are cut by "
            "tile_px."
        ),
    )
    with_thermal: bool = Field(
        default=False, description="Cut thermal images too, as if their values were colours."
    )


@dg.asset(
    group_name=job_of("tiles"),
    kinds={"parquet"},
    owners=["team:imagery"],
    partitions_def=drops,
    code_version=stage.CODE_VERSION,
    metadata=describe_columns("tiles", SCHEMA),
    backfill_policy=SINGLE_RUN,
    description=(
        "Square windows that cover every pixel of every usable image. The last column and row are shifted "
        "inwards; a small image is one tile. If the drop has boxes of a detector, each of them is a tile "
        "instead. The table has windows and outlines on the ground, but no pixels."
    ),
)
@tried_again
def tiles(
    context: dg.AssetExecutionContext,
    config: TilesConfig,
    images: CommittedTable,
    weights: Checkpoint,
) -> dg.Output[DropDrafts]:
    """Cut the images of this run's drops with the grid that fits the checkpoint."""
    side_px = config.tile_px or weights.tile_px
    grid = make_grid(
        side_px, overlap=config.overlap, patch_px=weights.patch_px, side_m=config.tile_m
    )
    return drop_by_drop(
        context,
        lambda drop: stage.draft_tiles(images, drop, grid, with_thermal=config.with_thermal),
    )
