"""``rounds``: what was chosen so far."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from dino_assets.cli.registering import open_store_here
from dino_assets.cli.terminal import name_command, say, write_out
from dino_assets.counting import count_of
from dino_assets.drops.naming import name_some
from dino_assets.settings.records import Settings
from dino_assets.weights.records import spell_caveat

if TYPE_CHECKING:
    from dino_assets.selections.stage.listing import ListedRound


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``rounds``."""
    rounds = commands.add_parser(
        "rounds", help="all rounds: how many tiles, of which drops, by which model"
    )
    rounds.add_argument("--json", action="store_true", help="as JSON, a list of objects")
    rounds.set_defaults(run=_list)


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.selections.stage.listing import list_rounds
    from dino_assets.store.objects import spell_absence

    store = open_store_here(settings, may_be_new=True)
    rounds = list(list_rounds(store))
    if options.json:
        write_out(json.dumps([asdict(each) for each in rounds], indent=1))
    elif not rounds:
        absence = "" if store.is_there else f" {spell_absence(store)}"
        say(
            f"no rounds yet.{absence} `{name_command()} run NAME --from FOLDER` chooses the first one, "
            f"`{name_command()} select` the next ones"
        )
    else:
        has_spaces = len({each.space for each in rounds}) > 1
        for each in rounds:
            _show(each, shows_space=has_spaces)
    return int(any(each.error for each in rounds))


def _show(listed: "ListedRound", *, shows_space: bool) -> None:
    drops = ", ".join(f"{drop} {tiles:,}" for drop, tiles in listed.tiles_by_drop.items())
    words = [
        f"{listed.name}  {count_of(listed.tiles, 'tile')} of {listed.pool:,}",
        listed.strategy,
        listed.model or "a model that is not in the store any more",
        *([f"{listed.side_px} px"] if listed.side_px else []),
        *([f"--space {listed.space}"] if shows_space else []),
        *([drops] if drops else []),
    ]
    say("  ".join(words))
    if listed.error:
        say(f"  damaged: {listed.error}")
    if without := sorted(set(listed.pool_drops).difference(listed.tiles_by_drop)):
        say(f"  chosen from, and no tile of: {name_some(without)}")
    if listed.left_out:
        say(f"  left out, unreadable when it was chosen: {name_some(listed.left_out)}")
    if listed.caveat:
        say(f"  mind: {spell_caveat(listed.caveat)}")
