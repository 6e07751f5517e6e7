"""The asset ``deployments``: the current weights as an ONNX file."""

from collections.abc import Iterator

import dagster as dg

from dino_assets.defs.config import config_of, values_of
from dino_assets.defs.dagster_internals.events import list_assets_of_run
from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.exports import stage
from dino_assets.exports.settings import ExportSettings, make_settings
from dino_assets.settings.environment import find_cache
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import Draft
from dino_assets.weights.stage import OUTPUT as WEIGHTS

MADE_WITH = {"weights", "deployments"}


class DeploymentsConfig(config_of(ExportSettings)):  # type: ignore[misc]
    """The settings of an export."""


@dg.asset(
    group_name=job_of("deployments"),
    kinds={"onnx"},
    owners=["team:vision"],
    code_version=stage.CODE_VERSION,
    deps=[dg.AssetKey("weights")],
    backfill_policy=SINGLE_RUN,
    output_required=False,
    description=(
        "The current weights as an ONNX file, with licence, statistics and a manifest. The file's outputs "
        "are compared with those of the same model in the library transformers. The job deploy makes "
        "this asset. Runs that make other assets do not, because exporting a ViT-B takes two minutes."
    ),
)
@tried_again
def deployments(
    context: dg.AssetExecutionContext,
    config: DeploymentsConfig,
    storage: StorageResource,
    compute: ComputeResource,
) -> Iterator[dg.Output[Draft]]:
    """Export the committed weights, unless the run also makes other assets."""
    if others := list_assets_of_run(context) - MADE_WITH:
        context.log.warning(
            f"deployments: not made, because this run also makes {', '.join(sorted(others))}. To export "
            "the weights, launch the job deploy, or materialise deployments alone."
        )
        return
    store = storage.open()
    draft = stage.draft_deployments(
        store,
        read_manifest(store, WEIGHTS),
        make_settings(**values_of(config, ExportSettings)),
        compute=compute.configured(),
        cache=find_cache(),
        say=context.log.info,
    )
    yield dg.Output(draft)
