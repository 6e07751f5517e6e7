"""Records of settings: default, description and limits of each field, written once.

The asset's config in Dagster, the command's flags and the check of given values are all made from one record.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin

from dino_assets.errors import ConfigError
from dino_assets.settings.choices import check_range, check_word

_Record = TypeVar("_Record")
# Types of fields that are mappings in configs and recipes. Records hold them as sorted pairs, which can be
# compared and hashed.
Numbers = tuple[tuple[str, int], ...]
Lists = tuple[tuple[str, tuple[str, ...]], ...]


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
    type: Any  # type of the value, or of each value of a list or mapping; str for a Literal
    default: Any
    meaning: str
    is_list: bool = False
    is_map: bool = False  # from names to integers, or to lists of text
    is_permission: bool = False
    words: tuple[str, ...] = ()  # the allowed values of a Literal

    @property
    def flag(self) -> str:
        """The command-line flag: ``--clusters`` for ``n_clusters``, one ``--drop`` per value of ``drops``."""
        name = self.name.removesuffix("s") if self.is_list or self.is_map else self.name
        return f"--{name.removeprefix('n_').replace('_', '-')}"


def list_settings(record: type) -> Iterator[Setting]:
    """List the fields of a record of settings, in order."""
    for each in fields(record):
        assert each.default is not MISSING, each.name
        words = _words_of(each)
        is_list, is_map = _is_list(each), each.type in (Numbers, Lists)
        kind = str if words or is_list else each.type
        if is_map:
            kind = int if each.type == Numbers else list[str]
        meaning = str(each.metadata["meaning"])
        if words:
            meaning = f"{meaning}: {', '.join(words)}"
        is_permission = bool(each.metadata["is_permission"])
        yield Setting(
            each.name, kind, each.default, f"{meaning}.", is_list, is_map, is_permission, words
        )


def check_settings(settings: Any) -> None:
    """Check the words and numbers of a record of settings.

    Raises:
        ConfigError: a value is not allowed; the message names the field, its value and the allowed values.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        if _is_list(each) or each.type in (Numbers, Lists):
            continue  # values of lists, such as drops, are checked against the store
        if words := _words_of(each):
            check_word(each.name, value, words)
        meaning, least, most = (each.metadata[key] for key in ("meaning", "least", "most"))
        check_range(each.name, value, least=least, most=most, meaning=meaning)


def _words_of(each: "Field[Any]") -> tuple[str, ...]:
    return get_args(each.type) if get_origin(each.type) is Literal else ()


def _is_list(each: "Field[Any]") -> bool:
    return get_origin(each.type) is tuple and each.type not in (Numbers, Lists)


def make_record(record: type[_Record], values: Mapping[str, Any]) -> _Record:
    """Make a record of settings from values by field name.

    Lists become sorted tuples without repetitions. Mappings, or words such as ``NAME=VALUE``, become sorted
    pairs.

    Raises:
        ConfigError: such a word has no name, or no number where one is expected.
    """
    settings = {setting.name: setting for setting in list_settings(record)}
    converted = dict(values)
    for name, value in values.items():
        if settings[name].is_list:
            converted[name] = tuple(sorted(set(value)))
        elif settings[name].is_map:
            converted[name] = _to_pairs(settings[name], value)
    return record(**converted)


def _to_pairs(setting: Setting, given: Any) -> tuple[tuple[str, Any], ...]:
    """Convert a mapping, pairs, or words such as ``NAME=VALUE`` to sorted pairs."""
    if isinstance(given, Mapping):
        given = tuple(given.items())
    pairs = [_split(setting, each) if isinstance(each, str) else each for each in given]
    if setting.type is int:
        if len(dict(pairs)) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(
                f"{setting.name}: {twice!r} is named twice. Name it once",
                setting=setting.name,
                value=twice,
            )
        return tuple(sorted(pairs))
    joined: dict[str, list[str]] = {}
    for name, texts in pairs:
        joined.setdefault(name, []).extend(texts)
    return tuple((name, tuple(sorted(joined[name]))) for name in sorted(joined))


def _split(setting: Setting, word: str) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    is_number = value.isascii() and value.isdecimal()
    if name and value and (is_number or setting.type is not int):
        return name, int(value) if setting.type is int else [value]
    expected = "NAME=NUMBER, such as smoke=20" if setting.type is int else "NAME=VALUE"
    raise ConfigError(
        f"{setting.name}: {word!r} is not {expected}", setting=setting.name, value=word
    )


def to_recipe(settings: Any) -> dict[str, Any]:
    """Convert settings to the fields of a recipe.

    Permissions, empty lists and empty mappings are left out, because they do not change the output.
    """
    values: dict[str, Any] = {}
    for setting in list_settings(type(settings)):
        value = getattr(settings, setting.name)
        if setting.is_list:
            value = sorted(set(value))
        if setting.is_map:
            value = {name: list(v) if isinstance(v, tuple) else v for name, v in value}
        may_be_empty = not (setting.is_list or setting.is_map)
        if not setting.is_permission and (value or may_be_empty):
            values[setting.name] = value
    return values


def from_recipe(settings: _Record, config: Mapping[str, Any]) -> _Record:
    """Make settings from ``config``, the values in a recipe.

    A value that the recipe lacks is copied from ``settings``. A list or mapping that it lacks has the field's
    default.
    """
    values: dict[str, Any] = {}
    for setting in list_settings(type(settings)):
        may_be_empty = setting.is_list or setting.is_map
        fallback = setting.default if may_be_empty else getattr(settings, setting.name)
        values[setting.name] = config.get(setting.name, fallback)
    return make_record(type(settings), values)
