"""Tags by which runs are found in the UI: drop, model, space."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dino_assets.settings.environment import load_settings

DROP_TAG = "dino_assets/drop"
MODEL_TAG = "dino_assets/model"
SPACE_TAG = "dino_assets/space"  # known when something is committed in it

PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def make_tags(drop: str | None, run_config: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Tag a run that is about to be made: its drop, if it is of one, and the model it will use."""
    return {**({DROP_TAG: drop} if drop else {}), MODEL_TAG: find_model(run_config or {})}


def tags_of_run(run: dg.DagsterRun) -> dict[str, str]:
    """Tag a run that somebody else made, such as the UI; of several drops as Dagster writes a range."""
    first, last = (run.tags.get(tag) for tag in RANGE_TAGS)
    span = f"{first}...{last}" if first and last and first != last else first
    return make_tags(run.tags.get(PARTITION_TAG) or span, run.run_config)


def find_model(run_config: Mapping[str, Any]) -> str:
    """The model that a run is configured for: its own config's, else that of the settings."""
    value: Any = run_config
    for name in ("resources", "hub", "config", "model"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else load_settings().model
