"""The command ``duplicates``: tiles that repeat an earlier tile, and why they are alike."""

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.cli.flags import add_json, add_pool_options
from dino_assets.cli.terminal import say, write_json
from dino_assets.cli.thumbnails import SheetCell, draw_sheet
from dino_assets.counting import count_of
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path

if TYPE_CHECKING:
    from dino_assets.embeddings.stage.duplicates import NearDuplicates

_SHOWN_GROUPS = 10
_SHEET_GROUPS, _SHEET_TILES = 20, 5
_HELP = """
    List the tiles whose vector is nearly equal to that of an earlier tile, over all drops of a space.

    A group is a first tile and the later tiles that repeat it. The cause is
    "same file" if the picture is in two drops, "same ground" if the tiles overlap in a picture or if "
    "two photographs show the place, and otherwise "elsewhere": the tiles only look alike.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``duplicates``."""
    duplicates = commands.add_parser(
        "duplicates",
        help="list the tiles that repeat an earlier tile, with the cause",
        description=textwrap.dedent(_HELP),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    duplicates.add_argument(
        "--cosine",
        type=float,
        default=0.98,
        metavar="X",
        help="the lowest cosine at which two tiles count as alike (default: 0.98)",
    )
    add_pool_options(duplicates)
    duplicates.add_argument(
        "--to", type=Path, metavar="FILE.csv", help="write a table with a row per repeated tile"
    )
    duplicates.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE.jpg",
        help=f"draw the largest {_SHEET_GROUPS} groups into this file, each with up to {_SHEET_TILES} tiles",
    )
    add_json(duplicates)
    duplicates.set_defaults(run=_list)


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.api.project import open_project
    from dino_assets.store.targets import write_csv

    project = open_project(settings.root)
    names = {"drops": options.drop, "column": options.column, "space": options.space}
    similar = project.duplicates(options.cosine, **names)
    table = similar.table
    if options.to is not None:
        write_csv(expand_path(options.to), table.column_names, table.to_pylist())
    if options.sheet is not None:
        _draw_groups(similar, expand_path(options.sheet))
    counts = similar.count_causes()
    if options.json:
        figures = {"tiles": similar.tiles, "groups": similar.groups, "causes": dict(counts)}
        write_json({**figures, "caveat": similar.caveat, "repeated": table.to_pylist()})
        return 0
    for number in range(1, min(similar.groups, _SHOWN_GROUPS) + 1):
        _say_group(_read_group(similar, number))
    if similar.groups > _SHOWN_GROUPS:
        say(f"and {count_of(similar.groups - _SHOWN_GROUPS, 'smaller group')}")
    for path in (options.to, options.sheet):
        if path is not None:
            say(f"written {path}")
    causes = ", ".join(f"{count:,} {cause}" for cause, count in counts.items() if count)
    say(
        f"{len(table):,} of {count_of(similar.tiles, 'tile')} repeat an earlier one, in "
        f"{count_of(similar.groups, 'group')}" + (f": {causes}" if causes else "")
    )
    if similar.caveat:
        say(f"note: {similar.caveat}")
    return 0


def _read_group(similar: "NearDuplicates", number: int) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    table = similar.table
    rows: list[dict[str, Any]] = table.filter(pc.equal(table["group"], number)).to_pylist()
    return rows


def _say_group(rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    causes = dict.fromkeys(row["cause"] for row in rows)
    least = min(row["cosine"] for row in rows)
    say(
        f"{first['group']:4d}  {count_of(len(rows) + 1, 'tile')}  {first['first_drop']}  "
        f"{first['first_tile_id']}  cosine {least:.4f}  {', '.join(causes)}"
    )


def _draw_groups(similar: "NearDuplicates", file: Path) -> None:
    """Draw the largest groups: the first tile of each, then the tiles that repeat it."""
    shown: list[tuple[str, str, str]] = []
    for number in range(1, min(similar.groups, _SHEET_GROUPS) + 1):
        rows = _read_group(similar, number)
        first = rows[0]
        shown.append((first["first_drop"], first["first_tile_id"], f"group {number}, first"))
        shown += [
            (row["drop"], row["tile_id"], f"{row['cosine']:.3f}  {row['cause']}")
            for row in rows[: _SHEET_TILES - 1]
        ]
    thumbs = similar.read_thumbs([(drop, tile_id) for drop, tile_id, _ in shown])
    cells = [SheetCell(thumb, caption) for thumb, (*_, caption) in zip(thumbs, shown, strict=True)]
    draw_sheet(cells, file, title="Near-duplicates", caveat=similar.caveat)
