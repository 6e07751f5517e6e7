"""Stage *selections*: the few tiles worth labelling, with reasons, places and pictures."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from dino_assets.drawing.contact_sheet import make_contact_sheet
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.stage.pool import TilePool, hash_inputs, read_pool
from dino_assets.errors import CommitRefusedError
from dino_assets.images.pixels import open_tiled
from dino_assets.images.records import Pixels
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.selections.choosing import Selection, select
from dino_assets.selections.coverage import certify
from dino_assets.selections.rounds import RoundSettings, name_round
from dino_assets.selections.stage.paid import PaidRound
from dino_assets.store.commits.protocol import (
    Draft,
    OutputId,
    OutputWriter,
    Recipe,
    Spent,
)
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.grid import TileGrid, cut_tiles
from dino_assets.tiles.stage import grid_of

CODE_VERSION = "1"
SHEET = "contact-sheet.jpg"
SHEET_TILES = 200  # what a person looks through; a JPEG ends at 65,535 px
SHEET_CELL_PX = 220
CROP_QUALITY = 92
SCHEMA = pa.schema(
    [
        pa.field("round", pa.int32(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("drop", pa.string(), nullable=False),
        pa.field("tile_id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("x", pa.int32(), nullable=False),
        pa.field("y", pa.int32(), nullable=False),
        pa.field("w", pa.int32(), nullable=False),
        pa.field("h", pa.int32(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("cluster", pa.int32()),
        pa.field("distance", pa.float64()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
    ]
)
Row = dict[str, Any]


def draft_selections(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    paid: Sequence[PaidRound],
    settings: RoundSettings,
    *,
    open_source: Callable[[str], Source],
) -> Draft:
    """Pick one round from everything committed in the space; what is paid for is not picked again."""
    name = name_round(settings.round)
    recipe = Recipe(
        OutputId("selections", name, embeddings.space),
        CODE_VERSION,
        config=asdict(settings),
        inputs=hash_inputs(embeddings) | {earlier.name: earlier.content for earlier in paid},
    )

    def produce(out: OutputWriter) -> None:
        started = time.perf_counter()
        pool = read_pool(embeddings, settings.column).distinct()
        known = {tile_id for earlier in paid for tile_id in earlier.tile_ids()}
        read_s = time.perf_counter() - started
        picked, facts = pick_round(pool, settings, known)
        rows = [_row(pool, picked, rank, settings.round) for rank in range(len(picked.indices))]
        cells = _complete(out, rows, tiles, open_source)
        out.rows(pa.RecordBatch.from_pylist(rows, SCHEMA))
        sheet = [(cells[row["rank"]], _caption(row)) for row in rows[:SHEET_TILES]]
        out.file(SHEET, make_contact_sheet(sheet))
        out.facts(facts)
        compute_s = time.perf_counter() - started - read_s
        out.spent(Spent(read_s, compute_s, {"unmade": list(embeddings.unmade)}))

    return Draft(recipe, produce, SCHEMA)


def pick_round(
    pool: TilePool, settings: RoundSettings, paid: set[str]
) -> tuple[Selection, dict[str, Any]]:
    """Select under the cosine metric, and what is to be known about it."""
    vectors = scale_to_unit(pool.vectors)
    chosen = np.flatnonzero([tile_id in paid for tile_id in pool.tile_ids])
    picked = select(
        vectors,
        budget=settings.budget,
        strategy=settings.strategy,
        n_clusters=settings.n_clusters,
        fps_ratio=settings.fps_ratio,
        rng=np.random.default_rng(settings.seed),
        chosen=chosen,
    )
    facts: dict[str, Any] = {
        "pool": len(pool),
        "paid_before": len(chosen),
        "picked": len(picked.indices),
        "shortfall": picked.shortfall,
        "n_clusters": picked.n_clusters,
    }
    if len(picked.indices):
        cover = certify(
            vectors, picked.indices, rng=np.random.default_rng(settings.seed), chosen=chosen
        )
        facts |= {
            "coverage_radius": round(cover.radius, 6),
            "random_coverage_radius": round(cover.random_radius, 6),
        }
    return picked, facts


def _row(pool: TilePool, picked: Selection, rank: int, number: int) -> Row:
    index, reason = int(picked.indices[rank]), picked.reasons[rank]
    return {
        "round": number,
        "rank": rank + 1,
        "drop": pool.drops[index],
        "tile_id": pool.tile_ids[index],
        "image_id": pool.image_ids[index],
        "reason": reason.word,
        "cluster": reason.cluster,
        "distance": reason.distance,
    }


def _complete(
    out: OutputWriter,
    rows: list[Row],
    tiles: CommittedTable,
    open_source: Callable[[str], Source],
) -> dict[int, NDArray[np.uint8]]:
    """Add window and place to each row, and store its picture; return the sheet's cells by rank.

    Every photograph is read once and let go, so that a round may be as large as it likes.
    """
    cells: dict[int, NDArray[np.uint8]] = {}
    for drop in sorted({row["drop"] for row in rows}):
        mine = [row for row in rows if row["drop"] == drop]
        grid = grid_of(tiles.manifest(drop))
        wanted = pa.array([row["tile_id"] for row in mine])
        table = tiles.read(drop)
        if "span_px" not in table.column_names:
            raise CommitRefusedError(
                f"drop {drop!r} was tiled by an earlier version. Materialise `images`, `tiles` and "
                "`embeddings` of it again."
            )
        known = {
            r["tile_id"]: r for r in table.filter(pc.is_in(table["tile_id"], wanted)).to_pylist()
        }
        missing = sorted({row["tile_id"] for row in mine} - known.keys())
        if missing:
            raise CommitRefusedError(
                f"drop {drop!r}: tile {missing[0]!r} is embedded but no longer in `tiles`. Materialise "
                "`embeddings` of this drop again."
            )
        source = open_source(drop)
        for path in sorted({tile["path"] for tile in known.values()}):
            here = [row for row in mine if known[row["tile_id"]]["path"] == path]
            with open_tiled(source, known[here[0]["tile_id"]]) as pixels:
                crops = [_crop(pixels, known[row["tile_id"]], grid) for row in here]
            for row, picture in zip(here, crops, strict=True):
                tile = known[row["tile_id"]]
                row |= {name: tile[name] for name in ("path", "x", "y", "w", "h")}
                row |= {name: tile[f"center_{name}"] for name in ("latitude", "longitude")}
                if row["rank"] <= SHEET_TILES:
                    cells[row["rank"]] = np.asarray(picture.resize((SHEET_CELL_PX, SHEET_CELL_PX)))
                out.file(name_crop(row), _encode(picture))
    return cells


def _crop(pixels: Pixels, tile: Row, grid: TileGrid) -> Image.Image:
    window = np.array([[tile[name] for name in ("x", "y", "w", "h")]], np.int32)
    return Image.fromarray(cut_tiles(pixels, window, grid.side_px, span_px=tile["span_px"])[0])


def _caption(row: Row) -> str:
    return f"{row['rank']}  {row['drop']}  {row['reason']}"


def name_crop(row: Row) -> str:
    """A chosen tile's picture, in a folder of its own beside the contact sheet."""
    return f"tiles/{row['rank']:04d}_{row['tile_id']}.jpg"


def _encode(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=CROP_QUALITY)
    return sink.getvalue()
