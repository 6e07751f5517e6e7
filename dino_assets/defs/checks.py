"""Asset checks. Checks of partitioned assets judge each drop separately, also in a run of several drops."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from dino_assets.defs.judging import (
    Evaluations,
    drop_check,
    judge_drops,
    judge_outputs,
    open_for_run,
    show_rows,
    to_result,
)
from dino_assets.defs.observations import INBOX, find_changes
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.resources.inbox import InboxResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.drops.observing import judge_arrivals
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.drafting import open_embeddings
from dino_assets.embeddings.stage.drift import compare_embedded
from dino_assets.embeddings.stage.judging import judge_embeddings
from dino_assets.embeddings.stage.pool import list_drops
from dino_assets.errors import CorruptObjectError
from dino_assets.images.inspection import judge_quarantine
from dino_assets.images.stage.judging import judge_findings, judge_images, list_bad_files
from dino_assets.projections.stage import judge_age, judge_projections
from dino_assets.selections.stage.judging import judge_selections
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.manifests import find_manifest, read_manifest
from dino_assets.store.commits.parts import verify_part
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.tiles.stage import judge_tiles
from dino_assets.verdicts import Verdict
from dino_assets.weights.stage import OUTPUT as WEIGHTS
from dino_assets.weights.stage import load_checkpoint


@dg.asset_check(
    asset=INBOX,
    description=(
        "Warns if no drop has had new photographs for DINO_FLIGHT_DAYS days (default 30). Photographs count "
        "from the moment when they were first listed."
    ),
)
@tried_again
def flights_are_recent(
    context: dg.AssetCheckExecutionContext, inbox: InboxResource
) -> dg.AssetCheckResult:
    """Check that the source of some drop has changed within the configured number of days."""
    keys = context.instance.get_dynamic_partitions("drops")
    changed_s = find_changes(context.instance, keys)
    return to_result(
        context, [judge_arrivals(changed_s, now_s=time.time(), max_days=inbox.flight_days)]
    )


@dg.asset_check(
    asset="weights", blocking=True, description="Every stored file has its recorded sha256."
)
@tried_again
def weights_are_whole(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Read every file of the checkpoint and compare its hash."""
    store = storage.open()
    verdicts = []
    for part in read_manifest(store, WEIGHTS).parts:
        try:
            verify_part(store, part)
            verdicts.append(Verdict(part.name or part.key, True, f"{part.bytes:,} bytes, whole"))
        except CorruptObjectError as err:
            verdicts.append(Verdict("weights", False, str(err)))
    failed = [v for v in verdicts if not v.passed]
    return to_result(context, failed[:1] or verdicts)


@drop_check(
    asset="images",
    blocking=True,
    description=(
        "Counts files that cannot be used. Warns if there is at least one. Fails if there are more than "
        "2 and they are more than 5 % of all files, or if no file is usable."
    ),
)
def images_are_usable(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> Evaluations:
    """Judge how many files each drop has in quarantine, and show them."""
    table = open_for_run(context, storage, "images")

    def judge(drop: str) -> Verdict:
        facts = table.manifest(drop).facts
        return judge_quarantine(
            drop, usable=int(facts["usable"]), quarantined=int(facts["quarantined"])
        )

    def show(drop: str) -> Mapping[str, Any]:
        bad_files = list_bad_files(table, drop) if drop in table.drops else ()
        return {"quarantined": show_rows(bad_files, ["path", "reason", "detail"])}

    return judge_drops(context, table, judge, show)


@drop_check(
    asset="images",
    blocking=True,
    description="Paths are unique, and every usable row has an image id and a size.",
)
def images_are_complete(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> Evaluations:
    """Check each drop's rows: paths are unique, and usable images have an id and a size."""
    table = open_for_run(context, storage, "images")
    return judge_drops(context, table, lambda drop: judge_images(table, drop))


@drop_check(
    asset="images",
    description=(
        "Warns of photographs without a place or with a wrong date, of blurred or badly exposed ones, of "
        "duplicates, and of gaps in the numbering. The page report.html shows them."
    ),
)
def images_look_right(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> Evaluations:
    """List what a person should look at before labels are paid for."""
    table = open_for_run(context, storage, "images")
    today = datetime.now(tz=UTC).date()
    return judge_drops(context, table, lambda drop: judge_findings(table, drop, today=today))


@drop_check(
    asset="tiles",
    blocking=True,
    description=(
        "Tile ids are unique, and the tiles of every usable image cover all of its pixels. If the drop has boxes "
        "of a detector, each box is a tile or is accounted for instead."
    ),
)
def tiles_cover_images(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> Evaluations:
    """Check that the tiles of each drop cover every pixel of its usable images, or account for every box."""
    tiles = open_for_run(context, storage, "tiles")
    images = open_table(storage.open(), "images", drops=tiles.drops)
    return judge_drops(context, tiles, lambda drop: judge_tiles(images, tiles, drop))


def _open_embedded(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> tuple[CommittedTable, dict[str, CommittedTable]]:
    """Open the run's tiles and, for each drop, its embeddings in the configured space."""
    store, tiles = storage.open(), open_for_run(context, storage, "tiles")
    return tiles, open_embeddings(store, tiles, load_checkpoint(store), compute.configured())


@drop_check(
    asset="embeddings",
    blocking=True,
    description=(
        "Every tile has one finite vector under its tile id, and all vectors are in one space. Their lengths "
        "are similar to those of the test tiles with which the engine was checked. Warns if an engine was "
        "refused."
    ),
)
def embeddings_match_tiles(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> Evaluations:
    """Compare the vectors with the tiles."""
    tiles, embedded = _open_embedded(context, storage, compute)
    return judge_drops(context, tiles, lambda drop: judge_embeddings(tiles, embedded[drop], drop))


@drop_check(
    asset="embeddings",
    description=(
        "Warns if a drop has tiles unlike anything in the other drops, and lists these tiles. Says so if "
        "there are too few drops to compare. Never blocks."
    ),
)
def embeddings_are_familiar(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> Evaluations:
    """List tiles unlike anything in other drops."""
    tiles, embedded = _open_embedded(context, storage, compute)
    drifts = {drift.verdict.subject: drift for drift in compare_embedded(embedded)}

    def judge(drop: str) -> Verdict:
        if drop in drifts:
            return drifts[drop].verdict
        return Verdict(drop, True, "no embeddings in this space, nothing was compared")

    def show(drop: str) -> Mapping[str, Any]:
        novel = drifts[drop].novel if drop in drifts and drifts[drop].verdict.warns else ()
        return {"most_novel": show_rows(novel, ["tile_id", "image_id", "novelty"])}

    return judge_drops(context, tiles, judge, show)


@dg.asset_check(
    asset="projections",
    blocking=True,
    description="Every embedded tile has a finite place on the map.",
)
@tried_again
def projections_are_complete(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Compare the map that this run made with the embeddings of its space.

    If the run made no map, compare the maps of all spaces.
    """
    store = storage.open()

    def judge(maps: CommittedTable, output: OutputId) -> Verdict:
        used = set(list_drops(maps.manifest(None).recipe))
        # All manifests are opened and then filtered, since a map is made of nearly all drops.
        embedded = open_table(store, "embeddings", space=output.space)
        of_map = tuple(m for m in embedded.manifests if m.recipe.output.drop in used)
        return judge_projections(maps, replace(embedded, manifests=of_map), space=str(output.space))

    return to_result(context, judge_outputs(context, store, "projections", judge))


@dg.asset_check(
    asset="projections",
    description=(
        "Warns if drops were embedded, embedded again or retired after the map was made, or if the current "
        "model's embeddings are on no map."
    ),
)
@tried_again
def map_is_current(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> dg.AssetCheckResult:
    """Compare each space's map with the drops that a new map would show."""
    store = storage.open()
    spaces = set(list_spaces(store, "projections"))
    if find_manifest(store, WEIGHTS):
        spaces.add(current_space(load_checkpoint(store), compute.configured()))
    verdicts = []
    for space in sorted(spaces):
        maps = open_table(store, "projections", space=space)
        embedded = open_table(store, "embeddings", space=space)
        verdicts.append(judge_age(maps, embedded, space=space))
    return to_result(context, verdicts)


@dg.asset_check(
    asset="selections",
    blocking=True,
    description=(
        "The round has as many tiles as the budget asks, each once, all from the pool. No tile is from "
        "an earlier round. No two tiles show the same ground, unless the round allows it."
    ),
)
@tried_again
def selections_are_sound(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Judge the round that this run made; if it made none, judge every round of every space."""
    store = storage.open()

    def judge(rounds: CommittedTable, output: OutputId) -> Verdict:
        embedded = open_table(store, "embeddings", space=output.space)
        return judge_selections(rounds, embedded, open_table(store, "tiles"), str(output.drop))

    return to_result(context, judge_outputs(context, store, "selections", judge))


@dg.asset_check(
    asset="deployments",
    blocking=True,
    description=(
        "Every exported file has its recorded sha256. A graph with other weights would compute wrong "
        "vectors without an error."
    ),
)
@tried_again
def deployments_are_whole(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Read the files that this run exported, and compare their hashes with the recorded ones.

    If the run exported nothing, read the exported files of every space.
    """
    store = storage.open()

    def judge(exports: CommittedTable, output: OutputId) -> Verdict:
        parts = exports.manifest(None).parts
        try:
            for part in parts:
                verify_part(store, part)
        except CorruptObjectError as err:
            return Verdict(str(output), False, str(err))
        return Verdict(str(output), True, f"{len(parts)} files, whole")

    return to_result(context, judge_outputs(context, store, "deployments", judge))
