"""Draft of a round: chosen tiles with reasons, places, pictures, contact sheet and map."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.stage.origins import hash_tiles
from dino_assets.embeddings.stage.pool import TilePool, hash_inputs, read_pool
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.numerics.open_rows import Quota
from dino_assets.selections.choosing import Selection, select
from dino_assets.selections.coverage import certify
from dino_assets.selections.explaining import PickFigures, explain_selection
from dino_assets.selections.features import describe_signs, measure_signs
from dino_assets.selections.receipt import RECEIPT, dump_receipt
from dino_assets.selections.records import ChosenTile, Pick
from dino_assets.selections.rounds import LIMITS, RoundSettings, check_budget, name_round
from dino_assets.selections.stage.class_shares import measure_shares, score_shares
from dino_assets.selections.stage.examples import EXAMPLES, NO_EXAMPLES, Examples
from dino_assets.selections.stage.ground import (
    EVERY_TILE,
    PoolGround,
    measure_ground,
    read_ground,
)
from dino_assets.selections.stage.labelled import LABELLED, NO_LABELLED, LabelledTiles
from dino_assets.selections.stage.mapping import PoolOnMap, store_map
from dino_assets.selections.stage.paid import SHEET, UNTITLED, PaidRound
from dino_assets.selections.stage.pictures import SHEET_TILES, cut_pictures
from dino_assets.selections.stage.quotas import read_quotas
from dino_assets.selections.stage.receipts import make_receipt
from dino_assets.selections.stage.uncertainties import (
    NO_UNCERTAINTIES,
    UNCERTAINTIES,
    Uncertainties,
    measure_uncertainties,
)
from dino_assets.selections.stage.unreadable import check_readable, find_unopenable, refuse, warn_of
from dino_assets.settings.described import to_recipe
from dino_assets.store.commits.columns import columns_of, make_batch
from dino_assets.store.commits.protocol import (
    Draft,
    OutputId,
    OutputWriter,
    Recipe,
    Spent,
)
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.weights.records import facts_of_caveat, spell_caveat

CODE_VERSION = "9"
# Versions that chose tiles of the same ground, without a setting for it.
EVERY_WINDOW = (*UNTITLED, "4", "5")
# Versions without a receipt, and without the columns that say why a tile was chosen.
UNEXPLAINED = (*EVERY_WINDOW, "6")
# Versions without shares of the budget, limits per drop, and the columns and settings for them.
UNSHARED = (*UNEXPLAINED, "7")
# Versions without the strategy ``uncertainty``, and its column and setting.
UNPREDICTED = (*UNSHARED, "8")
# If a round of one of these versions is damaged, it can be made again with equal content. Contact sheets of
# version 3 have no title.
REPEATABLE = (UNTITLED[-1], "5", "6", "7", "8", CODE_VERSION)
SCHEMA = pa.schema(columns_of(ChosenTile))
_EXPLAINING = ("stands_for", "to_chosen", "neighbours", "why")
_SHARING = ("share", "score")
UNPREDICTED_SCHEMA = pa.schema([each for each in SCHEMA if each.name != "uncertainty"])
UNSHARED_SCHEMA = pa.schema([each for each in UNPREDICTED_SCHEMA if each.name not in _SHARING])
UNEXPLAINED_SCHEMA = pa.schema([each for each in UNSHARED_SCHEMA if each.name not in _EXPLAINING])


class PickedRound(NamedTuple):
    """Picks of a round, facts about them, and why each was picked."""

    selection: Selection
    facts: dict[str, Any]
    explanations: list[PickFigures]


def draft_selections(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    paid: Sequence[PaidRound],
    settings: RoundSettings,
    *,
    projections: CommittedTable,
    open_source: Callable[[str], Source],
    left_out: Mapping[str, str] | None = None,
    sheet_tiles: int = SHEET_TILES,
    model: str,
    caveat: str | None = None,
    examples: Examples = NO_EXAMPLES,
    labelled: LabelledTiles = NO_LABELLED,
    uncertainties: Uncertainties = NO_UNCERTAINTIES,
    code_version: str = CODE_VERSION,
) -> Draft:
    """Draft a round from all tiles committed in the space, without tiles of the ``paid`` rounds.

    Drops that cannot be read are left out and recorded in the facts. If ``left_out`` is given, exactly these
    drops are left out: a committed round can only be made again in this way.

    Two things are refused before anything is stored: a budget that is too large, and a pool of which more
    than half cannot be read. The ``caveat`` of the weights is drawn on the contact sheet and recorded in the
    facts. ``examples`` are the examples of the classes with a share; their names replace those in
    ``settings``. ``labelled`` tiles are not chosen, like those of ``paid`` rounds. ``uncertainties`` are of
    all tiles, and only of a round of that strategy. ``code_version`` can be an earlier version, to make a
    round of that version again.
    """
    name = name_round(settings.round)
    schema = _schema_of(code_version)
    if code_version in EVERY_WINDOW:
        settings = replace(settings, all_windows=True)
    settings = examples.rename(settings)
    config = to_recipe(settings)
    inputs = hash_inputs(embeddings) | {earlier.name: earlier.content for earlier in paid}
    inputs |= examples.hash_inputs() | labelled.hash_inputs() | uncertainties.hash_inputs()
    if code_version in UNPREDICTED:
        del config["uncertainty"]
    if code_version in UNSHARED:
        for setting in LIMITS:
            del config[setting]
    if code_version in EVERY_WINDOW:
        del config["all_windows"]
    elif not settings.all_windows or settings.most_per_camera or settings.most_per_class:
        # Their places, cameras and classes decide what may be chosen.
        inputs |= hash_tiles(tiles, embeddings.drops)
    recipe = Recipe(
        OutputId("selections", name, embeddings.space), code_version, config=config, inputs=inputs
    )

    def produce(out: OutputWriter) -> None:
        started = time.perf_counter()
        everything = read_pool(embeddings, settings.column)
        paid_ids = {tile_id for earlier in paid for tile_id in earlier.tile_ids()}
        paid_ids.update(labelled.tile_ids)
        without = dict(
            find_unopenable(embeddings.store, embeddings.drops, open_source)
            if left_out is None
            else left_out
        )
        read_s = time.perf_counter() - started
        cut = partial(cut_pictures, tiles=tiles, open_source=open_source, sheet_tiles=sheet_tiles)
        while True:
            pool = everything.without(without).distinct()
            _check_left(pool, everything, without, settings)
            ground = EVERY_TILE if settings.all_windows else read_ground(tiles, pool, paid)
            picked = pick_round(
                pool,
                settings,
                paid_ids,
                left_out=without,
                ground=ground,
                quotas=read_quotas(tiles, pool, settings),
                examples=examples,
                uncertainties=uncertainties.align(everything, pool),
            )
            pictures = cut(list_picks(pool, picked), settings.round)
            if not pictures.failures:
                break
            pictures.close()
            if left_out is not None:
                raise refuse(pictures.failures)
            without |= (
                pictures.failures
            )  # nothing is stored yet, so choose again from the other drops
        warn_of(without)
        facts = picked.facts
        if len(uncertainties.values):
            facts["probe"] = dict(uncertainties.scores)
            out.file(UNCERTAINTIES, uncertainties.dump())
        with pictures:
            title = "" if code_version in UNTITLED else _make_title(settings, facts, model)
            rows, sheet = pictures.store(out, title=title, caveat=spell_caveat(caveat))
        out.rows(make_batch(rows, schema))
        out.file(SHEET, sheet)
        if examples.rows:
            out.file(EXAMPLES, examples.dump())
        if labelled.tile_ids:
            out.file(LABELLED, labelled.dump())
        if rows:
            of_pool = PoolOnMap(pool, tiles, projections)
            store_map(
                out, rows, of_pool, paid, pictures.cards, model=model, caveat=spell_caveat(caveat)
            )
        if code_version not in UNEXPLAINED:
            receipt = make_receipt(
                recipe, rows, embeddings=embeddings, tiles=tiles, pool=everything
            )
            out.file(RECEIPT, dump_receipt(receipt))
        if code_version not in EVERY_WINDOW:
            facts |= measure_ground(pictures.outlines)
        if code_version not in UNSHARED:
            signs = measure_signs(pool.vectors, rng=np.random.default_rng(settings.seed))
            facts |= describe_signs(signs)
        out.facts(facts | facts_of_caveat(caveat))
        compute_s = time.perf_counter() - started - read_s
        out.spent(Spent(read_s, compute_s))

    return Draft(recipe, produce, schema)


def _schema_of(code_version: str) -> pa.Schema:
    if code_version in UNEXPLAINED:
        return UNEXPLAINED_SCHEMA
    if code_version in UNSHARED:
        return UNSHARED_SCHEMA
    return UNPREDICTED_SCHEMA if code_version in UNPREDICTED else SCHEMA


def _make_title(settings: RoundSettings, facts: Mapping[str, Any], model: str) -> str:
    tiles = count_of(int(facts["picked"]), "tile")
    return f"Round {settings.round}: {tiles} of {facts['pool']:,}, {settings.strategy}, by {model}"


def _check_left(
    pool: TilePool,
    everything: TilePool,
    left_out: Mapping[str, str],
    settings: RoundSettings,
) -> None:
    """Refuse a pool without the drops that are left out, if too little is left.

    Raises:
        SourceError: all drops are left out, or those left out have more than half of the tiles and the
            setting ``all`` is off.
    """
    if left_out and not len(pool):
        raise refuse(left_out)
    if left_out and not settings.all:
        check_readable(len(pool), len(everything.distinct()), left_out)


def pick_round(
    pool: TilePool,
    settings: RoundSettings,
    paid: set[str],
    *,
    left_out: Mapping[str, str],
    ground: PoolGround = EVERY_TILE,
    quotas: Sequence[Quota] = (),
    examples: Examples = NO_EXAMPLES,
    uncertainties: NDArray[np.float32] | None = None,
) -> PickedRound:
    """Select tiles by the cosine metric.

    ``ground`` says which tiles show the same ground; only one of these is selected. Each of the ``quotas``
    limits the tiles of groups. ``examples`` are the examples of the classes with a share of the budget.
    ``uncertainties`` (N,) are those of the pool's tiles, for the strategy ``uncertainty``.

    Raises:
        ConfigError: the budget is too large (``check_budget``) and ``all`` is not set, or no tile is left.
    """
    vectors = scale_to_unit(pool.vectors)
    chosen = np.flatnonzero([tile_id in paid for tile_id in pool.tile_ids])
    closed = sorted(ground.list_taken(chosen.tolist()))
    if len(pool):
        check_budget(
            settings, pool=len(pool), paid=len(chosen), same_ground=len(closed), left_out=left_out
        )
    picked = select(
        vectors,
        budget=settings.budget,
        strategy=settings.strategy,
        n_clusters=settings.n_clusters,
        fps_ratio=settings.fps_ratio,
        rng=np.random.default_rng(settings.seed),
        chosen=chosen,
        closed=closed,
        excludes=ground.excludes,
        quotas=quotas,
        shares=score_shares(vectors, settings, examples),
        uncertainties=uncertainties,
    )
    facts: dict[str, Any] = {
        "pool": len(pool),
        "paid_before": len(chosen),
        "picked": len(picked.indices),
        "shortfall": picked.shortfall,
        "n_clusters": picked.n_clusters,
        **({"left_out": dict(left_out)} if left_out else {}),
        **measure_shares(picked, settings),
    }
    if not settings.all_windows:
        own, before = picked.indices.tolist(), chosen.tolist()
        facts["same_ground"] = len(ground.list_beside(own).difference(before))
        facts["ground_taken"] = len(ground.list_taken([*before, *own]))
    if len(picked.indices):
        cover = certify(
            vectors, picked.indices, rng=np.random.default_rng(settings.seed), chosen=chosen
        )
        facts |= {
            "coverage_radius": round(cover.radius, 6),
            "random_coverage_radius": round(cover.random_radius, 6),
            "coverage_mean": round(cover.mean, 6),
            "random_coverage_mean": round(cover.random_mean, 6),
        }
    if uncertainties is not None:
        facts |= measure_uncertainties(uncertainties[picked.indices], uncertainties)
    figures = explain_selection(
        vectors, picked, chosen=chosen.tolist(), uncertainties=uncertainties
    )
    return PickedRound(picked, facts, figures)


def list_picks(pool: TilePool, picked: PickedRound) -> list[Pick]:
    """List the picked tiles in the order of their ranks."""
    selection = picked.selection
    rows = zip(selection.indices.tolist(), selection.reasons, picked.explanations, strict=True)
    return [
        Pick(
            rank,
            pool.drops[index],
            pool.tile_ids[index],
            pool.image_ids[index],
            reason,
            each.stands_for,
            each.to_chosen,
            tuple(pool.tile_ids[row] for row in each.neighbours),
            each.why,
            each.uncertainty,
        )
        for rank, (index, reason, each) in enumerate(rows, start=1)
    ]
