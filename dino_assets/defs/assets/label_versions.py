"""The asset ``label_versions``: frozen labels with pictures, which others can cite."""

from collections.abc import Iterator

import dagster as dg

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.config import config_of, values_of
from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.inbox import InboxResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.drops.registry import DropReader
from dino_assets.errors import NotCommittedError
from dino_assets.labels.stage.version_drafting import CODE_VERSION, SCHEMA, draft_label_versions
from dino_assets.labels.version_settings import VersionSettings
from dino_assets.settings.environment import find_cache
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft


class LabelVersionsConfig(config_of(VersionSettings)):  # type: ignore[misc]
    """What is said about a version of the labels."""


@dg.asset(
    group_name=job_of("label_versions"),
    kinds={"parquet", "huggingface"},
    owners=["team:imagery"],
    code_version=CODE_VERSION,
    metadata=describe_columns("label_versions", SCHEMA),
    # Labels, photographs and the crops of rounds are read from the store.
    deps=[dg.AssetKey("labels")],
    backfill_policy=SINGLE_RUN,
    output_required=False,
    description=(
        "All labels with their pictures, frozen: a folder that Hugging Face's datasets loads, with a card, a "
        "description in Croissant and a receipt. A version never changes. None is made until its config names a "
        "licence."
    ),
)
@tried_again
def label_versions(
    context: dg.AssetExecutionContext,
    config: LabelVersionsConfig,
    storage: StorageResource,
    inbox: InboxResource,
) -> Iterator[dg.Output[Draft]]:
    """Freeze the committed labels under the licence of the config."""
    settings = VersionSettings(**values_of(config, VersionSettings))
    if not settings.licence.strip():
        context.log.info("label_versions: none was made, because the config names no licence")
        return
    store = storage.open()
    read_drop = DropReader(store)
    try:
        draft = draft_label_versions(
            store,
            settings,
            open_source=lambda drop: inbox.open(store, drop, read=read_drop)[1],
            cache=find_cache(),
            say=context.log.warning,
        )
    except NotCommittedError as err:
        context.log.info(f"label_versions: none was made, because {err}")
        return
    yield dg.Output(draft)
