"""The command ``rounds``: list all rounds, or set a damaged one aside."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from dino_assets.cli.registering import open_store_here
from dino_assets.cli.terminal import name_command, say, write_out
from dino_assets.counting import count_of
from dino_assets.drops.naming import join_names
from dino_assets.settings.records import Settings
from dino_assets.weights.records import spell_caveat

if TYPE_CHECKING:
    from dino_assets.selections.stage.listing import ListedRound


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``rounds``."""
    rounds = commands.add_parser(
        "rounds", help="list all rounds: number of tiles, their drops, and the model"
    )
    rounds.add_argument(
        "--set-aside",
        metavar="ROUND",
        help="move the record of a damaged round away, so that other rounds can be read and chosen",
    )
    rounds.add_argument(
        "--space",
        metavar="ID",
        help="the space of ROUND, if several spaces have a round of this name",
    )
    rounds.add_argument("--json", action="store_true", help="print JSON, a list of objects")
    rounds.set_defaults(run=_run)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    if options.set_aside:
        return _set_aside(options, settings)
    return _list(options, settings)


def _set_aside(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.selections.stage.listing import find_round
    from dino_assets.store.upkeep.setting_aside import set_aside

    store = open_store_here(settings)
    output = find_round(store, options.set_aside, space=options.space)
    name = output.drop
    key = set_aside(store, output)
    say(
        f"The record of {name} in space {output.space} was moved to {key!r} in the store. The round's tiles "
        "no longer count as chosen: later rounds may choose them again, and people may label them twice. "
        f"Its table and pictures stay in 'parts/selections/{name}' until `{name_command()} collect` deletes "
        "them, after a week at the earliest."
    )
    return 0


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.selections.stage.listing import list_rounds
    from dino_assets.store.objects import describe_missing_store

    store = open_store_here(settings, may_be_new=True)
    rounds = list(list_rounds(store))
    if options.json:
        write_out(json.dumps([asdict(each) for each in rounds], indent=1))
    elif not rounds:
        absence = "" if store.is_there else f" {describe_missing_store(store)}"
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
        listed.model or "a model that is no longer in the store",
        *([f"{listed.side_px} px"] if listed.side_px else []),
        *([f"--space {listed.space}"] if shows_space else []),
        *([drops] if drops else []),
    ]
    say("  ".join(words))
    if listed.error:
        say(f"  damaged: {listed.error}")
    if without := sorted(set(listed.pool_drops).difference(listed.tiles_by_drop)):
        say(f"  in the pool, but no tile chosen: {join_names(without)}")
    if listed.left_out:
        say(
            f"  left out, because they could not be read at that time: {join_names(listed.left_out)}"
        )
    if listed.caveat:
        say(f"  note: {spell_caveat(listed.caveat)}")
