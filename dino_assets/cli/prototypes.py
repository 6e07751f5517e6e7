"""The command ``like``: tiles of a class that a few examples show, and the list of stored prototypes."""

import argparse
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.cli.flags import add_json, add_pool_options
from dino_assets.cli.registering import open_store_here
from dino_assets.cli.terminal import name_command, say, write_json
from dino_assets.cli.thumbnails import SheetCell, draw_sheet
from dino_assets.counting import count_of
from dino_assets.errors import ConfigError
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path

if TYPE_CHECKING:
    from dino_assets.api.project import Project
    from dino_assets.probes.stage.prototypes import Prototype
    from dino_assets.probes.stage.prototypes_fitting import LikeTiles
    from dino_assets.store.commits.reading import CommittedTable

_HELP = """
    List the tiles that are most like some examples of a class, and store the class as a prototype.

    CROP is the id of a tile, a picture (photo.jpg), a window of a picture (photo.jpg:x,y,w,h), or a
    vector in a .npy file. At least 3 different ones are needed; 5 to 10 are better.

    Each tile has a percentile: the percentage of all tiles that are less like the examples. The
    examples are also ranked by one another. If random tiles agree as well as they do, the command
    says that the prototype is no better than chance.

    With the --name of a stored prototype and no CROP, its examples are compared with all tiles as
    they are now.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``like``."""
    like = commands.add_parser(
        "like",
        help="list the tiles that are most like a few examples, and store these as a prototype",
        description=textwrap.dedent(_HELP),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    like.add_argument("examples", metavar="CROP", nargs="*", help="an example of the class")
    like.add_argument("--name", help="store the prototype under this name")
    like.add_argument(
        "--not",
        dest="unlike",
        action="append",
        default=[],
        metavar="CROP",
        help="a counterexample, such as a tile that was listed wrongly; may be repeated",
    )
    like.add_argument(
        "-k", "--count", type=int, default=50, metavar="N", help="number of tiles (default: 50)"
    )
    add_pool_options(like)
    like.add_argument(
        "--all-windows", action="store_true", help="list tiles that show the same place, too"
    )
    like.add_argument(
        "--sheet", type=Path, metavar="FILE.jpg", help="draw the tiles' thumbnails into this file"
    )
    like.add_argument("--list", action="store_true", help="list the stored prototypes")
    like.add_argument("--remove", metavar="NAME", help="remove a stored prototype")
    add_json(like)
    like.set_defaults(run=_like)


def _like(options: argparse.Namespace, settings: Settings) -> int:
    if options.list:
        return _list(options, settings)
    if options.remove is not None:
        return _remove(options, settings)
    if not options.examples and options.name is None:
        raise ConfigError(
            "no CROP was given. Give at least 3 examples, such as photo.jpg:1200,800,512,512, or the --name of "
            f"a stored prototype. `{name_command()} like --list` lists them",
            setting="examples",
            value=0,
        )
    return _find(options, settings)


def _find(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.api.finding import open_with_copies
    from dino_assets.api.project import open_project
    from dino_assets.embeddings.stage.pool import choose_pool
    from dino_assets.probes.stage.prototypes_fitting import find_like

    project = open_project(settings.root)
    embeddings = open_with_copies(project, "embeddings", space=options.space)
    prototype = _fit(options, project, embeddings)
    like = find_like(
        choose_pool(embeddings, drops=options.drop),
        open_with_copies(project, "tiles"),
        prototype,
        count=options.count,
        all_windows=options.all_windows,
    )
    title = f"Like {options.name or count_of(len(prototype.examples), 'example')}"
    if options.sheet is not None:
        cells = [
            SheetCell(thumb, f"{tile.rank}  {rank:.2f} %  {tile.drop}")
            for tile, thumb, rank in zip(
                like.similar.tiles, like.similar.thumbs, like.percentiles, strict=True
            )
        ]
        caveat = "\n".join(filter(None, [like.similar.caveat, _spell_chance(prototype)]))
        draw_sheet(cells, expand_path(options.sheet), title=title, caveat=caveat)
    if options.json:
        write_json(_to_json(like))
        return 0
    for tile, rank in zip(like.similar.tiles, like.percentiles, strict=True):
        place = f"x{tile.x} y{tile.y} {tile.w}×{tile.h}"
        say(f"{tile.rank:4d}  {rank:7.3f} %  {tile.drop}  {tile.path}  {place}  {tile.tile_id}")
    _show_prototype(prototype)
    if options.sheet is not None:
        say(f"sheet {options.sheet}")
    tiles = count_of(len(like.similar.tiles), "tile")
    say(f"{tiles} of {like.similar.searched:,} compared")
    if options.name:
        say(f"stored as {prototype.name!r} in space {prototype.space}")
    if like.similar.caveat:
        say(f"note: {like.similar.caveat}")
    return 0


def _fit(
    options: argparse.Namespace, project: "Project", embeddings: "CommittedTable"
) -> "Prototype":
    """Learn the prototype from all tiles of the space, and store it if it has a name."""
    from dino_assets.api.finding import read_query
    from dino_assets.embeddings.stage.pool import choose_pool
    from dino_assets.probes.stage.prototypes import find_prototype, put_prototype
    from dino_assets.probes.stage.prototypes_fitting import FewShot, fit_prototype

    name, earlier = options.name or "", None
    if name and embeddings.space:
        earlier = find_prototype(project.store, name, space=embeddings.space)
    if not options.examples and earlier is None:
        raise ConfigError(
            f"no prototype {name!r} is stored in space {embeddings.space}, and no CROP was given. Give at least 3 "
            "examples",
            setting="name",
            value=name,
        )
    column = options.column if options.examples or earlier is None else earlier.column
    prototype = fit_prototype(
        choose_pool(embeddings),
        FewShot(name, tuple(options.examples), tuple(options.unlike), column),
        lambda query: read_query(project, embeddings, query, column),
        earlier=earlier,
    )
    return put_prototype(project.store, prototype) if name else prototype


def _to_json(like: "LikeTiles") -> dict[str, Any]:
    tiles = [
        asdict(tile) | {"percentile": round(rank, 4)}
        for tile, rank in zip(like.similar.tiles, like.percentiles, strict=True)
    ]
    return {
        "prototype": like.prototype.describe(),
        "searched": like.similar.searched,
        "caveat": like.similar.caveat,
        "tiles": tiles,
    }


def _show_prototype(prototype: "Prototype") -> None:
    lowest, largest = min(prototype.percentiles), max(prototype.percentiles)
    middle = sorted(prototype.percentiles)[len(prototype.percentiles) // 2]
    say(
        f"{count_of(len(prototype.examples), 'example')}, each ranked by the others: percentiles {lowest:.1f} to "
        f"{largest:.1f}, middle {middle:.1f}"
    )
    if warning := _spell_chance(prototype):
        say(f"warning: {warning}")


def _spell_chance(prototype: "Prototype") -> str:
    if prototype.is_better_than_chance:
        return ""
    return (
        f"no better than chance: {100 * prototype.chance:.0f} % of random sets of tiles agree as well as these "
        "examples. Give more examples, or examples that resemble one another more"
    )


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.probes.stage.prototypes import read_prototypes

    store = open_store_here(settings, may_be_new=True)
    prototypes = list(read_prototypes(store, space=options.space))
    if options.json:
        write_json([each.describe() for each in prototypes])
        return 0
    for each in prototypes:
        chance = "" if each.is_better_than_chance else "  no better than chance"
        say(
            f"{each.name}  {count_of(len(each.examples), 'example')}  {each.column}  space {each.space}{chance}"
        )
    if not prototypes:
        say(f"no prototypes yet. `{name_command()} like CROP CROP CROP --name NAME` makes one")
    return 0


def _remove(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.probes.stage.prototypes import remove_prototype

    spaces = remove_prototype(open_store_here(settings), options.remove, space=options.space)
    if options.json:
        write_json({"removed": options.remove, "spaces": spaces})
    else:
        say(f"removed {options.remove!r} from {', '.join(spaces)}")
    return 0
