"""Run tags to find runs in the UI: drop, model, space."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dino_assets.settings.environment import load_settings

DROP_TAG = "dino_assets/drop"
MODEL_TAG = "dino_assets/model"
SPACE_TAG = "dino_assets/space"  # set once an output in it is committed

PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def make_tags(drop: str | None, run_config: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Make the tags of a new run: its drop, if it has one, and the model that it will use."""
    return {**({DROP_TAG: drop} if drop else {}), MODEL_TAG: find_model(run_config or {})}


def tags_of_run(run: dg.DagsterRun) -> dict[str, str]:
    """Make the tags of a run that was created elsewhere, such as in the UI.

    The drops of a run over a range are written as ``first...last``.
    """
    first, last = (run.tags.get(tag) for tag in RANGE_TAGS)
    span = f"{first}...{last}" if first and last and first != last else first
    return make_tags(run.tags.get(PARTITION_TAG) or span, run.run_config)


def find_model(run_config: Mapping[str, Any]) -> str:
    """Find the model of a run: from the run's config, else from the settings."""
    value: Any = run_config
    for name in ("resources", "hub", "config", "model"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else load_settings().model
