"""What of Dagster is in beta or preview and used here; its warnings would open every command's output."""

import warnings

import dagster as dg

# What is said, of which kind, and where it is raised: others of the kind are shown.
_ACCEPTED: tuple[tuple[str, type[Warning], str], ...] = (
    # Every asset needs it: see `SINGLE_RUN`.
    (
        r"Parameter `backfill_policy` of function `asset` is currently in beta",
        dg.BetaWarning,
        r"dagster\._core\.decorator_utils",
    ),
    # A check per drop is what we need of it, and the tests hold it.
    (
        r"Specifying a partitions_def on an AssetCheckSpec is currently in preview",
        dg.PreviewWarning,
        r"dagster\._core\.definitions\.decorators\.asset_check_decorator",
    ),
    # The one way to observe a source from the UI; the tests hold what we need of it.
    (
        r"Function `observable_source_asset` is currently in beta",
        dg.BetaWarning,
        r"dagster\._core\.decorator_utils",
    ),
    (
        r"Class `DataVersionsByPartition` is currently in beta",
        dg.BetaWarning,
        r"dino_assets\.defs\.assets\.inbox",
    ),
)


def accept_beta_features() -> None:
    """Silence the warnings of what is accepted, before it is used."""
    for message, kind, place in _ACCEPTED:
        warnings.filterwarnings("ignore", message, kind, rf"{place}\Z")
