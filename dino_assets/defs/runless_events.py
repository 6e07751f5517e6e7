"""Dagster events for outputs that a command committed without a run."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dino_assets.defs.dagster_internals.events import report_materialisation
from dino_assets.defs.metadata_rows import arrange
from dino_assets.defs.output_metadata import metadata_of
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.protocol import Committed
from dino_assets.store.objects import ObjectStore


def report_committed(
    instance: dg.DagsterInstance,
    asset: dg.AssetsDefinition,
    store: ObjectStore,
    committed: Committed,
    *,
    command: str,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Show in the UI an output that ``command`` committed, like the output of a run.

    The event has the metadata, data version and inputs of a run's event, so the same assets become stale. For
    a reused output, nothing is reported: it has its event already.
    """
    if committed.was_reused:
        return
    values = {**(metadata or {}), **metadata_of(store, committed, run_id=None)}
    report_materialisation(
        instance,
        asset,
        content_hash(committed.manifest),
        arrange(values),
        description=f"Made by the command `{command}`, without a run.",
    )
