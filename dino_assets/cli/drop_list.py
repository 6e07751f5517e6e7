"""``drops list``: all drops, what is made of them, and which a check has stopped."""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dino_assets.cli.registering import open_store_here
from dino_assets.cli.terminal import name_command, say, write_out
from dino_assets.drops.records import Drop
from dino_assets.settings.records import Settings
from dino_assets.weights.records import facts_of_caveat

if TYPE_CHECKING:
    from dino_assets.drops.listing import AssetState


def list_drops(options: argparse.Namespace, settings: Settings) -> int:
    """Print a line per drop, and why below it where a check has stopped it; or all of it as JSON."""
    from dino_assets.drops.listing import describe_drops
    from dino_assets.drops.registry import find_drops
    from dino_assets.store.objects import spell_absence

    store = open_store_here(settings, may_be_new=True)
    drops = find_drops(store)
    describe = describe_drops(store)
    states_of = {name: describe(drop) for name, drop in drops.items() if isinstance(drop, Drop)}
    empty = _find_empty(drops.values(), states_of, settings)
    rows: list[dict[str, Any]] = []
    for name, drop in drops.items():
        if not isinstance(drop, Drop):
            rows.append({"name": name, "error": str(drop)})
            if not options.json:
                say(f"{name:<24} {drop}")
            continue
        states = states_of[name]
        is_empty = name in empty
        failures = _find_failures(states)
        assets: dict[str, dict[str, Any]] = {
            s.asset: {"state": s.state, "rows": s.rows, "follows": s.follows}
            | facts_of_caveat(s.caveat)
            | ({"failed": failures[s.asset]} if s.asset in failures else {})
            for s in states
        }
        rows.append(vars(drop) | {"assets": assets} | ({"is_empty": True} if is_empty else {}))
        if not options.json:
            _show(drop, states, failures, is_empty=is_empty)
    if options.json:
        write_out(json.dumps(rows, indent=1))
    elif not drops:
        absence = "" if store.is_there else f" {spell_absence(store)}"
        say(
            f"no drops yet.{absence} Make everything of one with: {name_command()} run NAME --from FOLDER"
        )
    return int(any(not isinstance(drop, Drop) for drop in drops.values()))


def _find_empty(
    drops: Iterable[Drop | Exception],
    states: Mapping[str, Sequence["AssetState"]],
    settings: Settings,
) -> set[str]:
    """Name the drops of which nothing is made and nothing can be; what is made is not looked for anew."""
    from dino_assets.drops.examination import find_empty

    waiting = [
        drop
        for drop in drops
        if isinstance(drop, Drop)
        and not drop.is_retired
        and all(each.state == "absent" for each in states[drop.name])
    ]
    return find_empty(waiting, root=settings.root)


def _find_failures(states: Sequence["AssetState"]) -> dict[str, str]:
    """Say which assets do not pass their check, as far as what was committed with them tells."""
    from dino_assets.images.stage.judging import judge_usable

    verdicts = {
        s.asset: judge_usable(s.manifest) for s in states if s.manifest and s.asset == "images"
    }
    return {asset: verdict.sentence for asset, verdict in verdicts.items() if not verdict.passed}


def _show(
    drop: Drop, states: Sequence["AssetState"], failures: dict[str, str], *, is_empty: bool
) -> None:
    marks = [f"(from {drop.original_name!r})"] * (drop.original_name != drop.name)
    marks += ["(holds no photographs)"] * is_empty
    marks += ["(retired)"] * drop.is_retired + [f"#{tag}" for tag in drop.tags]
    made = "  ".join(f"{state}{' (failed)' * (state.asset in failures)}" for state in states)
    say(" ".join([f"{drop.name:<24} {made:<44} {drop.source}", *marks]))
    for asset, sentence in failures.items():
        say(f"  {asset} failed: {sentence}. Nothing more is made of this drop")
        say(f"  look at: {name_command()} drops report {drop.name}")
    if is_empty:
        say("  holds no photographs: check that the disk or card is mounted")
        say(f"  or put it away: {name_command()} drops retire {drop.name}")
