"""Check results: one verdict per drop, errors that block, warnings, and tables for the UI."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any, NoReturn

import dagster as dg

from dino_assets.defs.dagster_internals.events import end_check, evaluate_partition
from dino_assets.defs.output_metadata import find_manifest_key
from dino_assets.defs.partitions import drops, drops_of_run, find_blocked, has_more_to_come
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.errors import DropBlockedError, DropsFailedError
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore
from dino_assets.verdicts import Verdict

SHOWN_ROWS = 20
Evaluations = Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult | dg.Output[None]]


def drop_check(
    **options: Any,
) -> Callable[[Callable[..., Evaluations]], dg.AssetChecksDefinition]:
    """Make a decorator for a check that yields one evaluation per drop.

    ``options`` are those of Dagster's ``asset_check``, whose types allow one result only.
    """
    decorate: Any = dg.asset_check(partitions_def=drops, **options)
    return lambda judge: decorate(tried_again(judge))


def to_result(
    context: dg.AssetCheckExecutionContext,
    verdicts: Sequence[Verdict],
    *,
    can_block: bool = True,
    **metadata: dg.MetadataValue,
) -> dg.AssetCheckResult:
    """Join verdicts to one result: an error if one failed, else a warning if one warns.

    Unless ``can_block``, the UI shows an error as a warning. The sentences are also logged, because Dagster's
    output of a run names a failed check but not the reason.
    """
    failed = [v for v in verdicts if not v.passed]
    warned = [v for v in verdicts if v.passed and v.warns]
    # A passed check has severity ERROR, not WARN: the UI colours an asset by its latest evaluation, of any
    # drop. A check that cannot block is never red, since red says that something was stopped.
    is_warning = (bool(warned) and not failed) or not can_block
    severity = dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR
    worst = failed or warned or list(verdicts)
    for verdict in (*failed, *warned):
        context.log.warning(f"{verdict.subject}: {verdict.sentence}")
    return dg.AssetCheckResult(
        passed=bool(verdicts) and not failed and not warned,
        severity=severity,
        description="; ".join(f"{v.subject}: {v.sentence}" for v in worst[:5])
        or "nothing is committed yet",
        metadata=(_count(verdicts) if len(verdicts) > 1 else {}) | _without_empty(metadata),
    )


def _count(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """List the sentences of several verdicts, and count failures and warnings.

    A single verdict needs no list: its sentence is the description of the result.
    """
    return {
        "verdicts": {verdict.subject: verdict.sentence for verdict in verdicts},
        "failed": sum(not verdict.passed for verdict in verdicts),
        "warned": sum(verdict.passed and verdict.warns for verdict in verdicts),
    }


def _without_empty(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, dg.MetadataValue]:
    """Leave out tables without rows."""
    return {
        name: value
        for name, value in metadata.items()
        if not (isinstance(value, dg.TableMetadataValue) and not value.records)
    }


def open_for_run(
    context: dg.AssetCheckExecutionContext, storage: StorageResource, asset: str
) -> CommittedTable:
    """Open an asset's committed table for the drops of this run."""
    return open_table(storage.open(), asset, drops=drops_of_run(context))


def judge_outputs(
    context: dg.AssetCheckExecutionContext,
    store: ObjectStore,
    asset: str,
    judge: Callable[[CommittedTable, OutputId], Verdict],
) -> list[Verdict]:
    """Judge the outputs of an asset that this run made; if it made none, judge all outputs in every space.

    So outputs of earlier runs do not stop this run, and the check does not become slower with their number.
    """
    tables = [open_table(store, asset, space=space) for space in list_spaces(store, asset)]
    outputs = [(table, manifest.recipe.output) for table in tables for manifest in table.manifests]
    made = find_made(context, asset)
    of_run = [each for each in outputs if manifest_key(each[1]) in made]
    verdicts = [(output, judge(table, output)) for table, output in of_run or outputs]
    if len(tables) < 2:
        return [verdict for _, verdict in verdicts]
    # A round of the same name may exist in each space, so the subject names the space.
    return [replace(verdict, subject=str(output)) for output, verdict in verdicts]


def find_made(context: dg.AssetCheckExecutionContext, asset: str) -> set[str]:
    """Find the manifest keys of an asset's outputs that this run made or reused."""
    entries = context.instance.all_logs(
        context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    events = [entry.asset_materialization for entry in entries]
    return {
        find_manifest_key(event.metadata)
        for event in events
        if event and event.asset_key == dg.AssetKey(asset)
    }


def judge_drops(
    context: dg.AssetCheckExecutionContext,
    table: CommittedTable,
    judge: Callable[[str], Verdict],
    show: Callable[[str], Mapping[str, Any]] = lambda drop: {},
) -> Evaluations:
    """Judge each drop of the run separately; its verdict stays until the drop is judged again.

    ``show`` returns the tables that the UI shows with a drop's verdict. A drop that is not committed fails.
    In a run of one drop, an error of a blocking check ends the run. In a run of several drops, it stops only
    the failed drop: later assets and checks leave that drop out. Once the other drops are made and judged,
    the run ends with an error.

    Raises:
        DropsFailedError: an earlier check stopped some drops of the run, and this check is the last.
    """
    (spec,) = context.check_specs
    stopped = find_blocked(context, spec.asset_key)
    verdicts = [judge(drop) for drop in table.drops]
    unmade = [drop for drop in table.unmade if drop not in stopped]
    verdicts += [Verdict(drop, False, f"{table.asset} is not committed") for drop in unmade]
    for verdict in verdicts:
        result = to_result(context, [verdict], can_block=spec.blocking, **show(verdict.subject))
        is_alone = len(verdicts) + len(stopped) == 1
        yield evaluate_partition(context, result, verdict.subject, is_alone=is_alone)
    if not verdicts and not stopped:
        yield to_result(context, [])
        return
    if stopped and spec.blocking and not has_more_to_come(context, spec.asset_key.to_user_string()):
        raise_stopped(stopped, drops=len(verdicts) + len(stopped))
    yield end_check(context)


def raise_stopped(stopped: Mapping[str, str], *, drops: int) -> NoReturn:
    """End a run of several drops with an error that names the drops that a check stopped.

    Raises:
        DropsFailedError: always.
    """
    lines = "\n".join(f"  {drop}: stopped by the check {check}" for drop, check in stopped.items())
    raise DropsFailedError(
        f"{len(stopped)} of {drops} drops were stopped by a check; the others are complete. Read the "
        f"check's result, correct the drop's files, and materialise the drop again:\n{lines}",
        failures={
            drop: DropBlockedError(f"stopped by the check {check}", drop=drop, reason=check)
            for drop, check in stopped.items()
        },
    )


def show_rows(rows: Iterable[Any], columns: Sequence[str]) -> dg.TableMetadataValue:
    """Show the first ``SHOWN_ROWS`` records as a table in the UI."""
    records = [dg.TableRecord(asdict(row)) for row in islice(rows, SHOWN_ROWS)]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(c) for c in columns]))
