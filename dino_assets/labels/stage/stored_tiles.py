"""Tiles and photographs of the store that labels are about, with the geometry of the tiles' pictures."""

import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from dino_assets.labels.crops import CropFrame, ShotFacts
from dino_assets.labels.matching import StoredPhotograph
from dino_assets.labels.merging import merge_answers
from dino_assets.labels.records import Label, Window
from dino_assets.labels.stage.answers import read_answers
from dino_assets.selections.records import ChosenTile
from dino_assets.selections.stage.chosen_files import name_picture
from dino_assets.selections.stage.paid import read_round
from dino_assets.store.commits.columns import columns_of, read_records
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.rows import ImageToCut, TileRow, read_tile_rows

_CHOSEN = ("rank", "drop", "tile_id", "image_id", "path", "x", "y", "w", "h")
_SHOT = ("image_id", "latitude", "longitude", "altitude_m", "taken", "make", "model")
_IMAGE = ("path", "is_usable", "image_id", "width", "height")


@dataclass(frozen=True)
class ChosenTiles:
    """The tiles of all rounds, by id, and the round of each, as ``SPACE/round-0001``.

    ``names`` maps the names of the pictures that ``dino-assets export`` writes, without suffix, to tile ids.
    ``manifests`` maps the name of each round to its manifest.
    """

    tiles: Mapping[str, ChosenTile] = field(default_factory=dict)
    rounds: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)


def read_current_labels(store: ObjectStore) -> list[Label]:
    """Merge all answers of the store to labels, also those that the asset ``labels`` does not have yet."""
    answers = (answer for stored in read_answers(store) for answer in stored.answers)
    return list(merge_answers(answers).labels)


def read_chosen_tiles(store: ObjectStore) -> ChosenTiles:
    """Read the tiles of all rounds of all spaces.

    Raises:
        CorruptObjectError: the table of a round is gone or altered.
    """
    tiles: dict[str, ChosenTile] = {}
    of_tile: dict[str, str] = {}
    names: dict[str, tuple[str, ...]] = {}
    manifests: dict[str, Manifest] = {}
    for space in list_spaces(store, "selections"):
        rounds = open_table(store, "selections", space=space)
        for manifest in rounds.manifests:
            name = str(manifest.recipe.output.drop)
            manifests[f"{space}/{name}"] = manifest
            for row in read_round(rounds, name, _CHOSEN).to_pylist():
                tile = ChosenTile(
                    round=0,
                    **row,
                    reason="",
                    cluster=None,
                    distance=None,
                    latitude=None,
                    longitude=None,
                )
                tiles.setdefault(tile.tile_id, tile)
                of_tile.setdefault(tile.tile_id, f"{space}/{name}")
                stem = PurePosixPath(name_picture(tile, of=manifest.rows)).stem
                names[stem] = (*names.get(stem, ()), tile.tile_id)
    return ChosenTiles(tiles, of_tile, names, manifests)


def read_rows(
    store: ObjectStore, drops: Iterable[str], tile_ids: Collection[str]
) -> dict[str, tuple[str, TileRow]]:
    """Read drop and row of tiles by id; a tile that the drops' ``tiles`` lack is left out."""
    rows: dict[str, tuple[str, TileRow]] = {}
    wanted = pa.array(sorted(tile_ids), pa.string())
    for manifest in open_table(store, "tiles", drops=drops).manifests:
        drop = str(manifest.recipe.output.drop)
        table = CommittedTable(store, "tiles", None, (manifest,)).read(drop)
        if "span_px" not in table.column_names:
            continue  # tiled by an earlier version
        for row in read_tile_rows(table.filter(pc.is_in(table["tile_id"], wanted))):
            rows.setdefault(row.tile_id, (drop, row))
    return rows


def make_frame(tile: TileRow) -> CropFrame:
    """Make the geometry of a tile's picture from its row."""
    window = Window(tile.x, tile.y, tile.w, tile.h)
    span = tile.span_px
    return CropFrame(window, span or tile.w, span or tile.h, tile.side_px, tile.side_px)


def make_frame_of(window: Window, jpeg: bytes) -> CropFrame:
    """Make the geometry of a picture whose tile is no longer in ``tiles``, as if it were not padded."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        return CropFrame(window, window.w, window.h, *picture.size)


def read_photographs(
    store: ObjectStore, drops: Collection[str] | None = None
) -> Iterator[StoredPhotograph]:
    """Read the usable photographs of drops, by default of all drops."""
    for manifest in open_table(store, "images", drops=drops).manifests:
        drop = str(manifest.recipe.output.drop)
        table = CommittedTable(store, "images", None, (manifest,)).read(drop, list(_IMAGE))
        for row in table.filter(table["is_usable"]).to_pylist():
            yield StoredPhotograph(row["image_id"], drop, row["path"], row["width"], row["height"])


def read_shots(
    store: ObjectStore, drops: Collection[str], image_ids: Collection[str]
) -> dict[str, ShotFacts]:
    """Read what photographs have in their EXIF about the shot, by image id."""
    shots: dict[str, ShotFacts] = {}
    for table in _read_some(store, drops, image_ids, list(_SHOT)):
        for row in table.to_pylist():
            shots.setdefault(row.pop("image_id"), ShotFacts(**row))
    return shots


def read_images(
    store: ObjectStore, drops: Collection[str], image_ids: Collection[str]
) -> dict[str, ImageToCut]:
    """Read the columns of photographs that decide their pixels and places on the ground, by image id."""
    columns = [column.name for column in columns_of(ImageToCut)]
    images: dict[str, ImageToCut] = {}
    for table in _read_some(store, drops, image_ids, columns):
        for image in read_records(ImageToCut, table):
            images.setdefault(image.image_id, image)
    return images


def _read_some(
    store: ObjectStore, drops: Collection[str], image_ids: Collection[str], columns: list[str]
) -> Iterator[pa.Table]:
    wanted = pa.array(sorted(image_ids), pa.string())
    for manifest in open_table(store, "images", drops=drops).manifests:
        drop = str(manifest.recipe.output.drop)
        table = CommittedTable(store, "images", None, (manifest,)).read(drop, columns)
        yield table.filter(pc.is_in(table["image_id"], wanted))
