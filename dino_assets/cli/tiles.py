"""Looking at tiles and footprints before they are paid for."""

import argparse
from pathlib import Path

from dino_assets.cli.registering import find_output_name, open_store_here, refuse_sources
from dino_assets.cli.terminal import say
from dino_assets.counting import count_of
from dino_assets.errors import ConfigError, NotCommittedError
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path
from dino_assets.store.targets import write_target


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``tiles preview``, ``footprints``."""
    tiles = commands.add_parser("tiles", help="look at a grid before it is cut").add_subparsers(
        required=True, metavar="ACTION"
    )
    preview = tiles.add_parser("preview", help="draw the tiles of one photograph into a PNG")
    preview.add_argument("image", type=Path, metavar="IMAGE")
    preview.add_argument(
        "--tile-px", type=int, default=0, metavar="N", help="side; 0: the current model's own"
    )
    preview.add_argument(
        "--tile-m",
        type=float,
        metavar="M",
        help="side on the ground, in metres; by default sides are in pixels",
    )
    preview.add_argument("--overlap", type=float, metavar="SHARE", help="0 … 0.9, 0.5 by default")
    preview.add_argument(
        "--ground-m", type=float, metavar="M", help="the ground's height above the sea"
    )
    preview.add_argument("--to", type=Path, metavar="FILE", help="out/IMAGE.tiles.png by default")
    preview.set_defaults(run=_preview)

    footprints = commands.add_parser(
        "footprints", help="where images or tiles lie on the ground, as a file for QGIS"
    )
    footprints.add_argument("asset", choices=("images", "tiles", "selections"))
    footprints.add_argument("drop", metavar="DROP", help="a drop, or a round of selections")
    footprints.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FILE.geojson|FILE.gpkg",
        help="its ending says the format",
    )
    footprints.add_argument("--space", metavar="ID", help="of a round in several spaces, this one")
    footprints.set_defaults(run=_footprints)


def _preview(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.tiles.grid import OVERLAP
    from dino_assets.tiles.preview import preview_tiles

    image = expand_path(options.image)
    target = expand_path(options.to or Path("out", f"{image.name}.tiles.png"))
    patch_px = _find_patch(settings)
    preview = preview_tiles(
        image,
        side_px=options.tile_px or 518 // patch_px * patch_px,
        patch_px=patch_px,
        side_m=options.tile_m,
        overlap=OVERLAP if options.overlap is None else options.overlap,
        ground_m=options.ground_m,
    )
    write_target(target, preview.picture)
    say(f"{preview.sentence}: {target}")
    return 0


def _find_patch(settings: Settings) -> int:
    """As the asset would cut: by the committed checkpoint's patch, else by the named one's family."""
    from dino_assets.weights.stage import load_checkpoint

    try:
        return load_checkpoint(open_store_here(settings)).patch_px
    except (
        ConfigError,
        NotCommittedError,
    ):  # no project here: a photograph can be looked at anywhere
        return 16 if "dinov3" in settings.model.lower() else 14


def _footprints(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.images.stage.footprint_files import write_footprints
    from dino_assets.selections.stage.chosen_files import write_chosen_footprints
    from dino_assets.store.commits.reading import open_table

    target = expand_path(options.to)
    store = open_store_here(settings)
    refuse_sources(store, target.absolute())
    drop = find_output_name(store, options.asset, options.drop)
    if options.asset == "selections":
        placed, unplaced = write_chosen_footprints(store, drop, path=target, space=options.space)
    else:
        placed, unplaced = write_footprints(open_table(store, options.asset), drop, path=target)
    what = "image" if options.asset == "images" else "tile"
    without = f"; {count_of(unplaced, what)} without a known place" if unplaced else ""
    say(f"{count_of(placed, 'footprint')} in {target}{without}")
    return 0
