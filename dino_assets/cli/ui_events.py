"""UI events for rounds that the command ``select`` commits without a run."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dino_assets.cli.terminal import say
from dino_assets.errors import DinoAssetsError
from dino_assets.settings.records import Settings
from dino_assets.store.commits.protocol import Committed

if TYPE_CHECKING:
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
    from dino_assets.defs.instance import open_instance
    from dino_assets.defs.runless_events import report_committed

    try:
        with open_instance(settings.root) as instance:
            report_committed(
                instance,
                selections,
                store,
                committed,
                command="dino-assets select",
                metadata=metadata,
            )
    except Exception as err:  # noqa: BLE001 - any error of Dagster's databases; the round is committed
        has_sentence = isinstance(err, DinoAssetsError)
        text = " ".join(str(err).split())[:200]
        why = str(err) if has_sentence else f"{type(err).__name__}: {text}"
        name = committed.manifest.recipe.output.drop
        say(f"warning: {name} is committed, but the UI will not show it: {why}", to=sys.stderr)
