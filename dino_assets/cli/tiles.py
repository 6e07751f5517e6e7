"""The commands ``tiles preview`` and ``footprints``."""

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
    """Add the commands ``tiles preview`` and ``footprints``."""
    tiles = commands.add_parser("tiles", help="preview a grid of tiles").add_subparsers(
        required=True, metavar="ACTION"
    )
    preview = tiles.add_parser("preview", help="draw the tiles of one photograph into a PNG")
    preview.add_argument("image", type=Path, metavar="IMAGE", help="a photograph")
    preview.add_argument(
        "--tile-px",
        type=int,
        default=0,
        metavar="N",
        help="side of a tile in pixels (default: the side for the current model)",
    )
    preview.add_argument(
        "--tile-m",
        type=float,
        metavar="M",
        help="side of a tile on the ground, in metres (default: tiles have a side in pixels)",
    )
    preview.add_argument(
        "--overlap",
        type=float,
        metavar="SHARE",
        help="overlap of neighbouring tiles as a share of a tile's side, 0 to 0.9 (default: 0.5)",
    )
    preview.add_argument(
        "--ground-m",
        type=float,
        metavar="M",
        help="height of the ground above sea level, in metres (default: height of the take-off)",
    )
    preview.add_argument(
        "--to", type=Path, metavar="FILE", help="the PNG to write (default: out/IMAGE.tiles.png)"
    )
    preview.set_defaults(run=_preview)

    footprints = commands.add_parser(
        "footprints", help="write the outlines of images or tiles on the ground, as a file for QGIS"
    )
    footprints.add_argument(
        "asset", choices=("images", "tiles", "selections"), help="which outlines to write"
    )
    footprints.add_argument("drop", metavar="DROP", help="a drop, or a round of selections")
    footprints.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FILE.geojson|FILE.gpkg",
        help="the file to write; its suffix gives the format",
    )
    footprints.add_argument(
        "--space",
        metavar="ID",
        help="the space of the round, if several spaces have a round of this name",
    )
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
    """Find the patch size for the preview: of the committed checkpoint, else of the configured family."""
    from dino_assets.weights.stage import load_checkpoint

    try:
        return load_checkpoint(open_store_here(settings)).patch_px
    except (
        ConfigError,
        NotCommittedError,
    ):  # a preview needs no project
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
