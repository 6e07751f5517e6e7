"""A round on the map: rings, ranks, reasons; and what it must not change."""

import base64
import io
import json
import re

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.projections.stage import PAGE, MapSettings, draft_projections
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage.paid import MAP_PAGE, MAP_PICTURE, find_paid
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets_tests.worlds.curation import LINEAR, SIDE, CurationWorld


def commit_map(world: CurationWorld, settings: MapSettings = LINEAR):
    tiles = open_table(world.store, "tiles")
    return commit(world.store, draft_projections(world.embeddings(), tiles, settings, model="tiny"))


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
    _, first_page = read_page(world, world.select(RoundSettings(budget=5)).manifest)
    committed = world.select(
        RoundSettings(round=2, budget=4), caveat="random weights: plumbing only"
    )
    text, second_page = read_page(world, committed.manifest)
    rows = world.rounds().read("round-0002").to_pylist()
    assert [second_page["ids"][row] for row in second_page["chosen"]] == [
        row["tile_id"] for row in rows
    ]
    assert second_page["ranks"] == [1, 2, 3, 4]
    assert second_page["reasons"] == [row["reason"] for row in rows]
    assert second_page["clusters"] == [row["cluster"] for row in rows]
    for note, row in zip(second_page["notes"], rows, strict=True):
        assert note.startswith(f"round 2, rank {row['rank']}, {row['reason']}: ")
    assert sorted(second_page["earlier"]) == sorted(first_page["chosen"])
    assert "random weights: plumbing only" in text
    assert world.read_file(committed.manifest, MAP_PICTURE).startswith(b"\x89PNG")


def read_places(page: dict) -> dict[str, tuple[float, float]]:
    places = np.frombuffer(base64.b64decode(page["xy"]), "<f4").reshape(-1, 2).tolist()
    return dict(zip(page["ids"], map(tuple, places), strict=True))


def test_store_map__uses_the_places_of_the_committed_map(world: CurationWorld):
    commit_map(world, MapSettings(method="umap", n_neighbors=5))
    _, page = read_page(world, world.select(RoundSettings(budget=3)).manifest)
    rows = open_table(world.store, "projections", space=world.space).read(None).to_pylist()
    assert read_places(page) == {row["tile_id"]: (row["x"], row["y"]) for row in rows}


@pytest.mark.parametrize("held_by", ["no map", "a map of one drop"])
def test_store_map__lays_out_the_pool_if_the_map_lacks_tiles(world: CurationWorld, held_by: str):
    if held_by == "a map of one drop":
        commit_map(world, MapSettings(method="linear", drops=("river-burn",)))
    text, page = read_page(world, world.select(RoundSettings(budget=3)).manifest)
    assert {*page["ids"]} == {*read_pool(world.embeddings(), "cls").tile_ids}
    assert len({*read_places(page).values()}) > 10
    assert "laid out for this round" in text


def test_store_map__another_map_does_not_change_the_choice(world: CurationWorld):
    commit_map(world)
    committed = world.select(RoundSettings(budget=3))
    (round_before,) = find_paid(world.store, world.rounds(), before="round-0002")
    commit_map(world, MapSettings(method="linear", seed=7, n_neighbors=5))
    assert world.select(RoundSettings(budget=3)).was_reused
    (part,) = [p for p in committed.manifest.parts if p.name == MAP_PAGE]
    world.store.delete(part.key)
    (map_manifest,) = open_table(world.store, "projections", space=world.space).manifests
    world.store.delete(next(p.key for p in map_manifest.parts if p.name is None))
    repeated = world.select(RoundSettings(budget=3))  # made again, and laid out for itself
    assert not repeated.was_reused
    (round_after,) = find_paid(world.store, world.rounds(), before="round-0002")
    assert round_after.manifest.parts != round_before.manifest.parts
    assert round_after.content == round_before.content


def test_store_map__a_drop_has_its_own_colour_on_every_map_and_round(world: CurationWorld):
    # River first: by the order of names, its colour would go to the drop that comes after it.
    first_manifest = commit_map(world, MapSettings(method="linear", drops=("river-burn",))).manifest
    colour = read_colours(world.read_file(first_manifest, PAGE).decode())["river-burn"]
    assert colour == "#1f77b4"
    _, page = read_page(world, world.select(RoundSettings(budget=3)).manifest)
    assert page["colours"] == ["#e67814", colour]  # ridge-north, which no map has yet
    full_map = commit_map(world)
    expected = {"ridge-north": "#e67814", "river-burn": colour}
    assert read_colours(world.read_file(full_map.manifest, PAGE).decode()) == expected
    assert commit_map(world).was_reused
    commit_map(world, MapSettings(method="linear", drops=("ridge-north",)))
    repeated = commit_map(world)
    assert read_colours(world.read_file(repeated.manifest, PAGE).decode()) == expected
    assert repeated.manifest == full_map.manifest


def test_draft_projections__replaces_a_damaged_map(world: CurationWorld):
    manifest = commit_map(world).manifest
    world.store.put(manifest_key(manifest.recipe.output), b"{}")
    repeated = commit_map(world)
    assert not repeated.was_reused
    assert repeated.manifest == manifest


def test_store_map__cards_name_photographs_and_places(world: CurationWorld):
    map_manifest = commit_map(world).manifest
    committed = world.select(RoundSettings(budget=4))
    rows = {row["tile_id"]: row for row in world.rounds().read("round-0001").to_pylist()}
    for text in (
        world.read_file(map_manifest, PAGE).decode(),
        read_page(world, committed.manifest)[0],
    ):
        page = json.loads(re.findall(r'id="data">(.*?)</script>', text)[0])
        paths = np.frombuffer(base64.b64decode(page["pathOf"]), "<u4")
        places = np.frombuffer(base64.b64decode(page["places"]), "<i4").reshape(-1, 2)
        for index, tile_id in enumerate(page["ids"]):
            if row := rows.get(tile_id):
                assert page["paths"][paths[index]] == row["path"]
                assert places[index] * 1e-5 == pytest.approx(
                    [row["latitude"], row["longitude"]], abs=6e-6
                )
        assert paths.max() == len(page["paths"]) - 1  # every tile has one


def test_store_map__chosen_tiles_have_sharp_pictures(world: CurationWorld):
    _, page = read_page(world, world.select(RoundSettings(budget=4), sheet_tiles=3).manifest)
    pictures = [base64.b64decode(each) for each in page["pictures"]]
    assert [Image.open(io.BytesIO(each)).size for each in pictures[:3]] == [(SIDE, SIDE)] * 3
    assert pictures[3] == b""  # beyond the contact sheet the thumb has to do


@pytest.mark.parametrize("loss", ["not tiled", "damaged", "of an earlier version"])
def test_store_map__shows_drops_whose_tiles_cannot_be_read(world: CurationWorld, loss: str):
    manifest = open_table(world.store, "tiles").manifest("river-burn")
    (part,) = manifest.parts
    if loss == "not tiled":
        world.store.delete(manifest_key(manifest.recipe.output))
    elif loss == "damaged":
        world.store.put(part.key, b"damaged")
    else:
        rows = open_table(world.store, "tiles").read("river-burn").drop_columns(["path"])
        old_draft = Draft(
            manifest.recipe,
            lambda out: out.rows(rows.combine_chunks().to_batches()[0]),
            rows.schema,
        )
        world.store.delete(manifest_key(manifest.recipe.output))
        commit(world.store, old_draft)
    map_manifest = commit_map(world).manifest
    assert [*map_manifest.facts["photographs_unknown"]] == ["river-burn"]
    page = json.loads(
        re.findall(r'id="data">(.*?)</script>', world.read_file(map_manifest, PAGE).decode())[0]
    )
    has_path = np.frombuffer(base64.b64decode(page["pathOf"]), "<u4") != 2**32 - 1
    groups = np.frombuffer(base64.b64decode(page["groups"]), "<u2")
    assert (has_path == (groups == page["names"].index("ridge-north"))).all()


def test_draft_projections__a_renamed_photograph_gives_another_map(world: CurationWorld):
    old_map = commit_map(world).manifest
    tiles = open_table(world.store, "tiles")
    table, manifest = tiles.read("river-burn"), tiles.manifest("river-burn")
    index = table.schema.get_field_index("path")
    renamed_table = table.set_column(
        index, table.schema.field(index), pa.array(["new.jpg"] * len(table))
    )
    batch = renamed_table.combine_chunks().to_batches()[0]
    world.store.delete(manifest_key(manifest.recipe.output))
    commit(world.store, Draft(manifest.recipe, lambda out: out.rows(batch), renamed_table.schema))
    new_map = commit_map(world)
    assert not new_map.was_reused
    assert b"new.jpg" in world.read_file(new_map.manifest, PAGE)
    assert b"new.jpg" not in world.read_file(old_map, PAGE)
