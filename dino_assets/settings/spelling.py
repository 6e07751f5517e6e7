"""Variables that look like ours and are none: a misspelt name has no effect, which nothing else says."""

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path

from dotenv import dotenv_values

PREFIX = "DINO_"
_CLOSE = 0.6  # of difflib's ratio, of what follows the prefix: STORGE and STORAGE have 0.92


def find_unknown(file: Path, ours: Collection[str], *, now: Mapping[str, str]) -> tuple[str, ...]:
    """Name the variables with our prefix, in the environment ``now`` or the ``.env`` file, that are none of ours.

    Each with the one that was probably meant. Names in small letters are none of ours either; an empty
    variable counts as unset. Values stay out of it: a misspelt name may hold a secret.
    """
    written = dotenv_values(file) if file.is_file() else {}
    unknown = {
        name: place
        for place, variables in ((f" in {str(file)!r}", written), ("", now))
        for name, value in variables.items()
        if value and name.upper().startswith(PREFIX) and name not in ours
    }
    return tuple(f"{name}{place}{_ask(name, ours)}" for name, place in sorted(unknown.items()))


def _ask(name: str, ours: Collection[str]) -> str:
    endings = [each.removeprefix(PREFIX) for each in ours if each.startswith(PREFIX)]
    ending = name.upper().removeprefix(PREFIX)
    near = difflib.get_close_matches(ending, endings, 1, _CLOSE)
    return f" (did you mean {PREFIX}{near[0]}?)" if near else ""
