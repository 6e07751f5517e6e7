"""Checks of ``.env``: interpolated values, and contradictions with the environment."""

import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from dotenv import dotenv_values

from dino_assets.errors import ConfigError
from dino_assets.settings.urls import hide_secrets

_SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD|CONNECTION_STRING|WEBHOOK")


def refuse_interpolation(file: Path, variables: Collection[str]) -> None:
    """Refuse a ``.env`` in which one of ``variables`` has a value with ``${…}``.

    Programs that read the file would replace ``${…}`` by the value of another variable.

    Raises:
        ConfigError: a variable has such a value.
    """
    # Reading it literally would not help: `dagster dev` loads the same file first, and interpolates.
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if "${" not in text:
        return
    written = dotenv_values(stream=io.StringIO(text), interpolate=False)
    replaced = dotenv_values(stream=io.StringIO(text))
    changed = [name for name, value in written.items() if replaced.get(name) != value]
    if refused := [name for name in changed if name in variables]:
        raise ConfigError(
            f"{', '.join(refused)} in .env: the value has a ${{…}}, which would be replaced when the "
            "file is read. Set the variable in the environment instead, or write the whole value.",
            setting=", ".join(refused),
            reason="interpolation",
        )


def refuse_disagreement(file: Path, variables: Collection[str], *, now: Mapping[str, str]) -> None:
    """Refuse a variable that has one value in the file and another in the environment ``now``.

    Only ``variables`` are checked. In Dagster's own commands ``.env`` overrides the environment; in other
    programs the environment overrides ``.env``. With two values, some commands would use another model or
    another store than the others.

    Raises:
        ConfigError: a variable has two different values.
    """
    written = dotenv_values(file) if file.is_file() else {}
    started = _environment_at_start(now)
    different = {
        name: (value, exported)
        for name, value in written.items()
        if value is not None and name in variables
        for exported in [started.get(name) or now.get(name) or value]
        if {now.get(name) or value, exported} != {value}
    }
    if different:
        both = "; ".join(
            f"{name} is {_show(name, exported)} in the environment and {_show(name, value)} in "
            f"{str(file)!r}"
            for name, (value, exported) in different.items()
        )
        lines = "line" if len(different) == 1 else "lines"
        raise ConfigError(
            f"{both}. Dagster's own commands would use the file, and all others the environment. Run "
            f"`unset {' '.join(different)}`, or delete the {lines} in the file.",
            setting=", ".join(different),
            value={name: _show(name, exported) for name, (_, exported) in different.items()},
            reason="disagreement",
        )


def _show(name: str, value: str) -> str:
    """Format a variable's value for a message, without showing a secret."""
    if _SECRET.search(name):
        return "a secret (not shown)" if value else "empty"
    return repr(hide_secrets(value)) if value else "empty"


def _environment_at_start(now: Mapping[str, str]) -> dict[str, str]:
    """Read the environment that the process was started with, before Dagster loaded ``.env`` into it.

    The result is empty on systems without ``/proc``.
    """
    try:
        pairs = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    # Leave out variables that were unset since.
    return {name: value for name, value in variables.items() if name in now}
