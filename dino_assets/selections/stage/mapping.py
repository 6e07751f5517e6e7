"""Map of a round: picture and page with the chosen tiles."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.stage.origins import read_origins
from dino_assets.embeddings.stage.pool import TilePool
from dino_assets.errors import CorruptObjectError
from dino_assets.projections.layout import fit_projection
from dino_assets.projections.map.cards import Choice
from dino_assets.projections.map.colours import number_colours
from dino_assets.projections.map.page import make_page
from dino_assets.projections.map.picture import draw_map
from dino_assets.projections.stage import PAGE_TILES, read_colours
from dino_assets.selections.records import ChosenTile
from dino_assets.selections.stage.paid import MAP_PAGE, MAP_PICTURE, PaidRound, spell_input
from dino_assets.selections.strategies.strategy import REASONS
from dino_assets.store.commits.protocol import OutputWriter
from dino_assets.store.commits.reading import CommittedTable


class PoolOnMap(NamedTuple):
    """A round's pool, the ``tiles`` that it comes from, and the map of its space."""

    pool: TilePool
    tiles: CommittedTable
    projections: CommittedTable


def store_map(
    out: OutputWriter,
    rows: Sequence[ChosenTile],
    mapped: PoolOnMap,
    paid: Sequence[PaidRound],
    pictures: Mapping[int, bytes],
    *,
    model: str,
    caveat: str = "",
) -> None:
    """Store the round's map as a picture and, for at most ``PAGE_TILES`` tiles, as a page.

    Both show which tiles are chosen and which were chosen earlier. ``pictures``, by rank, are for the cards
    of chosen tiles; other tiles show their thumbnails.
    """
    pool = mapped.pool
    coordinates, layout = place_pool(mapped.projections, pool)
    row_of = {tile_id: row for row, tile_id in enumerate(pool.tile_ids)}
    ranks = {row_of[tile.tile_id]: tile.rank for tile in rows}
    earlier = {
        row_of[tile_id]: f"chosen earlier: {spell_input(each.name)}"
        for each in paid
        for tile_id in each.tile_ids()
        if tile_id in row_of
    }
    names, groups = pool.group_by_drop()
    colours = number_colours(names, read_colours(next(iter(mapped.projections.manifests), None)))
    title = f"Round {rows[0].round}: {len(rows):,} of {len(pool):,} tiles"
    caption = f"{model}, {layout}. Rings: chosen in this round. Pale dots: the other tiles."
    picture = draw_map(
        coordinates,
        groups=groups,
        group_names=names,
        colours=[colours[name] for name in names],
        chosen=list(ranks),
        labels={row: str(rank) for row, rank in ranks.items()},
        earlier=list(earlier),
        is_pale=True,
        title=title,
        caption=caption,
        caveat=caveat,
    )
    out.file(MAP_PICTURE, picture)
    if len(pool) <= PAGE_TILES:
        page = make_page(
            coordinates,
            tile_ids=pool.tile_ids,
            groups=groups,
            group_names=names,
            colours=[colours[name] for name in names],
            thumbs=pool.thumbs,
            origins=read_origins(mapped.tiles, pool).tiles,
            chosen={row_of[tile.tile_id]: make_choice(tile, pictures) for tile in rows},
            earlier=earlier,
            title=title,
            caption=caption,
            caveat=caveat,
        )
        out.file(MAP_PAGE, page.encode())


def make_choice(tile: ChosenTile, pictures: Mapping[int, bytes]) -> Choice:
    """Make the card and list entry of a chosen tile."""
    why = REASONS[tile.reason]
    if tile.why is not None:
        why = f"{tile.why[0].lower()}{tile.why[1:].rstrip('.')}"
    elif tile.reason == "farthest" and tile.cluster is not None:
        why += " in its cluster"
    return Choice(
        rank=tile.rank,
        reason=tile.label,
        note=f"round {tile.round}, rank {tile.rank}, {tile.reason}: {why}",
        cluster=tile.cluster,
        picture=pictures.get(tile.rank, b""),
    )


def place_pool(projections: CommittedTable, pool: TilePool) -> tuple[NDArray[np.float32], str]:
    """Return the places (N, 2) of the pool's tiles on the committed map, and a phrase for the caption.

    If the map does not exist, cannot be read or lacks a tile, the pool is laid out for this round alone.
    So a round can be made without a map.
    """
    places = _read_places(projections)
    keys = list(zip(pool.drops, pool.tile_ids, strict=True))
    if all(key in places for key in keys):
        return np.array([places[key] for key in keys], np.float32), "on the map of its space"
    coordinates = fit_projection(pool.vectors, method="linear").coordinates.astype(np.float32)
    return coordinates, "laid out for this round, because no map has all its tiles"


def _read_places(projections: CommittedTable) -> dict[tuple[str, str], tuple[float, float]]:
    try:
        table = projections.read(None) if projections.manifests else None
    except CorruptObjectError:
        return {}
    if table is None:
        return {}
    columns = [table[name].to_pylist() for name in ("drop", "tile_id", "x", "y")]
    return {(drop, tile): (x, y) for drop, tile, x, y in zip(*columns, strict=True)}
