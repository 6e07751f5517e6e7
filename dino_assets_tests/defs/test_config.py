"""Config of assets, as written in the launchpad."""

from pathlib import Path

import dagster as dg
import pytest

from dino_assets.defs.assets.projections import ProjectionsConfig
from dino_assets.defs.assets.selections import SelectionsConfig
from dino_assets.defs.config import name_drops
from dino_assets.drops.registering import register_drop
from dino_assets.store.objects import ObjectStore


def test_name_drops__original_names(tmp_path: Path):
    store = ObjectStore.in_memory()
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "a.jpg").write_bytes(b"x")
    drop, _ = register_drop(store, "Überflug Süd", source="card", root=tmp_path)
    values = name_drops({"budget": 5, "drops": ["Überflug Süd", "other", "../x"]}, store)
    assert values == {"budget": 5, "drops": [drop.name, "other", "../x"]}


@pytest.mark.parametrize("config", [SelectionsConfig, ProjectionsConfig])
def test_config__every_field_has_a_default_and_a_description(config: type[dg.Config]):
    schema = config.to_fields_dict()
    assert [name for name, field in schema.items() if field.is_required] == []
    assert [name for name, field in schema.items() if not field.description] == []
