"""The command ``find``: tiles that are similar to a tile, a picture or a vector."""

import argparse
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dino_assets.cli.flags import add_json, add_pool_options
from dino_assets.cli.terminal import say, write_json
from dino_assets.cli.thumbnails import SheetCell, draw_sheet
from dino_assets.counting import count_of
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path

if TYPE_CHECKING:
    from dino_assets.embeddings.stage.finding import SimilarTile

_HELP = """
    List the tiles that are most similar to a query, over all drops of a space.

    QUERY is the id of a tile, a picture (photo.jpg), a window of a picture (photo.jpg:x,y,w,h), or a
    vector in a .npy file. A picture is embedded by the same model and engine as the tiles.

    If windows overlap, or photographs show the same ground, only the most similar tile is
    listed.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``find``."""
    find = commands.add_parser(
        "find",
        help="list the tiles that are most similar to a tile, a picture or a vector",
        description=textwrap.dedent(_HELP),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    find.add_argument("query", metavar="QUERY", help="a tile's id, a picture, or a .npy file")
    find.add_argument(
        "-k", "--count", type=int, default=50, metavar="N", help="number of tiles (default: 50)"
    )
    add_pool_options(find)
    find.add_argument(
        "--not",
        dest="unlike",
        action="append",
        default=[],
        metavar="QUERY",
        help="leave out tiles that are more similar to this query than to the first QUERY; may be repeated",
    )
    find.add_argument(
        "--all-windows",
        action="store_true",
        help="list tiles that show the same place, too",
    )
    find.add_argument(
        "--regions",
        action="store_true",
        help="search the regions of the tiles, for small objects; best with a window around such an object as "
        "QUERY",
    )
    find.add_argument(
        "--sheet", type=Path, metavar="FILE.jpg", help="draw the tiles' thumbnails into this file"
    )
    add_json(find)
    find.set_defaults(run=_find)


def _find(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.api.project import open_project

    project = open_project(settings.root)
    similar = project.find(
        options.query,
        options.count,
        drops=options.drop,
        unlike=options.unlike,
        column=options.column,
        space=options.space,
        all_windows=options.all_windows,
        regions=options.regions,
    )
    if options.sheet is not None:
        cells = [
            SheetCell(thumb, f"{tile.rank}  {tile.cosine:.3f}  {tile.drop}", frame)
            for tile, thumb, frame in zip(
                similar.tiles, similar.thumbs, similar.frames, strict=True
            )
        ]
        title = f"Similar to {options.query}"
        draw_sheet(cells, expand_path(options.sheet), title=title, caveat=similar.caveat)
    if options.json:
        tiles = [asdict(tile) for tile in similar.tiles]
        write_json({"searched": similar.searched, "caveat": similar.caveat, "tiles": tiles})
        return 0
    for tile in similar.tiles:
        say(_spell(tile))
    if options.sheet is not None:
        say(f"sheet {options.sheet}")
    say(f"{count_of(len(similar.tiles), 'tile')} of {similar.searched:,} searched")
    if similar.caveat:
        say(f"note: {similar.caveat}")
    return 0


def _spell(tile: "SimilarTile") -> str:
    x, y, width, height = tile.region or (tile.x, tile.y, tile.w, tile.h)
    place = f"x{x} y{y} {width}×{height}"
    return f"{tile.rank:4d}  {tile.cosine:.4f}  {tile.drop}  {tile.path}  {place}  {tile.tile_id}"
