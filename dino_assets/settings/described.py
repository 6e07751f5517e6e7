"""Settings with a meaning: default, description and limits of a field, written once.

The asset's config in Dagster, the command's flags and the check of what a person asked for are made
from the same record.
"""

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin

from dino_assets.settings.choices import check_range, check_word


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


def check_settings(settings: Any) -> None:
    """Refuse words that mean nothing and numbers outside their limits.

    Raises:
        ConfigError: names the field, its value and what is expected.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        if words := _words_of(each):
            check_word(each.name, value, words)
        meaning, least, most = (each.metadata[key] for key in ("meaning", "least", "most"))
        check_range(each.name, value, least=least, most=most, meaning=meaning)


def _words_of(each: "Field[Any]") -> tuple[str, ...]:
    return get_args(each.type) if get_origin(each.type) is Literal else ()
