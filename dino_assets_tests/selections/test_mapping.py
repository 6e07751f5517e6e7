"""A round on the map: rings, ranks, reasons; and what it must not change."""

import base64
import json
import re

import numpy as np
import pytest

from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.projections.stage import PAGE, MapSettings, draft_projections
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage.paid import MAP_PAGE, MAP_PICTURE, find_paid
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets_tests.worlds.curation import LINEAR, CurationWorld


def commit_map(world: CurationWorld, settings: MapSettings = LINEAR):
    return commit(world.store, draft_projections(world.embeddings(), settings, model="tiny"))


def read_colours(text: str) -> dict[str, str]:
    (data,) = re.findall(r'id="data">(.*?)</script>', text)
    page = json.loads(data)
    return dict(zip(page["names"], page["colours"], strict=True))


def read_page(world: CurationWorld, manifest) -> tuple[str, dict]:
    text = world.read_file(manifest, MAP_PAGE).decode()
    (data,) = re.findall(r'id="data">(.*?)</script>', text)
    return text, json.loads(data)


def test_store_map__ranks_reasons_and_earlier_rounds(world: CurationWorld):
    commit_map(world)
    _, first = read_page(world, world.select(RoundSettings(budget=5)).manifest)
    done = world.select(RoundSettings(round=2, budget=4), caveat="random weights: plumbing only")
    text, second = read_page(world, done.manifest)
    rows = world.rounds().read("round-0002").to_pylist()
    assert [second["ids"][row] for row in second["chosen"]] == [row["tile_id"] for row in rows]
    assert second["notes"] == [f"{row['rank']} · round 2 · {row['reason']}" for row in rows]
    assert sorted(second["earlier"]) == sorted(first["chosen"])
    assert "random weights: plumbing only" in text
    assert world.read_file(done.manifest, MAP_PICTURE).startswith(b"\x89PNG")


def read_places(page: dict) -> dict[str, tuple[float, float]]:
    places = np.frombuffer(base64.b64decode(page["xy"]), "<f4").reshape(-1, 2).tolist()
    return dict(zip(page["ids"], map(tuple, places), strict=True))


def test_store_map__tiles_are_where_the_map_has_them(world: CurationWorld):
    commit_map(world, MapSettings(method="umap", n_neighbors=5))
    _, page = read_page(world, world.select(RoundSettings(budget=3)).manifest)
    rows = open_table(world.store, "projections", space=world.space).read(None).to_pylist()
    assert read_places(page) == {row["tile_id"]: (row["x"], row["y"]) for row in rows}


@pytest.mark.parametrize("held_by", ["no map", "a map of one drop"])
def test_store_map__without_a_map_of_all_its_tiles_a_layout_of_its_own(
    world: CurationWorld, held_by: str
):
    if held_by == "a map of one drop":
        commit_map(world, MapSettings(method="linear", drops=("river-burn",)))
    text, page = read_page(world, world.select(RoundSettings(budget=3)).manifest)
    assert {*page["ids"]} == {*read_pool(world.embeddings(), "cls").tile_ids}
    assert len({*read_places(page).values()}) > 10
    assert "laid out for this round" in text


def test_store_map__another_map_leaves_the_choice_as_it_was(world: CurationWorld):
    commit_map(world)
    done = world.select(RoundSettings(budget=3))
    (before,) = find_paid(world.store, world.rounds(), before="round-0002")
    commit_map(world, MapSettings(method="linear", seed=7, n_neighbors=5))
    assert world.select(RoundSettings(budget=3)).was_reused
    (part,) = [p for p in done.manifest.parts if p.name == MAP_PAGE]
    world.store.delete(part.key)
    (mapped,) = open_table(world.store, "projections", space=world.space).manifests
    world.store.delete(next(p.key for p in mapped.parts if p.name is None))
    again = world.select(RoundSettings(budget=3))  # made again, and laid out for itself
    assert not again.was_reused
    (after,) = find_paid(world.store, world.rounds(), before="round-0002")
    assert after.manifest.parts != before.manifest.parts
    assert after.content == before.content


def test_store_map__a_drop_has_its_own_colour_on_every_map_and_round(world: CurationWorld):
    # River first: by the order of names, its colour would go to the drop that comes after it.
    first = commit_map(world, MapSettings(method="linear", drops=("river-burn",))).manifest
    colour = read_colours(world.read_file(first, PAGE).decode())["river-burn"]
    assert colour == "#1f77b4"
    _, page = read_page(world, world.select(RoundSettings(budget=3)).manifest)
    assert page["colours"] == ["#e67814", colour]  # ridge-north, which no map has yet
    both = commit_map(world)
    expected = {"ridge-north": "#e67814", "river-burn": colour}
    assert read_colours(world.read_file(both.manifest, PAGE).decode()) == expected
    assert commit_map(world).was_reused
    commit_map(world, MapSettings(method="linear", drops=("ridge-north",)))
    again = commit_map(world)
    assert read_colours(world.read_file(again.manifest, PAGE).decode()) == expected
    assert again.manifest == both.manifest


def test_draft_projections__a_damaged_map_before_is_replaced(world: CurationWorld):
    made = commit_map(world).manifest
    world.store.put(manifest_key(made.recipe.output), b"{}")
    again = commit_map(world)
    assert not again.was_reused
    assert again.manifest == made
