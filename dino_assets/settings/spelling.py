"""Detection of misspelt variable names, which would otherwise be ignored without a message."""

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path

from dotenv import dotenv_values

PREFIX = "DINO_"
_CLOSE = 0.6  # difflib's ratio without the prefix: STORGE and STORAGE have 0.92


def find_unknown(
    file: Path, variables: Collection[str], *, now: Mapping[str, str]
) -> tuple[str, ...]:
    """List unknown ``DINO_`` variables in the environment ``now`` and in the ``.env`` file.

    Each is listed with the closest known name. Lower-case names are unknown, too. An empty variable counts as
    unset. Values are not shown, because a variable with a misspelt name may contain a secret.
    """
    written = dotenv_values(file) if file.is_file() else {}
    unknown = {
        name: place
        for place, values in ((f" in {str(file)!r}", written), ("", now))
        for name, value in values.items()
        if value and name.upper().startswith(PREFIX) and name not in variables
    }
    return tuple(
        f"{name}{place}{_suggest(name, variables)}" for name, place in sorted(unknown.items())
    )


def _suggest(name: str, variables: Collection[str]) -> str:
    endings = [each.removeprefix(PREFIX) for each in variables if each.startswith(PREFIX)]
    ending = name.upper().removeprefix(PREFIX)
    near = difflib.get_close_matches(ending, endings, 1, _CLOSE)
    return f" (did you mean {PREFIX}{near[0]}?)" if near else ""
