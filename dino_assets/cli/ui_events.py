"""What a command committed by itself, shown in the UI beside what runs made."""

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
    """Report a round that is committed; where Dagster's instance fails, warn, since the round stands."""
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
    except Exception as err:  # noqa: BLE001 - of Dagster's own databases; what was asked for is done
        is_ours = isinstance(err, DinoAssetsError)
        why = str(err) if is_ours else f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
        name = committed.manifest.recipe.output.drop
        say(f"warning: {name} is committed, but the UI will not show it: {why}", to=sys.stderr)
