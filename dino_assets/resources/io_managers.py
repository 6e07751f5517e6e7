"""The IO manager: assets return drafts, it commits them; readers get lazy handles."""

import dagster as dg

from dino_assets.records import Checkpoint, Committed, Draft
from dino_assets.resources.storage import StorageResource
from dino_assets.stages.drafts import DropDrafts, DropOutcome, commit_drops, raise_failures
from dino_assets.stages.weights import load_checkpoint
from dino_assets.store.manifests import commit, manifest_key
from dino_assets.store.objects import ObjectStore
from dino_assets.store.readers import CommittedTable, open_table


class CommittingIOManager(dg.ConfigurableIOManager):
    """Commits drafts to the storage and opens what is committed there."""

    storage: dg.ResourceDependency[StorageResource]

    def handle_output(self, context: dg.OutputContext, obj: Draft | DropDrafts | None) -> None:
        """Commit one draft, or drop by drop; metadata goes to each drop's own materialisation.

        Raises:
            DropsFailedError: some drops failed; the others are committed.
        """
        store = self.storage.open()
        if isinstance(obj, DropDrafts):
            outcomes = []
            for outcome in commit_drops(store, obj):
                outcomes.append(outcome)
                if outcome.committed:
                    context.log.info(describe(outcome))
                    context.step_context.add_asset_metadata(
                        metadata_of(store, outcome.committed),
                        asset_key=context.asset_key,
                        partition_key=outcome.drop,
                    )
            raise_failures(context.asset_key.to_user_string(), outcomes)
        elif isinstance(obj, Draft):
            context.add_output_metadata(metadata_of(store, commit(store, obj)))
        elif obj is not None:
            raise TypeError(
                f"{context.asset_key.to_user_string()} returned a {type(obj).__name__}; an asset "
                "returns a Draft, DropDrafts, or nothing"
            )

    def load_input(self, context: dg.InputContext) -> CommittedTable | Checkpoint:
        """Open what is committed: a run's own drops below a partitioned asset, else all there are.

        An unpartitioned reader is given every registered drop by Dagster, made or not. The manifests
        are the truth; registered drops without one are named in ``unmade``.
        """
        store = self.storage.open()
        if context.dagster_type.typing_type is Checkpoint:
            return load_checkpoint(store)
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        asset = context.asset_key.to_user_string()
        if _is_partitioned(context):
            return open_table(store, asset, drops=keys)
        return open_table(store, asset, registered=keys)


def _is_partitioned(context: dg.InputContext) -> bool:
    reader = context.step_context.assets_def
    return reader is not None and reader.partitions_def is not None


def describe(outcome: DropOutcome) -> str:
    """One log line for one committed drop."""
    committed = outcome.committed
    assert committed is not None
    verb = "reused" if committed.was_reused else "committed"
    return f"{outcome.drop}: {verb}, {committed.manifest.rows} rows in {outcome.seconds:.2f} s"


def metadata_of(store: ObjectStore, committed: Committed) -> dict[str, dg.MetadataValue]:
    """What an operator wants to see about an output, for the UI."""
    manifest = committed.manifest
    values: dict[str, object] = {
        "dagster/row_count": manifest.rows,
        "stored_bytes": manifest.bytes,
        "parts": len(manifest.parts),
        "was_reused": committed.was_reused,
        "manifest": manifest_key(manifest.recipe.output),
        "store": store.url,
        "config": dict(manifest.recipe.config),
        "inputs": dict(manifest.recipe.inputs),
    }
    if not committed.was_reused:
        values |= {
            "seconds": round(committed.seconds, 3),
            "read_s": round(committed.read_s, 3),
            "compute_s": round(committed.compute_s, 3),
            "write_s": round(committed.write_s, 3),
            "rows_per_s": round(manifest.rows / max(committed.seconds, 1e-9), 1),
            **committed.told,
        }
    if not manifest.rows:
        del values["dagster/row_count"]
        values.pop("rows_per_s", None)
    facts = {
        name: value if isinstance(value, int | float | str | bool | dict) else list(value or ())
        for name, value in manifest.facts.items()
    }
    return {
        name: dg.MetadataValue.json(value) if isinstance(value, list) else _metadata(value)
        for name, value in (values | facts).items()
    }


def _metadata(value: object) -> dg.MetadataValue:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    if isinstance(value, dict):
        return dg.MetadataValue.json(value)
    return dg.MetadataValue.text(str(value))
