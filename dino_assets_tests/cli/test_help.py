"""Help texts: every option has a sentence and its default."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from dino_assets.cli import main, make_parser
from dino_assets.cli.examples import list_commands
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.strategies.names import RoundStrategyName
from dino_assets.settings.described import list_settings


def options_of(command: str) -> list[argparse.Action]:
    (commands,) = [a for a in make_parser()._actions if isinstance(a.choices, dict)]
    parser = commands.choices[command]
    return [a for a in parser._actions if a.option_strings and a.dest != "help"]


@pytest.mark.parametrize("command", ["select", "run"])
def test_help__every_option_names_its_default(command: str):
    options = options_of(command)
    assert options
    assert [a.dest for a in options if "default: " not in str(a.help)] == []


def walk(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for subparser in action.choices.values():
                yield from walk(subparser)
        elif action.option_strings:
            yield parser.prog, action


def test_help__every_option_of_every_command_has_a_sentence():
    silent_options = [(prog, a.dest) for prog, a in walk(make_parser()) if not a.help]
    assert silent_options == []


def test_help__every_strategy_and_reason_is_explained(capsys):
    with pytest.raises(SystemExit):
        main(["select", "--help"])
    description = capsys.readouterr().out.partition("options:")[0]
    words = {*get_args(RoundStrategyName), "central", "farthest"}
    assert {word for word in words if word in description} == words


def test_help__explains_which_tiles_are_not_chosen_again(capsys):
    with pytest.raises(SystemExit):
        main(["select", "--help"])
    description, _, options = " ".join(capsys.readouterr().out.split()).partition("options:")
    assert "If several tiles show the same ground, only one is chosen" in description
    assert "no tile of an earlier round is chosen again" in options


def test_help__defaults_of_a_round_are_those_of_the_stage():
    help_texts = {a.dest: str(a.help) for a in options_of("select")}
    for setting in list_settings(RoundSettings):
        default = "all" if setting.is_list else "none" if setting.is_map else setting.default
        default = {True: "yes", False: "no"}[default] if setting.type is bool else default
        assert help_texts[setting.name].endswith(f"(default: {default})")


COMMANDS = list(list_commands(make_parser()))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.prog)
def test_help__every_command_has_examples_that_parse(command: argparse.ArgumentParser):
    lines = [line.strip() for line in command.format_help().splitlines()]
    examples = [
        line for line in lines if line.startswith(f"{command.prog} ") or line == command.prog
    ]
    assert examples
    for line in examples:
        words = shlex.split(line.partition(" > ")[0].partition("   ")[0], comments=True)
        make_parser().parse_args(words[1:])


def test_completion__bash_offers_commands_and_options():
    script = (
        f"source <({Path(sys.executable).parent}/dino-assets completion bash)\n"
        'complete_word() { COMP_WORDS=(dino-assets "$@"); COMP_CWORD=$#; '
        "$(complete -p dino-assets | sed -E 's/.*-F ([^ ]+).*/\\1/'); echo \"${COMPREPLY[@]}\"; }\n"
        "complete_word sel\ncomplete_word select --bud\n"
    )
    process = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert process.stdout.split() == ["select", "--budget"], process.stderr
