"""Export of a round: pictures named after their photographs, a CSV, and a GeoPackage for QGIS."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.counting import count_of
from dino_assets.drops.naming import spell_in_ascii
from dino_assets.errors import ConfigError, MissingExtraError
from dino_assets.images.ground.geoparquet import encode_point
from dino_assets.images.stage.footprint_files import (
    check_target,
    write_geojson,
    write_geopackage,
)
from dino_assets.selections.records import ChosenTile
from dino_assets.selections.stage.paid import read_round
from dino_assets.store.commits.columns import columns_of, read_records
from dino_assets.store.commits.listing import export_output, find_outputs, place_outputs
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore
from dino_assets.store.targets import write_csv

CSV, GEOPACKAGE = "chosen.csv", "chosen.gpkg"
SCHEMA = pa.schema(
    {
        "rank": pa.int32(),
        "reason": pa.string(),
        "drop": pa.string(),
        "photograph": pa.string(),
        "file": pa.string(),
        "latitude": pa.float64(),
        "longitude": pa.float64(),
        "place_quality": pa.string(),
        "x": pa.int32(),
        "y": pa.int32(),
        "w": pa.int32(),
        "h": pa.int32(),
        "box_class": pa.string(),
        "box_score": pa.float64(),
        "cluster": pa.int32(),
        "distance": pa.float64(),
        "why": pa.string(),
        "stands_for": pa.int32(),
        "to_chosen": pa.float64(),
        "neighbours": pa.string(),
        "share": pa.string(),
        "score": pa.float64(),
        "uncertainty": pa.float64(),
        "round": pa.int32(),
        "tile_id": pa.string(),
        "image_id": pa.string(),
    }
)
_CUT_COLUMNS = ("place_quality", "box_class", "box_score")  # of the table ``tiles``
_MAX_STEM_CHARS = 60


@dataclass(frozen=True)
class ChosenPlaces:
    """Rows of a round, with the centre and the footprint of each tile in the binary form WKB.

    An unknown centre or footprint is None. The footprint of a tile that is no longer in ``tiles`` is unknown.
    ``names`` maps each stored picture to its name in the export.
    """

    rows: pa.Table
    centres: pa.Array
    footprints: pa.Array
    names: Mapping[str, str]

    def layers(self) -> dict[str, pa.Table]:
        """Return the layers of a GeoPackage; GIS programs expect one kind of geometry per layer."""
        both = {"footprints": self.footprints, "centres": self.centres}
        return {name: _placed(self.rows, column) for name, column in both.items()}

    def places(self) -> pa.Table:
        """Return each tile that has a place, with its footprint or else its centre."""
        return _placed(self.rows, pc.coalesce(self.footprints, self.centres))


def export_round(
    store: ObjectStore,
    name: str,
    *,
    folder: Path,
    space: str | None = None,
    say: Callable[[str], object],
) -> Iterator[Path]:
    """Write a round's files and its rows as tables; yield each path. Pictures are named after photographs.

    ``say`` is called with messages about rows or files that are left out.

    Raises:
        NotCommittedError: the round does not exist.
        TargetError: the folder cannot be written.
        DiskFullError: the disk is full.
    """
    outputs = find_outputs(store, "selections", name, space=space)
    for manifest, place in place_outputs(outputs, folder=folder):
        chosen = read_chosen(store, manifest)
        yield from export_output(store, manifest, folder=place, names=chosen.names)
        yield write_csv(place / CSV, chosen.rows.column_names, chosen.rows.to_pylist())
        placed = chosen.places().num_rows
        if unplaced := chosen.rows.num_rows - placed:
            say(
                f"{unplaced} of {count_of(chosen.rows.num_rows, 'tile')} without a known place: {CSV} has all "
                f"tiles, {GEOPACKAGE} {'leaves these out' if placed else 'is not written'}"
            )
        if not placed:
            continue
        try:
            write_geopackage(place / GEOPACKAGE, chosen.layers())
        except MissingExtraError as err:
            say(f"{GEOPACKAGE} is not written. {err}")
        else:
            yield place / GEOPACKAGE


def write_chosen_footprints(
    store: ObjectStore, name: str, *, path: Path, space: str | None = None
) -> tuple[int, int]:
    """Write the footprints of a round's tiles, or their centres; return the numbers with and without a place.

    Raises:
        ConfigError: the file's ending is not a known format, its folder does not exist, or several spaces
            have a round of this name.
        NotCommittedError: the round does not exist.
        MissingExtraError: a GeoPackage is requested and pyogrio is not installed.
    """
    check_target(path)
    outputs = find_outputs(store, "selections", name, space=space)
    if len(outputs) > 1:
        spaces = ", ".join(str(manifest.recipe.output.space) for manifest in outputs)
        raise ConfigError(
            f"{name} exists in several spaces: choose one of {spaces} with --space",
            setting="space",
            reason="several",
        )
    chosen = read_chosen(store, outputs[0])
    places = chosen.places()
    if path.suffix.lower() == ".gpkg":
        write_geopackage(path, chosen.layers())
    else:
        write_geojson(path, places)
    return places.num_rows, chosen.rows.num_rows - places.num_rows


def read_chosen(store: ObjectStore, manifest: Manifest) -> ChosenPlaces:
    """Read a round with the centres and footprints of its tiles."""
    output = manifest.recipe.output
    rounds = CommittedTable(store, "selections", output.space, (manifest,))
    tiles = list(read_records(ChosenTile, _fill(read_round(rounds, str(output.drop)))))
    cut = _read_cut(store, tiles)
    of_tile = [cut.get((tile.drop, tile.tile_id), {}) for tile in tiles]
    names = {tile.picture: name_picture(tile, of=len(tiles)) for tile in tiles}
    rows = [
        vars(tile)
        | {
            "photograph": tile.path,
            "file": names[tile.picture],
            "neighbours": " ".join(tile.neighbours or ()),
        }
        | {name: of_cut.get(name) for name in _CUT_COLUMNS}
        for tile, of_cut in zip(tiles, of_tile, strict=True)
    ]
    footprints = [of_cut.get("geometry") for of_cut in of_tile]
    centres = [encode_point(tile.longitude, tile.latitude) for tile in tiles]
    return ChosenPlaces(
        pa.Table.from_pylist([{name: row[name] for name in SCHEMA.names} for row in rows], SCHEMA),
        pa.array(centres, pa.binary()),
        pa.array(footprints, pa.binary()),
        names,
    )


def _fill(rows: pa.Table) -> pa.Table:
    """Add the columns that rounds of earlier versions lack, without values."""
    for column in columns_of(ChosenTile):
        if column.name not in rows.column_names:
            rows = rows.append_column(column, pa.nulls(len(rows), column.type))
    return rows


def name_picture(tile: ChosenTile, *, of: int) -> str:
    """Name a tile's picture by rank, drop, photograph and corner; the rank makes the name unique.

    Letters that a file system or shell might not accept are replaced.
    """
    rank = f"{tile.rank:0{max(3, len(str(of)))}d}"
    stem = spell_in_ascii(PurePosixPath(tile.path).stem, _MAX_STEM_CHARS) or "photograph"
    return f"tiles/{rank}_{tile.drop}_{stem}_x{tile.x:04d}y{tile.y:04d}.jpg"


def _read_cut(store: ObjectStore, chosen: list[ChosenTile]) -> dict[tuple[str, str], Any]:
    """Read footprint, place quality and box of the chosen tiles that are still in ``tiles``, by drop and tile."""
    cut: dict[tuple[str, str], Any] = {}
    wanted = pa.array(sorted({tile.tile_id for tile in chosen}), pa.string())
    for manifest in open_table(store, "tiles", drops={tile.drop for tile in chosen}).manifests:
        drop = str(manifest.recipe.output.drop)
        table = CommittedTable(store, "tiles", None, (manifest,)).read(drop)
        # Tables written by an earlier version have no places, and only drops with boxes have those columns.
        columns = {"tile_id", "geometry", *_CUT_COLUMNS}.intersection(table.column_names)
        few = table.select(sorted(columns)).filter(pc.is_in(table["tile_id"], wanted))
        cut |= {(drop, row["tile_id"]): row for row in few.to_pylist()}
    return cut


def _placed(rows: pa.Table, geometry: pa.Array) -> pa.Table:
    return rows.append_column("geometry", geometry).filter(pc.is_valid(geometry))
