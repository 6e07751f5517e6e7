"""Shares of a round for classes that are stored prototypes."""

from collections.abc import Callable

import numpy as np
import pytest

from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.errors import ConfigError
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.probes.stage.class_examples import list_prototype_names, with_prototypes
from dino_assets.probes.stage.prototypes import (
    NamedVector,
    Prototype,
    put_prototype,
    remove_prototype,
)
from dino_assets.selections.rounds import make_settings
from dino_assets.selections.stage.links import check_links
from dino_assets.selections.stage.opening import Round, open_round
from dino_assets.store.commits.reading import SpacedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.weights.stage import load_checkpoint
from dino_assets_tests.worlds.curation import COMPUTE, SIDE, CurationWorld

Open = Callable[..., Round]


def plant(world: CurationWorld, name: str, row: int) -> np.ndarray:
    """Store a prototype that leads from the mean of all tiles to one of them; return its direction."""
    units = scale_to_unit(read_pool(world.embeddings(), "cls").vectors)
    direction = units[row] - units.mean(axis=0)
    direction /= np.linalg.norm(direction)
    examples = tuple(NamedVector(f"{number}.npy", direction) for number in range(3))
    put_prototype(
        world.store,
        Prototype(
            *(name, world.space, "cls", examples, (), direction, (99.0,) * 3, 0.01),
            is_better_than_chance=True,
            searched=len(units),
        ),
    )
    return direction


@pytest.fixture
def open_with(world: CurationWorld) -> Open:
    def read_nothing_else(*_: object) -> np.ndarray:
        raise AssertionError

    def run(**values: object) -> Round:
        return open_round(
            SpacedTable(world.store, "embeddings"),
            open_table(world.store, "tiles"),
            load_checkpoint(world.store),
            COMPUTE,
            make_settings(prototypes=list_prototype_names(world.store), all_windows=True, **values),
            open_source=world.sources.__getitem__,
            tile_px=SIDE,
            read_example=with_prototypes(read_nothing_else),
        )

    return run


def test_open_round__a_share_goes_to_the_tiles_most_like_the_prototype(
    world: CurationWorld, open_with: Open
):
    directions = {"smoke": plant(world, "smoke", 3), "fog": plant(world, "fog", -5)}
    opened = open_with(shares=["smoke=4", "fog=2", "explore=3"])
    manifest = commit(world.store, opened.draft).manifest
    assert manifest.recipe.config["examples"] == {
        "fog": ["prototype:fog"],
        "smoke": ["prototype:smoke"],
    }
    pool = read_pool(world.embeddings(), "cls").distinct()
    units = scale_to_unit(pool.vectors)
    cosines = np.stack([units @ directions[name] for name in ("fog", "smoke")], axis=1)
    rows = world.rounds().read("round-0001").to_pylist()
    for place, (name, count) in enumerate((("fog", 2), ("smoke", 4))):
        own = np.flatnonzero(cosines.argmax(axis=1) == place)
        best = own[np.argsort(-cosines[own, place], kind="stable")][:count]
        picked = [row for row in rows if row["share"] == name]
        assert [row["tile_id"] for row in picked] == [pool.tile_ids[each] for each in best]
        scores = [row["score"] for row in picked]
        assert scores == pytest.approx(cosines[best, place].tolist(), abs=1e-5)
    assert not any(link.is_broken for link in check_links(world.store, manifest.recipe.output))


def test_open_round__the_same_round_after_the_prototype_was_removed(
    world: CurationWorld, open_with: Open
):
    plant(world, "smoke", 3)
    values = {"shares": ["smoke=2", "explore=3"], "examples": ["smoke=prototype:smoke"]}
    first = commit(world.store, open_with(**values).draft)
    remove_prototype(world.store, "smoke")
    again = open_with(**values)
    assert again.notice == ""
    assert commit(world.store, again.draft).manifest == first.manifest


@pytest.mark.parametrize(
    "values",
    [
        {"shares": ["smoke=2"], "examples": ["smoke=prototype:other"]},
        {"shares": ["smoke=2"], "column": "mean"},
        {"shares": ["smoke=2", "fog=2"], "examples": ["fog=fog.npy"]},
        {"shares": ["smoke=2"], "examples": ["smoke=prototype:smoke", "smoke=smoke.npy"]},
        {"shares": ["haze=2"]},
    ],
    ids=["absent", "other column", "beside examples", "and examples", "neither"],
)
def test_open_round__prototypes_that_cannot_be_used(
    world: CurationWorld, open_with: Open, values: dict[str, object]
):
    plant(world, "smoke", 3)
    with pytest.raises(ConfigError) as caught:
        open_with(**values)
    assert caught.value.setting == "examples"
