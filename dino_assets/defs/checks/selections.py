"""Checks of ``selections``."""

import dagster as dg

from dino_assets.defs.checks.outcome import to_result
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.selections.stage.judging import judge_selections
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.reading import open_table


@dg.asset_check(
    asset="selections",
    blocking=True,
    description="As many tiles as asked, each once, from the pool, paid for in no earlier round.",
)
def selections_are_sound(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Judge every round of every space."""
    store = storage.open()
    verdicts = []
    for space in list_spaces(store, "selections"):
        rounds = open_table(store, "selections", space=space)
        embedded = open_table(store, "embeddings", space=space)
        verdicts += [judge_selections(rounds, embedded, name) for name in rounds.drops]
    return to_result(context, verdicts)
