"""``rounds``: what was chosen so far."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from dino_assets.cli.registering import open_store_here
from dino_assets.cli.terminal import name_command, say, write_out
from dino_assets.counting import count_of
from dino_assets.drops.naming import name_some
from dino_assets.errors import ConfigError
from dino_assets.settings.records import Settings
from dino_assets.weights.records import spell_caveat

if TYPE_CHECKING:
    from dino_assets.selections.stage.listing import ListedRound


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``rounds``."""
    rounds = commands.add_parser(
        "rounds", help="all rounds: how many tiles, of which drops, by which model"
    )
    rounds.add_argument(
        "--set-aside",
        metavar="ROUND",
        help="move the record of a damaged round out of the way, so that others can be read and chosen",
    )
    rounds.add_argument("--space", metavar="ID", help="of rounds in several spaces, this one")
    rounds.add_argument("--json", action="store_true", help="as JSON, a list of objects")
    rounds.set_defaults(run=_run)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    if options.set_aside:
        return _set_aside(options, settings)
    return _list(options, settings)


def _set_aside(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.selections.rounds import name_round
    from dino_assets.store.commits.listing import list_spaces
    from dino_assets.store.commits.manifests import manifest_key
    from dino_assets.store.commits.protocol import OutputId
    from dino_assets.store.upkeep.setting_aside import set_aside

    store = open_store_here(settings)
    called = options.set_aside
    name = name_round(int(called)) if called.isdecimal() else called
    spaces = [options.space] if options.space else list_spaces(store, "selections")
    outputs = [OutputId("selections", name, space) for space in spaces]
    there = [output for output in outputs if store.exists(manifest_key(output))]
    if len(there) > 1:
        raise ConfigError(
            f"{name} is there in several spaces: name one of {', '.join(str(o.space) for o in there)} with "
            "--space",
            setting="space",
            reason="several",
        )
    output = (there or outputs or [OutputId("selections", name)])[0]
    key = set_aside(store, output)
    say(
        f"{name} of space {output.space} is set aside, as {key!r} in the store. Nothing counts on it any "
        "more: its tiles may be chosen and paid for again. Its table and pictures stay in "
        f"'parts/selections/{name}' until `{name_command()} collect` deletes them, in a week at the earliest."
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
