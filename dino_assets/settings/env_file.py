"""The file ``.env`` beside the environment: what is refused before either is read."""

import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from dotenv import dotenv_values

from dino_assets.errors import ConfigError
from dino_assets.settings.urls import hide_secrets

_SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD|CONNECTION_STRING|WEBHOOK")


def refuse_interpolation(file: Path, ours: Collection[str]) -> None:
    """Refuse a value of one of our variables that would be replaced when the file is read.

    Raises:
        ConfigError: there is one.
    """
    # Reading it literally is no way out: `dagster dev` loads the same file first, and interpolates.
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if "${" not in text:
        return
    written = dotenv_values(stream=io.StringIO(text), interpolate=False)
    replaced = dotenv_values(stream=io.StringIO(text))
    changed = [name for name, value in written.items() if replaced.get(name) != value]
    if torn := [name for name in changed if name in ours]:
        raise ConfigError(
            f"{', '.join(torn)} in .env: the value has a ${{…}}, which would be replaced when the "
            "file is read. Set the variable in the environment instead, or write the value out.",
            setting=", ".join(torn),
            reason="interpolation",
        )


def refuse_disagreement(file: Path, ours: Collection[str], *, now: Mapping[str, str]) -> None:
    """Refuse two values for one of our variables: in the file, and in the environment as it is ``now``.

    Dagster's commands let ``.env`` win over the environment, every other program does not: an exported
    model would be ignored by one half of our commands, and data written elsewhere.

    Raises:
        ConfigError: a variable has another value in the environment.
    """
    written = dotenv_values(file) if file.is_file() else {}
    started = _environment_at_start(now)
    torn = {
        name: (value, exported)
        for name, value in written.items()
        if value is not None and name in ours
        for exported in [started.get(name) or now.get(name) or value]
        if {now.get(name) or value, exported} != {value}
    }
    if torn:
        both = "; ".join(
            f"{name} is {_show(name, exported)} in the environment and {_show(name, value)} in "
            f"{str(file)!r}"
            for name, (value, exported) in torn.items()
        )
        raise ConfigError(
            f"{both}. Dagster's own commands would follow the file, and all others the environment: "
            f"`unset {' '.join(torn)}`, or take the {'line' if len(torn) == 1 else 'lines'} out of the "
            "file.",
            setting=", ".join(torn),
            value={name: _show(name, exported) for name, (_, exported) in torn.items()},
            reason="disagreement",
        )


def _show(name: str, value: str) -> str:
    """A variable's value for a message; of a secret only that there is one."""
    if _SECRET.search(name):
        return "a secret (not shown)" if value else "empty"
    return repr(hide_secrets(value)) if value else "empty"


def _environment_at_start(now: Mapping[str, str]) -> dict[str, str]:
    """The process's environment before Dagster put ``.env`` into it, where the system keeps it."""
    try:
        pairs = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    # What somebody took out since is out.
    return {name: value for name, value in variables.items() if name in now}
