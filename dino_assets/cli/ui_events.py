"""UI events for outputs that a command commits without a run."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dino_assets.cli.terminal import say
from dino_assets.errors import DinoAssetsError
from dino_assets.settings.records import Settings
from dino_assets.store.commits.protocol import Committed

if TYPE_CHECKING:
    import dagster as dg

    from dino_assets.store.objects import ObjectStore


def report_round(
    settings: Settings,
    store: "ObjectStore",
    committed: Committed,
    *,
    metadata: Mapping[str, Any],
) -> None:
    """Report a committed round to Dagster; if that fails, only warn, since the round is committed."""
    if committed.was_reused:
        return
    from dino_assets.defs.assets.selections import selections

    _report(settings, store, committed, selections, command="select", metadata=metadata)


def report_probe(
    settings: Settings, store: "ObjectStore", labels: Committed, probe: Committed
) -> None:
    """Report committed labels and the probe that learned from them to Dagster; if that fails, only warn."""
    if labels.was_reused and probe.was_reused:
        return
    from dino_assets.defs.assets.labels import labels as labels_asset
    from dino_assets.defs.assets.probes import probes

    for committed, asset in ((labels, labels_asset), (probe, probes)):
        if not committed.was_reused:
            _report(settings, store, committed, asset, command="probe train", metadata={})


def report_curve(
    settings: Settings, store: "ObjectStore", labels: Committed, curve: Committed
) -> None:
    """Report committed labels and their learning curve to Dagster; if that fails, only warn."""
    if labels.was_reused and curve.was_reused:
        return
    from dino_assets.defs.assets.labels import labels as labels_asset
    from dino_assets.defs.assets.learning_curve import learning_curve

    for committed, asset in ((labels, labels_asset), (curve, learning_curve)):
        if not committed.was_reused:
            _report(settings, store, committed, asset, command="curve", metadata={})


def _report(
    settings: Settings,
    store: "ObjectStore",
    committed: Committed,
    asset: "dg.AssetsDefinition",
    *,
    command: str,
    metadata: Mapping[str, Any],
) -> None:
    from dino_assets.defs.instance import open_instance
    from dino_assets.defs.runless_events import report_committed

    try:
        with open_instance(settings.root) as instance:
            report_committed(
                instance,
                asset,
                store,
                committed,
                command=f"dino-assets {command}",
                metadata=metadata,
            )
    except Exception as err:  # noqa: BLE001 - any error of Dagster's databases; the output is committed
        has_sentence = isinstance(err, DinoAssetsError)
        text = " ".join(str(err).split())[:200]
        why = str(err) if has_sentence else f"{type(err).__name__}: {text}"
        output = committed.manifest.recipe.output
        name = output.drop or output.asset
        say(f"warning: {name} is committed, but the UI will not show it: {why}", to=sys.stderr)
