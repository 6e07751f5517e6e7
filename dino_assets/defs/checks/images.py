"""Checks of ``images``."""

from dataclasses import asdict
from datetime import UTC, datetime

import dagster as dg

from dino_assets.defs.checks.outcome import SHOWN_ROWS, judge_unmade, open_for_run, to_result
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.images.inspection import judge_quarantine
from dino_assets.images.stage.judging import judge_findings, judge_images, list_bad_files
from dino_assets.store.commits.reading import CommittedTable


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
    table = open_for_run(context, storage, "images")
    verdicts = [
        judge_quarantine(
            str(m.recipe.output.drop),
            usable=int(m.facts["usable"]),
            quarantined=int(m.facts["quarantined"]),
        )
        for m in table.manifests
    ]
    return to_result(context, verdicts + judge_unmade(table), quarantined=_quarantined_rows(table))


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
    table = open_for_run(context, storage, "images")
    verdicts = [judge_images(table, drop) for drop in table.drops]
    return to_result(context, verdicts + judge_unmade(table))


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
    table = open_for_run(context, storage, "images")
    today = datetime.now(tz=UTC).date()
    verdicts = [judge_findings(table, drop, today=today) for drop in table.drops]
    return to_result(context, verdicts + judge_unmade(table))
