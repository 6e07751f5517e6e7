"""Labelled tiles are paid for: no round chooses them again, and the round remembers which they were."""

from collections.abc import Callable, Collection

import pytest

from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.errors import CorruptObjectError
from dino_assets.selections.rounds import make_settings
from dino_assets.selections.stage.labelled import LABELLED
from dino_assets.selections.stage.links import check_links
from dino_assets.selections.stage.opening import Round, open_round
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.reading import SpacedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.weights.stage import load_checkpoint
from dino_assets_tests.worlds.curation import COMPUTE, SIDE, CurationWorld

Open = Callable[..., Round]


@pytest.fixture
def open_with(world: CurationWorld) -> Open:
    def run(labelled: Collection[str] = (), *, may_replace: bool = False, number: int = 1) -> Round:
        return open_round(
            SpacedTable(world.store, "embeddings"),
            open_table(world.store, "tiles"),
            load_checkpoint(world.store),
            COMPUTE,
            make_settings(round=number, budget=5),
            open_source=world.sources.__getitem__,
            tile_px=SIDE,
            may_replace=may_replace,
            labelled=labelled,
        )

    return run


def chosen(world: CurationWorld, name: str = "round-0001") -> list[str]:
    return world.rounds().read(name)["tile_id"].to_pylist()


def test_open_round__labelled_tiles_are_not_chosen(world: CurationWorld, open_with: Open):
    commit(world.store, open_with().draft)
    without = chosen(world)
    committed = commit(world.store, open_with(without[:2], may_replace=True).draft)
    assert not set(without[:2]) & set(chosen(world))
    assert committed.manifest.facts["paid_before"] == 2
    links = list(check_links(world.store, committed.manifest.recipe.output))
    assert "labelled" in {link.name for link in links}
    assert not any(link.is_broken for link in links)


def test_open_round__unchanged_by_labels_that_come_later(world: CurationWorld, open_with: Open):
    first = commit(world.store, open_with(["one"]).draft)
    later = open_with(["one", *chosen(world)])
    assert later.notice == ""
    assert commit(world.store, later.draft).was_reused
    assert first.manifest.recipe == later.draft.recipe


def test_open_round__labels_of_its_own_rounds_are_no_input(world: CurationWorld, open_with: Open):
    commit(world.store, open_with().draft)
    second = open_with(chosen(world), number=2)
    assert "labelled/tiles" not in second.draft.recipe.inputs


def test_open_round__damaged_list_is_restored_from_the_same_labels(
    world: CurationWorld, open_with: Open
):
    ids = sorted(read_pool(world.embeddings(), "cls").tile_ids[:3])
    committed = commit(world.store, open_with(ids).draft)
    output = committed.manifest.recipe.output
    (part,) = [part for part in read_manifest(world.store, output).parts if part.name == LABELLED]
    world.store.delete(part.key)
    links = {link.name: link for link in check_links(world.store, output)}
    assert links["round"].is_broken
    with pytest.raises(CorruptObjectError):
        open_with(ids[:2])
    assert commit(world.store, open_with(ids).draft).manifest == committed.manifest
    assert world.store.exists(part.key)
