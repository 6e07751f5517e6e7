"""Config of assets as a person writes it in the launchpad."""

from pathlib import Path

from dino_assets.defs.config import name_drops
from dino_assets.drops.registry import register_drop
from dino_assets.store.objects import ObjectStore


def test_name_drops__original_names_are_found(tmp_path: Path):
    store = ObjectStore.in_memory()
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "a.jpg").write_bytes(b"x")
    drop, _ = register_drop(store, "Überflug Süd", source="card", root=tmp_path)
    values = name_drops({"budget": 5, "drops": ["Überflug Süd", "other", "../x"]}, store)
    assert values == {"budget": 5, "drops": [drop.name, "other", "../x"]}
