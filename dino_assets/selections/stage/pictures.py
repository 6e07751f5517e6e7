"""Pictures of chosen tiles, cut from their photographs, and the contact sheet."""

import io
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.drawing.contact_sheet import make_contact_sheet
from dino_assets.drops.sources.source import Source
from dino_assets.images.records import Pixels
from dino_assets.projections.map.cards import CARD_PX
from dino_assets.selections.records import ChosenTile, Pick
from dino_assets.selections.stage.unreadable import OF_ONE_DROP, explain
from dino_assets.store.commits.protocol import OutputWriter
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.grid import TileGrid, cut_tiles
from dino_assets.tiles.reading import read_tiles
from dino_assets.tiles.rows import TileRow, open_tiled
from dino_assets.tiles.stage import grid_of

SHEET_TILES = 200  # few enough to look through; a JPEG is at most 65,535 px high
SHEET_CELL_PX = 220
CROP_QUALITY = 92
CARD_QUALITY = 60  # about 29 KB of woods and fields at 400 px
_IN_MEMORY_BYTES = (
    64 * 2**20
)  # a few hundred pictures; those of a larger round go to a temporary file


class RoundPictures(AbstractContextManager["RoundPictures"]):
    """The cut pictures of a round, which are stored only if every drop could be read.

    ``failures`` are the drops that could not be read, with the reason. ``cards`` are smaller pictures for
    the page with the round's map.
    """

    def __init__(self, number: int, *, sheet_tiles: int) -> None:
        self.failures: dict[str, str] = {}
        self._number = number
        self._sheet_tiles = sheet_tiles
        self._rows: list[ChosenTile] = []  # in the order of the photographs
        self._sizes: list[int] = []
        self._cells: dict[int, NDArray[np.uint8]] = {}
        self.outlines: list[bytes] = []  # on the ground, as WKB, of the tiles with a known place
        self.cards: dict[int, bytes] = {}  # by rank, for the tiles of the contact sheet
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - see close

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the temporary pictures."""
        self._file.close()

    def add(self, pick: Pick, tile: TileRow, picture: Image.Image) -> None:
        """Add the picture of a pick."""
        self._rows.append(make_row(pick, tile, self._number))
        if tile.place.geometry:
            self.outlines.append(tile.place.geometry)
        if pick.rank <= self._sheet_tiles:
            self._cells[pick.rank] = np.asarray(picture.resize((SHEET_CELL_PX, SHEET_CELL_PX)))
            self.cards[pick.rank] = _encode_card(picture)
        self._sizes.append(self._file.write(_encode(picture)))

    def store(
        self, out: OutputWriter, *, title: str = "", caveat: str = ""
    ) -> tuple[list[ChosenTile], bytes]:
        """Store all pictures; return the rows by rank, and the contact sheet."""
        self._file.seek(0)
        for row, size in zip(self._rows, self._sizes, strict=True):
            out.file(row.picture, self._file.read(size))
        chosen = sorted(self._rows, key=lambda row: row.rank)
        sheet = [(self._cells[row.rank], row.caption) for row in chosen[: self._sheet_tiles]]
        return chosen, make_contact_sheet(sheet, title=title, caveat=caveat)


def cut_pictures(
    picks: Sequence[Pick],
    number: int,
    tiles: CommittedTable,
    *,
    open_source: Callable[[str], Source],
    sheet_tiles: int = SHEET_TILES,
) -> RoundPictures:
    """Cut the picture of each pick of a round from its photograph, drop by drop.

    Only one photograph is in memory at a time, so a round may be of any size. A drop that cannot be read is
    recorded in ``failures``, and the other drops are still read.
    """
    pictures = RoundPictures(number, sheet_tiles=sheet_tiles)
    for drop, of_drop in groupby(sorted(picks, key=lambda pick: pick.drop), lambda pick: pick.drop):
        by_id = {pick.tile_id: pick for pick in of_drop}
        try:
            for tile, picture in cut_drop(drop, by_id, tiles, open_source):
                pictures.add(by_id[tile.tile_id], tile, picture)
        except OF_ONE_DROP as err:
            pictures.failures[drop] = explain(tiles.store, err)
    return pictures


def make_row(pick: Pick, tile: TileRow, number: int) -> ChosenTile:
    """Make the stored row of a pick from its tile."""
    return ChosenTile(
        round=number,
        rank=pick.rank,
        drop=pick.drop,
        tile_id=pick.tile_id,
        image_id=pick.image_id,
        path=tile.path,
        x=tile.x,
        y=tile.y,
        w=tile.w,
        h=tile.h,
        reason=pick.reason.word,
        cluster=pick.reason.cluster,
        distance=pick.reason.distance,
        latitude=tile.place.center_latitude,
        longitude=tile.place.center_longitude,
        stands_for=pick.stands_for,
        to_chosen=pick.to_chosen,
        neighbours=pick.neighbours,
        why=pick.why,
        share=pick.share.name or None,
        score=pick.share.score,
        uncertainty=pick.uncertainty,
    )


def cut_drop(
    drop: str,
    tile_ids: Collection[str],
    tiles: CommittedTable,
    open_source: Callable[[str], Source],
) -> Iterator[tuple[TileRow, Image.Image]]:
    """Cut the pictures of some tiles of a drop, sorted by photograph.

    Raises:
        SourceError: a photograph cannot be read, or is not the one that was tiled.
        CommitRefusedError: a tile is not in ``tiles``.
    """
    grid = grid_of(tiles.manifest(drop))
    rows = read_tiles(tiles, drop, tile_ids)
    source = open_source(drop)
    by_path: dict[str, list[TileRow]] = {}
    for tile_id in tile_ids:
        by_path.setdefault(rows[tile_id].path, []).append(rows[tile_id])
    for _, group in sorted(by_path.items()):
        with open_tiled(source, group[0]) as pixels:
            pictures = [_cut(pixels, tile, grid) for tile in group]
        yield from zip(group, pictures, strict=True)


def _cut(pixels: Pixels, tile: TileRow, grid: TileGrid) -> Image.Image:
    window = np.array([[tile.x, tile.y, tile.w, tile.h]], np.int32)
    return Image.fromarray(cut_tiles(pixels, window, grid.side_px, span_px=tile.span_px)[0])


def _encode(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=CROP_QUALITY)
    return sink.getvalue()


def _encode_card(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    small = picture.copy()
    small.thumbnail((CARD_PX, CARD_PX), Image.Resampling.LANCZOS)
    small.save(sink, "WEBP", quality=CARD_QUALITY, method=2)
    return sink.getvalue()
