"""What must hold of the outputs, asked after they are made: verdicts per drop.

Promises that must block every run are enforced at commit, by the stages. A check has one verdict per
run, so it blocks only where that verdict is about one drop.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import dagster as dg

from dino_assets.core.images import judge_quarantine
from dino_assets.errors import CorruptObjectError
from dino_assets.partitions import drops_of_run
from dino_assets.records import Verdict
from dino_assets.resources.compute import ComputeResource
from dino_assets.resources.storage import StorageResource
from dino_assets.stages.drift import compare_drops
from dino_assets.stages.drop_reports import judge_findings
from dino_assets.stages.embedding_checks import judge_embeddings
from dino_assets.stages.embeddings import open_embeddings
from dino_assets.stages.images import judge_images
from dino_assets.stages.projections import judge_projections
from dino_assets.stages.reports import list_bad_files
from dino_assets.stages.selections import judge_selections
from dino_assets.stages.states import list_spaces
from dino_assets.stages.tiles import judge_tiles
from dino_assets.stages.weights import OUTPUT as WEIGHTS
from dino_assets.stages.weights import load_checkpoint
from dino_assets.store.manifests import read_manifest
from dino_assets.store.parts import verify_part
from dino_assets.store.readers import CommittedTable, open_table

SHOWN_ROWS = 20


def to_result(
    context: dg.AssetCheckExecutionContext,
    verdicts: Sequence[Verdict],
    **metadata: dg.MetadataValue,
) -> dg.AssetCheckResult:
    """One result for a run: an error blocks in a run of one drop, in others it is a warning.

    Sentences go to the log too: a run's own output names a failed check, but not why it failed.
    """
    failed = [v for v in verdicts if not v.passed]
    warned = [v for v in verdicts if v.passed and v.warns]
    is_blocking = bool(failed) and len(verdicts) == 1
    severity = dg.AssetCheckSeverity.ERROR if is_blocking else dg.AssetCheckSeverity.WARN
    worst = failed or warned or list(verdicts)
    for verdict in (*failed, *warned):
        context.log.warning(f"{verdict.subject}: {verdict.sentence}")
    return dg.AssetCheckResult(
        passed=bool(verdicts) and not failed and not warned,
        severity=severity,
        description="; ".join(f"{v.subject}: {v.sentence}" for v in worst[:5])
        or "nothing is committed yet",
        metadata={
            "verdicts": {v.subject: v.sentence for v in verdicts},
            "failed": len(failed),
            "warned": len(warned),
            **metadata,
        },
    )


def _unmade(table: CommittedTable) -> list[Verdict]:
    return [Verdict(drop, False, f"{table.asset} is not committed") for drop in table.unmade]


def _open(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, asset: str
) -> CommittedTable:
    return open_table(storage.open(), asset, drops=drops_of_run(context))


def _open_embedded(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> tuple[CommittedTable, dict[str, CommittedTable]]:
    """The run's tiles, and per drop its embeddings in the space that is asked for now."""
    store, tiles = storage.open(), _open(context, storage, "tiles")
    return tiles, open_embeddings(store, tiles, load_checkpoint(store), compute.configured())


@dg.asset_check(asset="weights", blocking=True, description="Every stored file has its sha256.")
def weights_are_whole(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Read every file of the checkpoint back and compare its hash."""
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


@dg.asset_check(
    asset="images",
    blocking=True,
    description=(
        "Files that cannot be used: warns at one, fails above max(2 files, 5 %) or with nothing usable."
    ),
)
def images_are_usable(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Judge each drop's quarantine and show its rows."""
    table = _open(context, storage, "images")
    verdicts = [
        judge_quarantine(
            str(m.recipe.output.drop),
            usable=int(m.facts["usable"]),
            quarantined=int(m.facts["quarantined"]),
        )
        for m in table.manifests
    ]
    return to_result(context, verdicts + _unmade(table), quarantined=_quarantined_rows(table))


def _quarantined_rows(table: CommittedTable) -> dg.TableMetadataValue:
    records: list[dg.TableRecord] = []
    for manifest in table.manifests:
        if len(records) >= SHOWN_ROWS or not manifest.facts["quarantined"]:
            continue
        bad = list_bad_files(table, str(manifest.recipe.output.drop))
        records += [dg.TableRecord(asdict(row)) for row in bad[: SHOWN_ROWS - len(records)]]
    columns = [dg.TableColumn(name) for name in ("drop", "path", "reason", "detail")]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


@dg.asset_check(
    asset="images",
    blocking=True,
    description="Paths are unique and every usable row has an id and a size.",
)
def images_are_complete(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Look at the rows themselves."""
    table = _open(context, storage, "images")
    verdicts = [judge_images(table, drop) for drop in table.drops]
    return to_result(context, verdicts + _unmade(table))


@dg.asset_check(
    asset="images",
    description=(
        "Warns of pictures without a place or with a wrong date, blurred or badly exposed ones, "
        "duplicates, and gaps in the numbering; the page report.html shows them."
    ),
)
def images_look_right(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Tell what a person should look at before labels are paid for."""
    table = _open(context, storage, "images")
    today = datetime.now(tz=UTC).date()
    verdicts = [judge_findings(table, drop, today=today) for drop in table.drops]
    return to_result(context, verdicts + _unmade(table))


@dg.asset_check(
    asset="tiles",
    blocking=True,
    description="Tile ids are unique and the tiles of every usable image cover every pixel of it.",
)
def tiles_cover_images(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Hold the tiles against the images, pixel by pixel."""
    tiles = _open(context, storage, "tiles")
    images = open_table(storage.open(), "images", drops=tiles.drops)
    verdicts = [judge_tiles(images, tiles, drop) for drop in tiles.drops]
    return to_result(context, verdicts + _unmade(tiles))


@dg.asset_check(
    asset="embeddings",
    blocking=True,
    description=(
        "One finite vector per tile, under the tile's own id, in one space, of a length that the gate's "
        "tiles have; warns where an engine was refused."
    ),
)
def embeddings_match_tiles(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> dg.AssetCheckResult:
    """Hold the vectors against the tiles."""
    tiles, found = _open_embedded(context, storage, compute)
    verdicts = [judge_embeddings(tiles, found[drop], drop) for drop in tiles.drops]
    return to_result(context, verdicts + _unmade(tiles))


@dg.asset_check(
    asset="embeddings",
    description=(
        "Warns of a drop with tiles unlike those of all other drops, and names them; says so where too "
        "few drops are there to tell. Never blocks."
    ),
)
def embeddings_are_familiar(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, compute: ComputeResource
) -> dg.AssetCheckResult:
    """Name the tiles that no other drop has the like of."""
    tiles, found = _open_embedded(context, storage, compute)
    spaces: dict[str, list[str]] = {}
    for drop, table in found.items():
        if drop in table.drops:
            spaces.setdefault(str(table.space), []).append(drop)
    drifts = []
    for space, names in spaces.items():
        drifts += compare_drops(open_table(storage.open(), "embeddings", space=space), names)
    rows = [tile for drift in drifts if drift.verdict.warns for tile in drift.novel][:SHOWN_ROWS]
    columns = [dg.TableColumn(name) for name in ("drop", "tile_id", "image_id", "novelty")]
    return to_result(
        context,
        [drift.verdict for drift in drifts] + _unmade(tiles),
        most_novel=dg.MetadataValue.table(
            [dg.TableRecord(asdict(tile)) for tile in rows], schema=dg.TableSchema(columns)
        ),
    )


@dg.asset_check(
    asset="projections",
    blocking=True,
    description="Every embedded tile has a finite place on the map.",
)
def projections_are_complete(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Hold each space's map against what is embedded in that space."""
    store = storage.open()
    verdicts = []
    for space in list_spaces(store, "projections"):
        maps = open_table(store, "projections", space=space)
        used = maps.manifest(None).recipe.inputs
        embedded = open_table(store, "embeddings", space=space, drops=used)
        verdicts.append(judge_projections(maps, embedded, space=space))
    return to_result(context, verdicts)


@dg.asset_check(
    asset="selections",
    blocking=True,
    description="As many tiles as asked, each once, from the pool, paid for in no earlier round.",
)
def selections_are_sound(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Judge every round of every space."""
    store = storage.open()
    verdicts = []
    for space in list_spaces(store, "selections"):
        rounds = open_table(store, "selections", space=space)
        embedded = open_table(store, "embeddings", space=space)
        verdicts += [judge_selections(rounds, embedded, name) for name in rounds.drops]
    return to_result(context, verdicts)


ALL_CHECKS: Sequence[dg.AssetChecksDefinition] = [
    weights_are_whole,
    images_are_usable,
    images_are_complete,
    images_look_right,
    tiles_cover_images,
    embeddings_match_tiles,
    embeddings_are_familiar,
    projections_are_complete,
    selections_are_sound,
]
