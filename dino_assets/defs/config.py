"""The config of an asset, made from a record of settings."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field, create_model

from dino_assets.drops.registry import find_names
from dino_assets.settings.described import list_settings
from dino_assets.store.objects import ObjectStore


def config_of(record: type) -> Any:
    """Make a config class with the record's fields, defaults and descriptions, to be subclassed."""
    fields: dict[str, Any] = {
        setting.name: (
            list[str] if setting.is_list else setting.type,
            Field(
                default=list(setting.default) if setting.is_list else setting.default,
                description=setting.meaning,
            ),
        )
        for setting in list_settings(record)
    }
    return create_model(f"{record.__name__}Config", __base__=dg.Config, **fields)


def values_of(config: dg.Config, record: type) -> dict[str, Any]:
    """Give the values of those fields that the record has."""
    values = config.model_dump()
    return {setting.name: values[setting.name] for setting in list_settings(record)}


def name_drops(values: Mapping[str, Any], store: ObjectStore) -> dict[str, Any]:
    """Give values whose drops have the names that the store has for them; original ones are found."""
    return {**values, "drops": find_names(store, values["drops"])}
