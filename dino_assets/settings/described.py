"""Settings with a meaning: default, description and limits of a field, written once.

The asset's config in Dagster, the command's flags and the check of what a person asked for are made
from the same record.
"""

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin

from dino_assets.errors import ConfigError


def described(
    default: Any, meaning: str, *, least: float | None = None, most: float | None = None
) -> Any:
    """Declare a field of a frozen record: what it means to a person, and its limits."""
    return field(default=default, metadata={"meaning": meaning, "least": least, "most": most})


@dataclass(frozen=True)
class Setting:
    """One field of a record of settings, as a person meets it."""

    name: str
    type: Any  # of the value; the words of a Literal are str
    default: Any
    meaning: str

    @property
    def flag(self) -> str:
        """The command-line flag: ``n_clusters`` is ``--clusters``."""
        return f"--{self.name.removeprefix('n_').replace('_', '-')}"


def list_settings(record: type) -> Iterator[Setting]:
    """List the fields of a record of settings in their order."""
    for each in fields(record):
        assert each.default is not MISSING, each.name
        words = _words_of(each)
        kind = str if words else each.type
        meaning = str(each.metadata["meaning"])
        if words:
            meaning = f"{meaning}: {', '.join(words)}"
        yield Setting(each.name, kind, each.default, f"{meaning}.")


def check_word(name: str, value: str, words: tuple[str, ...]) -> None:
    """Refuse a word that is not one of those a person may choose from.

    Raises:
        ConfigError: it is not.
    """
    if value not in words:
        raise ConfigError(
            f"{name} is {value!r}; use one of {', '.join(words)}", setting=name, value=value
        )


def check_settings(settings: Any) -> None:
    """Refuse words that mean nothing and numbers outside their limits.

    Raises:
        ConfigError: names the field, its value and what is expected.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        if words := _words_of(each):
            check_word(each.name, value, words)
        least, most = each.metadata["least"], each.metadata["most"]
        is_above = least is None or value >= least
        if not (is_above and (most is None or value <= most)):
            limits = f"{least:g} or more" if most is None else f"{least:g} to {most:g}"
            raise ConfigError(
                f"{each.name}={value}: expected {limits} ({each.metadata['meaning']})",
                setting=each.name,
                value=value,
            )


def _words_of(each: "Field[Any]") -> tuple[str, ...]:
    return get_args(each.type) if get_origin(each.type) is Literal else ()
