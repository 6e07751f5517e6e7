"""Argument parser whose errors show the usage of the failed command and correct misspelled words."""

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from dino_assets.cli.terminal import name_commands

_CLOSE = 0.6  # least ratio of difflib for a suggestion; --bugdet and --budget have 0.9


class CommandParser(argparse.ArgumentParser):
    """Argument parser that reports unknown arguments itself, with its own usage.

    The parsers of commands are of this class, too. With argparse's own class, the top parser would report a
    command's unknown arguments, with the usage of the whole program.
    """

    def parse_known_args(  # type: ignore[override] # typeshed has overloads for other namespaces
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse the arguments; if some are unknown, print an error and exit."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggest(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Print the error and exit; suggest the right word for a misspelled command."""
        if "invalid choice: '" in message:
            word = message.split("invalid choice: '", 1)[1].split("'", 1)[0]
            message += _suggest_words([word], self._list_choices())
        super().error(name_commands(message))

    def _suggest(self, unknown: Sequence[str]) -> str:
        flags = [flag for action in self._actions for flag in action.option_strings]
        words = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        return _suggest_words(words, flags)

    def _list_choices(self) -> list[str]:
        return [str(word) for action in self._actions for word in action.choices or ()]


def _suggest_words(words: Sequence[str], valid: Sequence[str]) -> str:
    near = [match for word in words for match in difflib.get_close_matches(word, valid, 1, _CLOSE)]
    return f" (did you mean {' and '.join(dict.fromkeys(near))}?)" if near else ""
