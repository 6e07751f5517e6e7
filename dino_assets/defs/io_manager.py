"""The IO manager: commits the drafts that assets return, and opens committed outputs as inputs."""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from dino_assets.defs.dagster_internals.events import (
    find_materialisation,
    has_own_events,
    list_checks_of_run,
    materialise_partition,
    set_data_version,
)
from dino_assets.defs.observations import INBOX, find_observation
from dino_assets.defs.output_metadata import (
    carry_over,
    describe,
    find_manifest_key,
    metadata_of,
)
from dino_assets.defs.partitions import has_more_to_come
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.defs.run_tags import SPACE_TAG, tags_of_run
from dino_assets.store.commits.by_drop import DropDrafts, commit_drops, raise_failures
from dino_assets.store.commits.manifests import content_hash, manifest_key
from dino_assets.store.commits.protocol import Committed, Draft
from dino_assets.store.commits.reading import CommittedTable, SpacedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.records import Checkpoint, spell_caveat
from dino_assets.weights.stage import load_checkpoint


class CommittingIOManager(dg.ConfigurableIOManager):
    """Commits drafts to the storage and opens committed outputs."""

    storage: dg.ResourceDependency[StorageResource]

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Record drop and model in the run's tags.

        It is done here because every run sets up the IO manager, whether it was started by a command, the
        UI or a sensor.
        """
        run, instance = context.run, context.instance
        if run is not None and instance is not None and not instance.is_ephemeral:
            instance.add_run_tags(run.run_id, tags_of_run(run))

    @tried_again
    def handle_output(  # type: ignore[override]  # Dagster takes generators, too
        self, context: dg.OutputContext, obj: Draft | DropDrafts | None
    ) -> Iterator[dg.DagsterEvent]:
        """Commit one draft, or one per drop; each drop is materialised as soon as it is committed.

        The data version of a materialisation is the hash of its content. Dagster uses it to decide what is
        stale: an output that is computed again with equal content makes nothing stale.

        Raises:
            DropsFailedError: some drops failed; the others are committed.
        """
        store, asset = self.storage.open(), context.asset_key.to_user_string()
        if isinstance(obj, DropDrafts) and not has_own_events(context):
            outcomes = []
            for outcome in commit_drops(store, obj):
                outcomes.append(outcome)
                if made := outcome.committed:
                    _tag_space(context, made)
                    context.log.info(describe(outcome.drop, made))
                    yield materialise_partition(
                        context,
                        outcome.drop,
                        content_hash(made.manifest),
                        _describe(context, store, made),
                        read=_find_read(context, outcome.drop, made),
                    )
            warn_of_caveats(context, [each.committed for each in outcomes if each.committed])
            may_wait = has_more_to_come(context, asset) or bool(list_checks_of_run(context))
            raise_failures(asset, outcomes, may_wait=may_wait)
        elif isinstance(obj, Draft):
            committed = commit(store, obj)
            _tag_space(context, committed)
            context.log.info(describe(asset, committed))
            warn_of_caveats(context, [committed])
            set_data_version(context, content_hash(committed.manifest))
            context.add_output_metadata(_describe(context, store, committed))
        elif obj is not None:
            raise TypeError(
                f"{asset} returned a {type(obj).__name__}; expected a Draft, drop_by_drop(…) or None"
            )

    @tried_again
    def load_input(self, context: dg.InputContext) -> CommittedTable | SpacedTable | Checkpoint:
        """Open an asset's committed outputs: those of the run's drops for a reader with partitions, else all.

        A reader is the asset that is made from the outputs. If it has no partitions, Dagster passes every
        registered drop, committed or not. Only drops with a manifest are opened; the others are listed in
        ``unmade``.
        """
        store = self.storage.open()
        if context.dagster_type.typing_type is Checkpoint:
            return load_checkpoint(store)
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        asset = context.asset_key.to_user_string()
        drops = tuple(keys) if _is_partitioned(context) else None
        if context.dagster_type.typing_type is SpacedTable:
            return SpacedTable(store, asset, drops, tuple(keys))
        return open_table(store, asset, drops=drops, registered=keys)


def _describe(
    context: dg.OutputContext, store: ObjectStore, committed: Committed
) -> dict[str, Any]:
    """Make the metadata of an output's event; for a reused output, add how it was made originally."""
    manifest = committed.manifest
    values = metadata_of(store, committed, run_id=context.run_id)
    if not committed.was_reused:
        return values
    drop = manifest.recipe.output.drop if context.has_asset_partitions else None
    made = find_materialisation(
        context,
        drop,
        content_hash(manifest),
        lambda metadata: find_manifest_key(metadata) == manifest_key(manifest.recipe.output),
    )
    return values if made is None else carry_over(*made, values)


def _is_partitioned(context: dg.InputContext) -> bool:
    reader = context.step_context.assets_def
    return reader is not None and reader.partitions_def is not None


def _tag_space(context: dg.OutputContext, made: Committed) -> None:
    """Tag the run with the space of an output that was committed."""
    run, space = context.step_context.dagster_run, made.manifest.recipe.output.space
    if space and run.tags.get(SPACE_TAG) != space:
        context.step_context.instance.add_run_tags(run.run_id, {SPACE_TAG: space})


def _find_read(
    context: dg.OutputContext, drop: str, made: Committed
) -> dict[dg.AssetKey, dg.EventLogRecord]:
    """Find the observation of the drop's source from which an output was made; empty if there is none."""
    version = made.manifest.recipe.inputs.get("source")
    instance = context.step_context.instance
    record = find_observation(instance, drop, version) if version else None
    return {INBOX: record} if record else {}


def warn_of_caveats(context: dg.OutputContext, made: Iterable[Committed]) -> None:
    """Log the caveats of committed outputs as warnings, each once for all drops."""
    for caveat in dict.fromkeys(each.manifest.facts.get("caveat") for each in made):
        if caveat:
            context.log.warning(f"{context.asset_key.to_user_string()}: {spell_caveat(caveat)}")
