"""Stage *selections*: the few tiles worth labelling, with reasons, places and pictures."""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from dino_assets.core.linalg import scale_to_unit
from dino_assets.core.selection import Selection, StrategyName, certify, select
from dino_assets.core.sheets import make_contact_sheet
from dino_assets.core.tiling import Pixels, cut_tiles
from dino_assets.errors import CommitRefusedError, ConfigError, CorruptObjectError
from dino_assets.records import (
    Draft,
    EmbeddingColumn,
    Facts,
    NamedBytes,
    OutputId,
    Recipe,
    Spent,
    TileGrid,
    Verdict,
)
from dino_assets.stages.paid import PaidRound, find_paid, read_round
from dino_assets.stages.pixels import open_tiled
from dino_assets.stages.pools import TilePool, check_word, hash_inputs, read_pool
from dino_assets.stages.sources import Source
from dino_assets.stages.tiles import grid_of
from dino_assets.store.readers import CommittedTable

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


@dataclass(frozen=True)
class RoundSettings:
    """One round; part of its recipe."""

    round: int = 1
    budget: int = 20
    strategy: StrategyName = "hybrid"
    n_clusters: int = 100
    fps_ratio: float = 0.5
    seed: int = 42
    column: EmbeddingColumn = "cls"


def make_settings(**values: Any) -> RoundSettings:
    """Settings as a person spells them.

    Raises:
        ConfigError: settings that cannot work.
    """
    settings = RoundSettings(**values)
    check_settings(settings)
    return settings


def check_settings(settings: RoundSettings) -> None:
    """Refuse what cannot work, before anything is read: a round that stands must not hide a misuse.

    Raises:
        ConfigError: a column or a strategy that does not exist, a round outside 1 to 9999, no tiles,
            no clusters, a negative seed, or a share outside 0 to 1.
    """
    check_word("column", settings.column, get_args(EmbeddingColumn))
    check_word("strategy", settings.strategy, get_args(StrategyName))
    name_round(settings.round)
    for name, least in (("budget", 1), ("n_clusters", 1), ("seed", 0)):
        if (value := getattr(settings, name)) < least:
            raise ConfigError(f"{name}={value}: expected {least} or more")
    if not 0 <= settings.fps_ratio <= 1:
        raise ConfigError(
            f"fps_ratio={settings.fps_ratio}: expected 0 to 1, the share of each cluster's quota that "
            "is picked by distance"
        )


def name_round(number: int) -> str:
    """How a round's manifest is called.

    Raises:
        ConfigError: rounds count from 1 to 9999.
    """
    if not 1 <= number <= 9999:
        raise ConfigError(f"round={number}: rounds count from 1 to 9999")
    return f"round-{number:04d}"


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

    def produce() -> Iterator[pa.RecordBatch | NamedBytes | Facts | Spent]:
        started = time.perf_counter()
        pool = read_pool(embeddings, settings.column).distinct()
        known = {tile_id for earlier in paid for tile_id in earlier.tile_ids()}
        read_s = time.perf_counter() - started
        picked, facts = pick_round(pool, settings, known)
        rows = [_row(pool, picked, rank, settings.round) for rank in range(len(picked.indices))]
        cells: dict[int, NDArray[np.uint8]] = {}
        yield from _complete(rows, tiles, open_source, cells)
        yield pa.RecordBatch.from_pylist(rows, SCHEMA)
        sheet = [(cells[row["rank"]], _caption(row)) for row in rows[:SHEET_TILES]]
        yield NamedBytes(SHEET, make_contact_sheet(sheet))
        yield Facts(facts)
        compute_s = time.perf_counter() - started - read_s
        yield Spent(read_s, compute_s, {"unmade": list(embeddings.unmade)})

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
    rows: list[Row],
    tiles: CommittedTable,
    open_source: Callable[[str], Source],
    cells: dict[int, NDArray[np.uint8]],
) -> Iterator[NamedBytes]:
    """Add window and place to each row, and yield its picture; the sheet's cells are kept, by rank.

    Every photograph is read once and let go, so that a round may be as large as it likes.
    """
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
                yield NamedBytes(name_crop(row), _encode(picture))


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


def judge_selections(rounds: CommittedTable, embeddings: CommittedTable, name: str) -> Verdict:
    """As many as asked (or a sentence why not), each once, in the pool, in no round it counts as paid.

    A tile may leave the pool after it was chosen, with its photograph: that warns.
    """
    manifest = rounds.manifest(name)
    named = manifest.recipe.inputs
    try:
        rows = read_round(rounds, name, ["tile_id", "drop"]).to_pylist()
        paid = {
            tile_id
            for earlier in find_paid(rounds.store, rounds, before=name)
            if earlier.name in named
            for tile_id in earlier.tile_ids()
        }
    except CorruptObjectError as err:
        return Verdict(name, False, str(err))
    ids = {row["tile_id"] for row in rows}
    budget, shortfall = int(manifest.recipe.config["budget"]), manifest.facts["shortfall"]
    if len(rows) != budget and not shortfall:
        return Verdict(
            name, False, f"{len(rows)} tiles where {budget} were asked for, and no reason why"
        )
    if len(rows) != len(ids):
        return Verdict(name, False, f"{len(rows) - len(ids)} tiles are picked twice")
    now = hash_inputs(embeddings)
    pool = {i for _, part in embeddings.parts(["tile_id"]) for i in part["tile_id"].to_pylist()}
    lost = [row["drop"] for row in rows if row["tile_id"] not in pool]
    if strays := [drop for drop in lost if named.get(drop) == now.get(drop)]:
        return Verdict(name, False, f"{len(strays)} picked tiles are not in the pool")
    if again := ids & paid:
        return Verdict(name, False, f"{len(again)} tiles were paid for in earlier rounds")
    notes = [shortfall] if shortfall else []
    if lost:
        notes.append(f"{len(lost)} of its tiles have left the pool since")
    said = "; ".join([f"{len(rows)} tiles of a pool of {len(pool)}", *notes])
    return Verdict(name, True, said, warns=bool(notes))
