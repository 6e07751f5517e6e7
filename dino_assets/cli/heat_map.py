"""The command ``heat-map``: where on the ground of some drops a class is likely, as files for map programs."""

import argparse
import textwrap
from pathlib import Path

from dino_assets.cli.flags import add_json
from dino_assets.cli.registering import find_drop_name
from dino_assets.cli.terminal import say, write_json
from dino_assets.counting import count_of
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path

_HELP = """
    Write heat maps of drops: where on the ground each class of the probe, and each prototype, is
    likely.

    For each drop and class there is a GeoTIFF (score of each cell, number of photographs), a
    GeoPackage with the outlines of hot ground, its style for QGIS, and a picture.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``heat-map``."""
    heat_map = commands.add_parser(
        "heat-map",
        help="write where on the ground of drops a class is likely, for map programs",
        description=textwrap.dedent(_HELP),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    heat_map.add_argument("drops", metavar="DROP", nargs="+", help="a drop whose ground is drawn")
    heat_map.add_argument(
        "--of",
        action="append",
        default=[],
        metavar="NAME",
        help="only this class or prototype; may be repeated (default: all)",
    )
    heat_map.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="folder for the files"
    )
    heat_map.add_argument("--space", metavar="ID", help="the space, if there are several")
    add_json(heat_map)
    heat_map.set_defaults(run=_heat_map)


def _heat_map(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.api.finding import open_with_copies
    from dino_assets.api.project import open_project
    from dino_assets.embeddings.stage.pool import check_embedded, choose_pool
    from dino_assets.probes.stage.heat_maps import Unplaced, make_heat_maps
    from dino_assets.probes.stage.heat_maps_export import export_heat_map
    from dino_assets.probes.stage.heat_maps_sources import find_sources
    from dino_assets.weights.records import spell_caveat

    project = open_project(settings.root)
    drops = [find_drop_name(project.store, drop) for drop in options.drops]
    embeddings = open_with_copies(project, "embeddings", space=options.space)
    check_embedded(embeddings)
    for drop in drops:
        embeddings.manifest(drop)
    sources = find_sources(project.store, str(embeddings.space), names=options.of)
    pool = choose_pool(embeddings, committed=drops)
    caveats = [manifest.facts.get("caveat") for manifest in embeddings.manifests]
    caveat = spell_caveat(next(filter(None, caveats), None))
    rows, folder = [], expand_path(options.to)
    tiles = open_with_copies(project, "tiles")
    for heat_map in make_heat_maps(pool, tiles, sources, drops):
        if isinstance(heat_map, Unplaced):
            rows.append({"drop": heat_map.drop, "unplaced": list(heat_map.tile_ids), "files": []})
            if not options.json:
                say(
                    f"{heat_map.drop}: none of {count_of(len(heat_map.tile_ids), 'tile')} has a place on the ground"
                )
            continue
        files = [str(path) for path in export_heat_map(heat_map, folder, caveat=caveat)]
        row = heat_map.describe()
        rows.append(row | {"unplaced": list(heat_map.unplaced), "files": files})
        if not options.json:
            _show(row, files)
    if options.json:
        write_json({"caveat": caveat, "heat_maps": rows})
    elif caveat:
        say(f"note: {caveat}")
    return int(not any(row["files"] for row in rows))


def _show(row: dict[str, object], files: list[str]) -> None:
    chosen_by = row["chosen_by"]
    if row["f1"] is not None:
        chosen_by = f"{chosen_by}, F1 {row['f1']:.2f}"
    say(
        f"{row['drop']}  {row['class_name']} ({row['source']})  {row['hot_places']} hot places, {row['hot_m2']:.0f} m² "
        f"from {row['threshold']:.3f} ({chosen_by}); highest {row['highest']:.3f} at {row['latitude']:.6f}, "
        f"{row['longitude']:.6f}"
    )
    if row["unplaced"]:
        say(f"  {row['unplaced']} tiles without a place are left out; --json names them")
    for file in files:
        say(f"  {file}")
