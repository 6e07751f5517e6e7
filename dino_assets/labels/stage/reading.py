"""Reading of committed labels, as labels of photographs and boxes, or as classes of tiles."""

from collections.abc import Collection, Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.labels.records import Label, TileLabel, Window
from dino_assets.labels.stage.drafting import OUTPUT
from dino_assets.labels.tile_labels import LEAST_VISIBLE, TileWindow, label_tiles
from dino_assets.store.commits.columns import read_records
from dino_assets.store.commits.manifests import content_hash, find_manifest
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore

_COLUMNS = ["tile_id", "image_id", "x", "y", "w", "h", "is_whole"]


def read_labels(store: ObjectStore) -> list[Label]:
    """Read all committed labels; an empty list if there are none."""
    table = open_table(store, OUTPUT.asset)
    if not table.manifests:
        return []
    return list(read_records(Label, table.read()))


def hash_labels(store: ObjectStore) -> dict[str, str]:
    """Hash the committed labels, as an input of a recipe; empty if there are none."""
    manifest = find_manifest(store, OUTPUT)
    return {} if manifest is None else {OUTPUT.asset: content_hash(manifest)}


def read_tile_labels(
    store: ObjectStore,
    tiles: CommittedTable,
    drops: Collection[str] | None = None,
    *,
    least_visible: float = LEAST_VISIBLE,
) -> list[TileLabel]:
    """Read the classes of the tiles of some drops, or of all, sorted by tile id."""
    labels = read_labels(store)
    if not labels:
        return []
    image_ids = {label.image_id for label in labels}
    return label_tiles(labels, _read_windows(tiles, drops, image_ids), least_visible=least_visible)


def _read_windows(
    tiles: CommittedTable, drops: Collection[str] | None, image_ids: set[str]
) -> Iterator[TileWindow]:
    wanted = pa.array(sorted(image_ids))
    if drops is not None:
        of_drops = tuple(m for m in tiles.manifests if m.recipe.output.drop in drops)
        tiles = replace(tiles, manifests=of_drops)
    for _, part in tiles.parts(_COLUMNS):
        for row in part.filter(pc.is_in(part["image_id"], wanted)).to_pylist():
            window = Window(row["x"], row["y"], row["w"], row["h"])
            yield TileWindow(row["tile_id"], row["image_id"], window, row["is_whole"])


def list_labelled(store: ObjectStore) -> list[str]:
    """List the ids of all tiles that have a class, for rounds that do not choose them again.

    The table of tiles is read only if photographs or boxes are labelled.
    """
    labels = read_labels(store)
    if all(label.level == "tile" for label in labels):
        return [str(label.tile_id) for label in labels]
    return [label.tile_id for label in read_tile_labels(store, open_table(store, "tiles"))]
