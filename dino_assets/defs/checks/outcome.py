"""From verdicts per drop to one check result."""

from collections.abc import Sequence

import dagster as dg

from dino_assets.defs.partitions import drops_of_run
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.verdicts import Verdict

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


def judge_unmade(table: CommittedTable) -> list[Verdict]:
    """Fail each drop of the run that is not committed."""
    return [Verdict(drop, False, f"{table.asset} is not committed") for drop in table.unmade]


def open_for_run(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, asset: str
) -> CommittedTable:
    """Open what is committed of an asset for the drops of this run."""
    return open_table(storage.open(), asset, drops=drops_of_run(context))
