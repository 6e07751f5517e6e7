"""Config classes of assets, made from records of settings.

A field with a fixed set of values is a ``Literal``: Dagster refuses other values before it makes a run, and
the launchpad offers the valid ones. Dagster cannot limit numbers, so the step checks them first.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, get_args

import dagster as dg
from pydantic import Field, create_model

from dino_assets.drops.registry import find_names
from dino_assets.settings.described import Setting, list_settings
from dino_assets.store.objects import ObjectStore


def config_of(record: type) -> Any:
    """Make a base class for a config, with the record's fields, defaults and descriptions."""
    fields: dict[str, Any] = {
        setting.name: (
            _type_of(setting),
            Field(
                default=_default_of(setting),
                description=setting.meaning,
            ),
        )
        for setting in list_settings(record)
    }
    return create_model(f"{record.__name__}Config", __base__=dg.Config, **fields)


def _default_of(setting: Setting) -> Any:
    if setting.is_list:
        return list(setting.default)
    return dict(setting.default) if setting.is_map else setting.default


def _type_of(setting: Setting) -> Any:
    if setting.is_list:
        return list[str]
    if setting.is_map:
        return dict[str, setting.type]  # type: ignore[name-defined]
    return Literal[setting.words] if setting.words else setting.type


def list_of(choices: Any) -> Any:
    """Make the type of a config field that is a list of a ``Literal``'s values.

    Dagster accepts a ``Literal`` as a field's type, but not as the type of a list's entries. There it accepts
    an enum. Its error message prints the enum's name, so the name lists the values.
    """
    name = str(choices).removeprefix("typing.")
    return list[StrEnum(name, {word: word for word in get_args(choices)})]  # type: ignore[misc]


def values_of(config: dg.Config, record: type) -> dict[str, Any]:
    """Return the config's values for the record's fields."""
    values = config.model_dump()
    return {setting.name: values[setting.name] for setting in list_settings(record)}


def name_drops(values: Mapping[str, Any], store: ObjectStore) -> dict[str, Any]:
    """Replace each entry of ``drops`` in ``values`` by the drop's name in the store.

    An entry may be the original name of the drop's folder.
    """
    return {**values, "drops": find_names(store, values["drops"])}
