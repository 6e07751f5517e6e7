"""Tiles of the studio by drop and id, with the size of their photograph; tables are opened again after a while."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.labels.records import Target, Window
from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.mapped import MappedParts
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.reading import read_tiles
from dino_assets.tiles.rows import TileRow

_OPEN_AGAIN_S = 5.0
_AROUND = 5  # sides of a mosaic's tile that are shown around it


class TileName(NamedTuple):
    """A tile, and the drop in which it is looked at."""

    drop: str
    tile_id: str


@dataclass(frozen=True)
class ShownTile:
    """A tile with the size of its upright photograph."""

    drop: str
    row: TileRow
    width: int
    height: int

    @property
    def window(self) -> Window:
        """The tile's window, cut at the edges of the photograph."""
        row = self.row
        return Window(row.x, row.y, min(row.w, self.width - row.x), min(row.h, self.height - row.y))

    @property
    def around(self) -> Window:
        """The window that is shown around it: the photograph, or a part of a mosaic."""
        if not self.row.is_mosaic:
            return Window(0, 0, self.width, self.height)
        row = self.row
        spare_x, spare_y = row.w * (_AROUND - 1) // 2, row.h * (_AROUND - 1) // 2
        left, top = max(0, row.x - spare_x), max(0, row.y - spare_y)
        right = min(self.width, row.x + row.w + spare_x)
        bottom = min(self.height, row.y + row.h + spare_y)
        return Window(left, top, right - left, bottom - top)

    def as_target(self) -> Target:
        """Return the tile as the thing that an answer is about."""
        return Target(
            "tile", self.drop, self.row.image_id, self.row.path, self.window, self.row.tile_id
        )


class TileLookup:
    """Finds tiles in the committed tables; ``open`` opens a table with copies on this machine."""

    def __init__(self, store: ObjectStore, copies: MappedParts) -> None:
        self._store = store
        self._copies = copies
        self._opened: dict[tuple[str, str | None], tuple[float, CommittedTable]] = {}
        self._sizes: dict[str, tuple[str, dict[str, tuple[int, int]]]] = {}
        self._lock = threading.Lock()

    def open(self, asset: str, space: str | None = None) -> CommittedTable:
        """Open the committed table of an asset; what was committed some seconds ago may be missing."""
        now = time.monotonic()
        opened = self._opened.get((asset, space))
        if opened is None or now - opened[0] > _OPEN_AGAIN_S:
            table = open_table(self._store, asset, space=space)
            table = CommittedTable(
                self._store, asset, space, table.manifests, table.unmade, self._copies
            )
            opened = (now, table)
            self._opened[asset, space] = opened
        return opened[1]

    def find(self, names: Sequence[TileName]) -> list[ShownTile]:
        """Find tiles, in the given order.

        Raises:
            StudioProblem: a tile does not exist; 404.
            CorruptObjectError: a table is damaged.
        """
        ids_of: dict[str, set[str]] = {}
        for name in names:
            ids_of.setdefault(name.drop, set()).add(name.tile_id)
        shown: dict[TileName, ShownTile] = {}
        for drop, ids in ids_of.items():
            sizes = self.read_sizes(drop)
            for tile_id, row in self._read(drop, ids).items():
                width, height = sizes.get(row.image_id, (row.x + row.w, row.y + row.h))
                shown[TileName(drop, tile_id)] = ShownTile(drop, row, width, height)
        return [shown[name] for name in names]

    def find_tile_of(self, drop: str, image_id: str) -> str | None:
        """Find the id of some tile of a photograph; None if the drop has none."""
        tiles = self.open("tiles")
        if drop not in tiles.drops:
            return None
        table = tiles.read(drop, ["tile_id", "image_id"])
        row = pc.index(table["image_id"], pa.scalar(image_id)).as_py()
        return str(table["tile_id"][row].as_py()) if row >= 0 else None

    def read_sizes(self, drop: str) -> dict[str, tuple[int, int]]:
        """Read the width and height of a drop's upright pictures, by image id."""
        images = self.open("images")
        if drop not in images.drops:
            return {}
        version = content_hash(images.manifest(drop))
        with self._lock:
            stored = self._sizes.get(drop)
            if stored is None or stored[0] != version:
                table = images.read(drop, ["image_id", "width", "height"]).drop_null()
                columns = [table[name].to_pylist() for name in ("image_id", "width", "height")]
                stored = (version, {image: (w, h) for image, w, h in zip(*columns, strict=True)})
                self._sizes[drop] = stored
        return stored[1]

    def read_thumb(self, name: TileName, spaces: Callable[[], Sequence[str]]) -> bytes:
        """Read the thumbnail (WebP) of a tile from the embeddings of any space.

        Raises:
            StudioProblem: the tile is not embedded; 404.
        """
        for space in spaces():
            embeddings = self.open("embeddings", space)
            if name.drop not in embeddings.drops:
                continue
            table = embeddings.read(name.drop, ["tile_id", "thumb"])
            row = pc.index(table["tile_id"], pa.scalar(name.tile_id)).as_py()
            if row >= 0:
                return bytes(table["thumb"][row].as_py())
        raise StudioProblem(
            404,
            "no-thumbnail",
            f"tile {name.tile_id!r} of {name.drop} is not embedded. Run `dino-assets run {name.drop}`.",
        )

    def _read(self, drop: str, ids: set[str]) -> dict[str, TileRow]:
        tiles = self.open("tiles")
        if drop not in tiles.drops:
            raise StudioProblem(404, "no-such-drop", f"drop {drop!r} has no tiles in the store")
        table = tiles.read(drop, ["tile_id"])
        wanted = pa.array(sorted(ids))
        is_there = pc.is_in(wanted, table["tile_id"].combine_chunks())
        missing = wanted.filter(pc.invert(is_there)).to_pylist()
        if missing:
            raise StudioProblem(
                404,
                "no-such-tile",
                f"drop {drop!r} has no tile {missing[0]!r}; was it tiled again?",
            )
        return read_tiles(tiles, drop, ids)
