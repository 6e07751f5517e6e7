"""An argument parser whose errors name the command that they are about, and what was probably meant."""

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from dino_assets.cli.terminal import name_commands

_CLOSE = 0.6  # of difflib's ratio: --bugdet and --budget have 0.9


class CommandParser(argparse.ArgumentParser):
    """A parser of one command; parsers added below it are of the same kind.

    argparse hands what a command does not know to the parser at the top, which shows its own usage.
    """

    def parse_known_args(  # type: ignore[override] # typeshed has overloads for other namespaces
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse, and refuse here what is unknown."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggest(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Say the near match of a misspelled command, too."""
        if "invalid choice: '" in message:
            word = message.split("invalid choice: '", 1)[1].split("'", 1)[0]
            message += _ask([word], self._list_choices())
        super().error(name_commands(message))

    def _suggest(self, unknown: Sequence[str]) -> str:
        flags = [flag for action in self._actions for flag in action.option_strings]
        return _ask([word.partition("=")[0] for word in unknown if word.startswith("-")], flags)

    def _list_choices(self) -> list[str]:
        return [str(word) for action in self._actions for word in action.choices or ()]


def _ask(words: Sequence[str], known: Sequence[str]) -> str:
    near = [match for word in words for match in difflib.get_close_matches(word, known, 1, _CLOSE)]
    return f" (did you mean {' and '.join(dict.fromkeys(near))}?)" if near else ""
