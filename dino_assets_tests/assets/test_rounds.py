"""A committed round stands: somebody may be labelling it."""

import dagster as dg
import pytest

from dino_assets.records import Manifest
from dino_assets.stages.states import find_outputs
from dino_assets.store.collection import verify
from dino_assets_tests.assets.conftest import Lineage, checks, failure

LINEAR = {"method": "linear"}


@pytest.fixture
def lineage(lineage: Lineage, card) -> Lineage:
    """One drop, of which a round of four is chosen; a second one that is only registered."""
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1 if name == "a" else 2))
    assert lineage.run("a", projections=LINEAR, selections={"budget": 4}).success
    return lineage


def chosen(lineage: Lineage, number: int) -> Manifest:
    (manifest,) = find_outputs(lineage.store, "selections", f"round-{number:04d}")
    return manifest


def pick(lineage: Lineage, **config: object) -> dg.ExecuteInProcessResult:
    return lineage.run(only=["selections"], selections={"budget": 4, **config})


def warnings(lineage: Lineage, result: dg.ExecuteInProcessResult) -> list[str]:
    entries = lineage.instance.all_logs(result.run_id)
    return [e.user_message for e in entries if e.level == 30 and e.step_key == "selections"]


def test_round__stands_when_a_drop_comes(lineage: Lineage):
    before = chosen(lineage, 1)
    result = lineage.run("b", projections=LINEAR, selections={"budget": 4})
    assert result.success
    assert chosen(lineage, 1) == before
    assert lineage.metadata("selections")["was_reused"] is True
    assert warnings(lineage, result) == [
        "round-0001 stands as it was chosen, before b came or changed. Further tiles are a round of "
        "their own: 2."
    ]
    assert pick(lineage, round=2).success
    second = chosen(lineage, 2)
    assert second.facts["paid_before"] == 4
    # And nothing is paid for twice afterwards either.
    result = lineage.run("a", projections=LINEAR, selections={"budget": 4})
    assert checks(result)["selections_are_sound"].passed
    assert (chosen(lineage, 1), chosen(lineage, 2)) == (before, second)


def test_round__stands_when_other_settings_are_asked_for(lineage: Lineage):
    before = chosen(lineage, 1)
    result = pick(lineage, budget=6, seed=1)
    assert result.success
    assert chosen(lineage, 1) == before
    assert warnings(lineage, result) == [
        "round-0001 stands as it was chosen, with budget 4, not 6, seed 42, not 1. Further tiles are "
        "a round of their own: 2."
    ]


def test_round__is_replaced_on_demand_while_it_is_the_last(lineage: Lineage):
    result = pick(lineage, budget=6, replace=True)
    assert result.success
    assert warnings(lineage, result) == []
    assert chosen(lineage, 1).rows == 6
    assert pick(lineage, round=2).success
    both = chosen(lineage, 1), chosen(lineage, 2)
    result = pick(lineage, budget=5, replace=True)
    assert not result.success
    assert (
        "ConfigError: round-0001 cannot be replaced: round-0002 was chosen after it and counts on it. "
        "Ask for a round of its own: round 3."
    ) in failure(result, "selections")
    assert pick(lineage, round=2, budget=3, replace=True).success
    assert (chosen(lineage, 1), chosen(lineage, 2).rows) == (both[0], 3)


def test_round__given_up_by_verify_is_chosen_as_it_was(lineage: Lineage):
    before = chosen(lineage, 1)
    lineage.store.put(before.parts[0].key, b"something else")
    assert list(verify(lineage.store, should_repair=True))
    assert pick(lineage).success
    assert chosen(lineage, 1) == before
    assert list(verify(lineage.store)) == []


def test_round__damaged_and_of_another_pool(lineage: Lineage):
    """It is not chosen anew unasked: what is being labelled would be lost sight of."""
    before = chosen(lineage, 1)
    lineage.store.delete(before.parts[0].key)
    assert lineage.run("b", only=["weights", "images", "tiles", "embeddings"]).success
    result = pick(lineage)
    assert not result.success
    assert (
        "CommitRefusedError: round-0001 is damaged, and what it was chosen from has changed"
        in failure(result, "selections")
    )
    assert chosen(lineage, 1) == before
    assert pick(lineage, replace=True).success
    assert set(chosen(lineage, 1).recipe.inputs) == {"a", "b"}


def test_round__an_empty_pool_is_a_sentence(lineage: Lineage):
    """A schedule on a new store neither fails nor commits an empty round that would then stand."""
    for info in list(lineage.store.list("manifests")):
        if not info.key.startswith(("manifests/weights", "manifests/tiles")):
            lineage.store.delete(info.key)
    result = pick(lineage)
    assert result.success
    (said,) = warnings(lineage, result)
    assert said.startswith("no round: there is nothing to choose from: no tile is embedded by ")
    assert result.asset_materializations_for_node("selections") == []
    assert not list(lineage.store.list("manifests/selections"))
