"""The asset ``heat_maps`` in Dagster: absent without a probe or prototype, and without places."""

import numpy as np
import pytest

from dino_assets.probes.stage.prototypes import NamedVector, Prototype, put_prototype
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.reading import open_table
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(lineage: Lineage, card, prepared: Prepared) -> Lineage:
    """A drop without places."""

    def prepare() -> None:
        lineage.register("a", card("a"))
        lineage.embed("a")

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def test_heat_maps__are_absent_without_a_prototype(lineage: Lineage):
    assert lineage.run(only=["heat_maps"]).success
    assert not list_spaces(lineage.store, "heat_maps")


def test_heat_maps__are_absent_without_places(lineage: Lineage):
    (space,) = list_spaces(lineage.store, "embeddings")
    dims = (
        open_table(lineage.store, "embeddings", space=space)
        .read("a")
        .schema.field("cls")
        .type.list_size
    )
    axis = np.eye(dims, dtype=np.float32)[0]
    examples = tuple(NamedVector(f"{number}.npy", axis) for number in range(3))
    ranks = (90.0, 90.0, 90.0)
    put_prototype(
        lineage.store, Prototype("smoke", space, "cls", examples, (), axis, ranks, 0.01, True, 72)
    )
    assert lineage.run(only=["heat_maps"]).success
    assert not list_spaces(lineage.store, "heat_maps")
