"""The asset ``weights``: the checkpoint that computes all embeddings."""

import dagster as dg
from pydantic import Field

from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.hub import HubResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft
from dino_assets.weights import stage


class WeightsConfig(dg.Config):
    """Whether the weights may change."""

    accept_changes: bool = Field(
        default=False,
        description=(
            "Accept the configured model although its weights differ from the weights that the store has "
            "under the same name. All drops then have to be embedded again, and rounds begin with round 1."
        ),
    )


@dg.asset(
    group_name=job_of("weights"),
    kinds={"huggingface", "safetensors"},
    owners=["team:vision"],
    code_version=stage.CODE_VERSION,
    backfill_policy=SINGLE_RUN,
    # First in a run: a bad checkpoint fails before anything is computed.
    op_tags={"dagster/priority": "1"},
    description=(
        "The DINOv2 or DINOv3 checkpoint: validated, hashed file by file, and kept in the store, so other "
        "machines need no access to the Hugging Face Hub."
    ),
)
@tried_again
def weights(
    context: dg.AssetExecutionContext,
    config: WeightsConfig,
    hub: HubResource,
    storage: StorageResource,
) -> Draft:
    """Validate the configured checkpoint and store its files; fetch them only if the store lacks them."""
    return stage.draft_current_weights(
        storage.open(),
        hub.model,
        hub.revision,
        lambda: hub.locate(context.log.info),
        warn=context.log.warning,
        accepts_changes=config.accept_changes,
    )
