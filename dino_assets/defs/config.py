"""The config of an asset, made from a record of settings, and choices in it.

A choice is a ``Literal``: Dagster refuses other words before a run is made, and the launchpad offers
these. Dagster has no limits for numbers: the step that takes a number checks it first of all.
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
    """Make a config class with the record's fields, defaults and descriptions, to be subclassed."""
    fields: dict[str, Any] = {
        setting.name: (
            _type_of(setting),
            Field(
                default=list(setting.default) if setting.is_list else setting.default,
                description=setting.meaning,
            ),
        )
        for setting in list_settings(record)
    }
    return create_model(f"{record.__name__}Config", __base__=dg.Config, **fields)


def _type_of(setting: Setting) -> Any:
    if setting.is_list:
        return list[str]
    return Literal[setting.words] if setting.words else setting.type


def list_of(choices: Any) -> Any:
    """Make the type of a config field that lists words of a ``Literal``.

    Dagster takes a ``Literal`` of a field's own, in a list only an enum. Its refusal names the type, so
    the name says what is accepted.
    """
    name = str(choices).removeprefix("typing.")
    return list[StrEnum(name, {word: word for word in get_args(choices)})]  # type: ignore[misc]


def values_of(config: dg.Config, record: type) -> dict[str, Any]:
    """Give the values of those fields that the record has."""
    values = config.model_dump()
    return {setting.name: values[setting.name] for setting in list_settings(record)}


def name_drops(values: Mapping[str, Any], store: ObjectStore) -> dict[str, Any]:
    """Give values whose drops have the names that the store has for them; original ones are found."""
    return {**values, "drops": find_names(store, values["drops"])}
