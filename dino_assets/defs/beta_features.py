"""Beta and preview features of Dagster that this package uses, and the silencing of their warnings."""

import warnings

import dagster as dg

# Message, warning class, and module that raises it. All other warnings are still shown.
_ACCEPTED: tuple[tuple[str, type[Warning], str], ...] = (
    # Every asset needs it: see `SINGLE_RUN`.
    (
        r"Parameter `backfill_policy` of function `asset` is currently in beta",
        dg.BetaWarning,
        r"dagster\._core\.decorator_utils",
    ),
    # Needed for one check result per drop; tests cover the behaviour.
    (
        r"Specifying a partitions_def on an AssetCheckSpec is currently in preview",
        dg.PreviewWarning,
        r"dagster\._core\.definitions\.decorators\.asset_check_decorator",
    ),
    # The only way to observe a source from the UI; tests cover the behaviour.
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
    """Silence the warnings of the accepted features. Call this before the features are used."""
    for message, kind, place in _ACCEPTED:
        warnings.filterwarnings("ignore", message, kind, rf"{place}\Z")
