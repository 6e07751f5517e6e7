"""Stage *projections*: drafts and checks the map of all tiles embedded in one space."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.drawing.thumbnails import draw_thumbnail
from dino_assets.drops.naming import join_names
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.origins import Origins, hash_tiles, read_origins
from dino_assets.embeddings.stage.pool import (
    TilePool,
    choose_pool,
    hash_inputs,
    list_drops,
    read_pool,
)
from dino_assets.errors import CorruptObjectError
from dino_assets.projections.layout import Method, fit_projection
from dino_assets.projections.map.colours import number_colours
from dino_assets.projections.map.page import make_page
from dino_assets.projections.map.picture import draw_map
from dino_assets.settings.described import (
    check_settings,
    described,
    from_recipe,
    make_record,
    to_recipe,
)
from dino_assets.store.commits.catalogue import PREVIEW
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.commits.protocol import (
    Draft,
    Manifest,
    OutputId,
    OutputWriter,
    Recipe,
    Spent,
)
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.rows import TileOrigin
from dino_assets.verdicts import Verdict
from dino_assets.weights.records import facts_of_caveat, spell_caveat

Coordinates = NDArray[np.float32]
CODE_VERSION = "4"
PICTURE, PAGE = "map.png", "map.html"
# With more tiles the page is slow to open and is not made; the table and the picture have all tiles.
PAGE_TILES = 20_000
SHOWN_DROPS = 5
SCHEMA = pa.schema(
    [
        pa.field("drop", pa.string(), nullable=False),
        pa.field("tile_id", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class MapSettings:
    """Settings of a map; they are part of the map's recipe."""

    column: EmbeddingColumn = described("cls", "Vector to use; mean is the mean over patches")
    method: Method = described("umap", "umap keeps neighbours together; linear (PCA) is faster")
    n_neighbors: int = described(15, "UMAP: neighbours per tile; limited to the pool's size")
    min_dist: float = described(0.1, "UMAP: least distance between points")
    seed: int = described(42, "Equal seeds give equal maps on one machine")
    drops: tuple[str, ...] = described((), "Use only these drops and drops with one of the tags")
    tags: tuple[str, ...] = described(
        (), "Use only drops with one of these tags and the named drops"
    )


def make_settings(**values: Any) -> MapSettings:
    """Make settings from values as users write them.

    Raises:
        ConfigError: a column or a method does not exist.
    """
    settings = make_record(MapSettings, values)
    check_settings(settings)
    return settings


def draft_projections(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    settings: MapSettings,
    *,
    model: str,
    caveat: str | None = None,
) -> Draft:
    """Draft the map of all tiles embedded in one space, from the drops that the settings choose.

    ``tiles`` holds the photograph and the place of each tile, which the map's page shows.

    Raises:
        ConfigError: a drop or a tag does not exist.
    """
    embeddings = choose_pool(embeddings, drops=settings.drops, tags=settings.tags)
    drops = set(embeddings.drops)
    tiles = replace(
        tiles, manifests=tuple(m for m in tiles.manifests if m.recipe.output.drop in drops)
    )
    output = OutputId("projections", space=embeddings.space)
    colours = number_colours(embeddings.drops, read_colours(_find_map(embeddings.store, output)))
    recipe = Recipe(
        output,
        CODE_VERSION,
        # Colours come from the previous map and change the bytes, so they are part of the recipe.
        config={**to_recipe(settings), "colours": colours},
        inputs=hash_inputs(embeddings) | hash_tiles(tiles, embeddings.drops),
    )

    def produce(out: OutputWriter) -> None:
        started = time.perf_counter()
        pool = read_pool(embeddings, settings.column)
        read_s = time.perf_counter() - started
        fitted = fit_projection(
            pool.vectors,
            n_neighbors=settings.n_neighbors,
            min_dist=settings.min_dist,
            seed=settings.seed,
            method=settings.method,
        )
        columns = [
            pa.array(pool.drops, pa.string()),
            pa.array(pool.tile_ids, pa.string()),
            pa.array(np.ascontiguousarray(fitted.coordinates[:, 0])),
            pa.array(np.ascontiguousarray(fitted.coordinates[:, 1])),
        ]
        out.rows(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
        caption = f"{model}, {settings.column}, {fitted.method}, seed {settings.seed}"
        fitted_at = time.perf_counter()
        origins = read_origins(tiles, pool) if len(pool) <= PAGE_TILES else Origins([], {})
        read_s += time.perf_counter() - fitted_at
        draw_files(
            out,
            pool,
            fitted.coordinates,
            origins=origins.tiles,
            colours=colours,
            caption=caption,
            caveat=spell_caveat(caveat),
        )
        facts: dict[str, Any] = {
            "method": fitted.method,
            "why": fitted.why,
            "drops": len(set(pool.drops)),
        }
        if origins.unknown:
            facts["photographs_unknown"] = origins.unknown
        out.facts(facts | facts_of_caveat(caveat))
        compute_s = time.perf_counter() - started - read_s
        out.spent(Spent(read_s, compute_s))

    return Draft(recipe, produce, SCHEMA)


def read_colours(made: Manifest | None) -> dict[str, int]:
    """Read the drops' colour numbers from a committed map; return an empty dict if there is no map."""
    return dict(made.recipe.config.get("colours", {})) if made else {}


def _find_map(store: ObjectStore, output: OutputId) -> Manifest | None:
    try:
        return find_manifest(store, output)
    except CorruptObjectError:
        return None  # `commit` replaces the damaged map and logs a warning


def draw_files(
    out: OutputWriter,
    pool: TilePool,
    coordinates: Coordinates,
    *,
    origins: Sequence[TileOrigin | None],
    colours: Mapping[str, int],
    caption: str,
    caveat: str = "",
) -> None:
    """Draw the picture, its preview for the UI and, for at most ``PAGE_TILES`` tiles, the page."""
    names, groups = pool.group_by_drop()
    title = f"{count_of(len(pool), 'tile')} of {count_of(len(names), 'drop')}"
    picture = draw_map(
        coordinates,
        groups=groups,
        group_names=names,
        colours=[colours[name] for name in names],
        chosen=(),
        title=title,
        caption=caption,
        caveat=caveat,
    )
    out.file(PICTURE, picture)
    out.file(PREVIEW, draw_thumbnail(picture))
    if len(pool) <= PAGE_TILES:
        page = make_page(
            coordinates,
            tile_ids=pool.tile_ids,
            groups=groups,
            group_names=names,
            colours=[colours[name] for name in names],
            thumbs=pool.thumbs,
            origins=origins,
            title=title,
            caption=caption,
            caveat=caveat,
        )
        out.file(PAGE, page.encode())


def judge_projections(
    projections: CommittedTable, embeddings: CommittedTable, *, space: str
) -> Verdict:
    """Check that the map has a finite place for every embedded tile."""
    if not projections.manifests:
        return Verdict(space, False, "no map is committed in this space. Materialise projections.")
    rows = projections.read(None)
    if rows.num_rows != embeddings.rows:
        return Verdict(
            space,
            False,
            f"the map has {rows.num_rows} places for {embeddings.rows} embedded tiles. Materialise "
            "projections.",
        )
    for name in ("x", "y"):
        bad = int((~np.isfinite(rows[name].to_numpy())).sum())
        if bad:
            return Verdict(space, False, f"{bad} tiles have no finite {name}")
    return Verdict(space, True, f"{count_of(rows.num_rows, 'tile is', 'tiles are')} on the map")


def judge_age(maps: CommittedTable, embeddings: CommittedTable, *, space: str) -> Verdict:
    """Warn if a space's map is old: a drop is missing on it, was embedded again or has left the pool."""
    if not maps.manifests:
        count = len(choose_pool(embeddings, committed=()).drops)
        drops = count_of(count, "drop is", "drops are")
        return Verdict(space, True, f"{drops} embedded and on no map", warns=count > 0)
    recipe = maps.manifest(None).recipe
    settings = from_recipe(MapSettings(), recipe.config)
    pool = choose_pool(embeddings, drops=settings.drops, tags=settings.tags, committed=())
    mapped = {drop: recipe.inputs[drop] for drop in list_drops(recipe)}
    embedded = hash_inputs(pool)
    differences = {
        "not on the map": sorted(embedded.keys() - mapped.keys()),
        "embedded again since": sorted(
            drop for drop in embedded.keys() & mapped.keys() if embedded[drop] != mapped[drop]
        ),
        "on the map and no longer in the pool": sorted(mapped.keys() - embedded.keys()),
    }
    changes = [
        f"{join_names(names, SHOWN_DROPS)}: {what}" for what, names in differences.items() if names
    ]
    if changes:
        return Verdict(space, True, f"{'; '.join(changes)}. Materialise projections.", warns=True)
    drops = count_of(len(embedded), "drop", "drops, all")
    return Verdict(space, True, f"the map is of {drops} as embedded now")
