"""The asset ``labels``: classes that people gave to tiles, photographs and boxes."""

from collections.abc import Iterator

import dagster as dg

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.errors import NotCommittedError
from dino_assets.labels.stage.drafting import CODE_VERSION, SCHEMA, draft_labels
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft


@dg.asset(
    group_name=job_of("labels"),
    kinds={"parquet"},
    owners=["team:imagery"],
    code_version=CODE_VERSION,
    metadata=describe_columns("labels", SCHEMA),
    # People label the tiles of rounds; the answers are read from the store.
    deps=[dg.AssetKey("selections")],
    backfill_policy=SINGLE_RUN,
    output_required=False,
    description=(
        "The classes that people gave to tiles, photographs and boxes, in the studio or in imported files. "
        "Each answer stays in the history. Where people disagree, there is no label until somebody settles it."
    ),
)
@tried_again
def labels(
    context: dg.AssetExecutionContext, storage: StorageResource
) -> Iterator[dg.Output[Draft]]:
    """Merge all answers in the store into labels."""
    try:
        draft = draft_labels(storage.open())
    except NotCommittedError as err:
        context.log.info(f"labels: none were made, because {err}")
        return
    yield dg.Output(draft)
