"""Records of settings: default, description and limits of each field, written once.

The asset's config in Dagster, the command's flags and the check of given values are all made from one record.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin

from dino_assets.settings.choices import check_range, check_word

_Record = TypeVar("_Record")


def described(
    default: Any,
    meaning: str,
    *,
    least: float | None = None,
    most: float | None = None,
    is_permission: bool = False,
) -> Any:
    """Declare a field of a frozen record, with its meaning for the user and its limits.

    ``is_permission``: the field only allows something to be done, and does not change the result. Recipes
    (stored records of everything that decides a result) do not contain such fields.
    """
    metadata = {"meaning": meaning, "least": least, "most": most, "is_permission": is_permission}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One field of a record of settings, as the user sees it."""

    name: str
    type: Any  # type of the value, or of each value of a list; str for a Literal
    default: Any
    meaning: str
    is_list: bool = False
    is_permission: bool = False
    words: tuple[str, ...] = ()  # the allowed values of a Literal

    @property
    def flag(self) -> str:
        """The command-line flag: ``--clusters`` for ``n_clusters``, one ``--drop`` per value of ``drops``."""
        name = self.name.removesuffix("s") if self.is_list else self.name
        return f"--{name.removeprefix('n_').replace('_', '-')}"


def list_settings(record: type) -> Iterator[Setting]:
    """List the fields of a record of settings, in order."""
    for each in fields(record):
        assert each.default is not MISSING, each.name
        words = _words_of(each)
        is_list = _is_list(each)
        kind = str if words or is_list else each.type
        meaning = str(each.metadata["meaning"])
        if words:
            meaning = f"{meaning}: {', '.join(words)}"
        is_permission = bool(each.metadata["is_permission"])
        yield Setting(each.name, kind, each.default, f"{meaning}.", is_list, is_permission, words)


def check_settings(settings: Any) -> None:
    """Check the words and numbers of a record of settings.

    Raises:
        ConfigError: a value is not allowed; the message names the field, its value and the allowed values.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        if _is_list(each):
            continue  # values of lists, such as drops, are checked against the store
        if words := _words_of(each):
            check_word(each.name, value, words)
        meaning, least, most = (each.metadata[key] for key in ("meaning", "least", "most"))
        check_range(each.name, value, least=least, most=most, meaning=meaning)


def _words_of(each: "Field[Any]") -> tuple[str, ...]:
    return get_args(each.type) if get_origin(each.type) is Literal else ()


def _is_list(each: "Field[Any]") -> bool:
    return get_origin(each.type) is tuple


def make_record(record: type[_Record], values: Mapping[str, Any]) -> _Record:
    """Make a record of settings from values by field name; lists become sorted tuples without repetitions."""
    lists = {setting.name for setting in list_settings(record) if setting.is_list}
    return record(
        **{
            name: tuple(sorted(set(value))) if name in lists else value
            for name, value in values.items()
        }
    )


def to_recipe(settings: Any) -> dict[str, Any]:
    """Convert settings to the fields of a recipe.

    Permissions and empty lists are left out, because they do not change the output.
    """
    values: dict[str, Any] = {}
    for setting in list_settings(type(settings)):
        value = getattr(settings, setting.name)
        if setting.is_list:
            value = sorted(set(value))
        if not setting.is_permission and not (setting.is_list and not value):
            values[setting.name] = value
    return values


def from_recipe(settings: _Record, config: Mapping[str, Any]) -> _Record:
    """Make settings from ``config``, the values in a recipe.

    A value that the recipe lacks is copied from ``settings``. A list that it lacks has the field's default.
    """
    values: dict[str, Any] = {}
    for setting in list_settings(type(settings)):
        fallback = setting.default if setting.is_list else getattr(settings, setting.name)
        values[setting.name] = config.get(setting.name, fallback)
    return make_record(type(settings), values)
