"""Committed rounds never change, since somebody may be labelling them."""

import dagster as dg
import pytest

from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.selections.stage.paid import hash_choice
from dino_assets.store.commits.listing import find_outputs
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import open_table
from dino_assets.store.upkeep.verifying import verify
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets_tests.defs.conftest import Lineage, checks, failure
from dino_assets_tests.worlds.prepared import Prepared

LINEAR = {"method": "linear"}


@pytest.fixture
def lineage(lineage: Lineage, card, prepared: Prepared) -> Lineage:
    """A drop with a round of four tiles, and a second drop that is only registered."""

    def prepare() -> None:
        for name in ("a", "b"):
            lineage.register(name, card(name, good=1 if name == "a" else 2))
        assert lineage.run("a", projections=LINEAR, selections={"budget": 4}).success

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def chosen(lineage: Lineage, number: int) -> Manifest:
    (manifest,) = find_outputs(lineage.store, "selections", f"round-{number:04d}")
    return manifest


def pick(lineage: Lineage, **config: object) -> dg.ExecuteInProcessResult:
    """Choose a round; the few photographs of these tests show too little ground for several rounds."""
    config = {"budget": 4, "all_windows": True, **config}
    return lineage.run(only=["selections"], selections=config)


def warnings(lineage: Lineage, result: dg.ExecuteInProcessResult) -> list[str]:
    entries = lineage.instance.all_logs(result.run_id)
    texts = [e.user_message for e in entries if e.level == 30 and e.step_key == "selections"]
    return [text for text in texts if not text.endswith(CAVEAT)]  # see test_caveats


def test_round__unchanged_when_a_drop_is_added(lineage: Lineage):
    manifest_before = chosen(lineage, 1)
    result = lineage.run("b", projections=LINEAR, selections={"budget": 4})
    assert result.success
    assert chosen(lineage, 1) == manifest_before
    assert lineage.metadata("selections")["was_reused"] is True
    assert warnings(lineage, result) == [
        "round-0001 is already chosen and stays unchanged: it was chosen before b was added or "
        "changed. To choose more tiles, ask for round 2."
    ]
    assert pick(lineage, round=2).success
    second = chosen(lineage, 2)
    assert second.facts["paid_before"] == 4
    # Later rounds choose none of these tiles again.
    result = lineage.run("a", projections=LINEAR, selections={"budget": 4})
    assert checks(result)["selections_are_sound"].passed
    assert (chosen(lineage, 1), chosen(lineage, 2)) == (manifest_before, second)


def test_round__unchanged_with_other_settings(lineage: Lineage):
    manifest_before = chosen(lineage, 1)
    result = pick(lineage, budget=6, seed=1, all_windows=False)
    assert result.success
    assert chosen(lineage, 1) == manifest_before
    assert warnings(lineage, result) == [
        "round-0001 is already chosen and stays unchanged: it was chosen with budget 4, not 6, seed "
        "42, not 1. To choose more tiles, ask for round 2."
    ]


def test_round__replaced_on_demand_if_it_is_the_latest(lineage: Lineage):
    result = pick(lineage, budget=6, replace=True)
    assert result.success
    assert warnings(lineage, result) == []
    assert chosen(lineage, 1).rows == 6
    assert pick(lineage, round=2).success
    manifests = chosen(lineage, 1), chosen(lineage, 2)
    result = pick(lineage, budget=5, replace=True)
    assert not result.success
    assert (
        "ConfigError: round-0001 cannot be replaced: round-0002 was chosen after it and depends on it. "
        "Ask for a new round: round 3."
    ) in failure(result, "selections")
    assert pick(lineage, round=2, budget=3, replace=True).success
    assert (chosen(lineage, 1), chosen(lineage, 2).rows) == (manifests[0], 3)


def test_round__chosen_again_after_repair_is_the_same(lineage: Lineage):
    manifest_before = chosen(lineage, 1)
    lineage.store.put(manifest_before.parts[0].key, b"something else")
    assert list(verify(lineage.store, should_repair=True))
    assert pick(lineage).success
    assert chosen(lineage, 1) == manifest_before
    assert list(verify(lineage.store)) == []


def test_round__damaged_round_of_a_changed_pool_is_refused(lineage: Lineage):
    """It is not chosen again without `replace`, since its tiles may be in labelling."""
    manifest_before = chosen(lineage, 1)
    lineage.store.delete(manifest_before.parts[0].key)
    lineage.embed("b")
    result = pick(lineage)
    assert not result.success
    assert "CommitRefusedError: round-0001 is damaged, and it cannot be restored" in failure(
        result, "selections"
    )
    assert chosen(lineage, 1) == manifest_before
    assert pick(lineage, replace=True).success
    assert set(chosen(lineage, 1).recipe.inputs) == {"a", "b"}


def test_round__empty_pool_only_warns(lineage: Lineage):
    """A schedule on a new store neither fails nor commits an empty round."""
    for info in list(lineage.store.list("manifests")):
        if not info.key.startswith(("manifests/weights", "manifests/tiles")):
            lineage.store.delete(info.key)
    result = pick(lineage)
    assert result.success
    (text,) = warnings(lineage, result)
    assert text.startswith(
        "no round was chosen: there is nothing to choose from: no tile is embedded by "
    )
    assert result.asset_materializations_for_node("selections") == []
    assert not list(lineage.store.list("manifests/selections"))


def test_round__too_large_budget_is_refused(lineage: Lineage):
    keys_before = {info.key for info in lineage.store.list()}
    # 24 tiles, of which 4 are chosen.
    for budget, sentence in (
        (
            100_000,
            "budget=100000 is more than the tiles left: the pool has 24 tiles, 4 of them chosen",
        ),
        (21, "budget=21 is more than the tiles left: the pool has 24 tiles, 4 of them chosen"),
    ):
        result = pick(lineage, round=2, budget=budget)
        assert not result.success
        assert f"ConfigError: {sentence}" in failure(result, "selections")
    assert {info.key for info in lineage.store.list()} == keys_before
    assert pick(lineage, round=2, budget=12).success
    result = pick(lineage, round=3, budget=100_000, all=True)
    assert result.success
    assert chosen(lineage, 3).rows == 8
    assert checks(result)["selections_are_sound"].description.endswith(
        "100000 were asked for and 8 picked: the pool has 24 tiles, 16 of them chosen before"
    )


def rows_of(lineage: Lineage, manifest: Manifest) -> list[dict]:
    output = manifest.recipe.output
    return open_table(lineage.store, "selections", space=output.space).read(output.drop).to_pylist()


def tiles_of(lineage: Lineage, manifest: Manifest) -> set[str]:
    return {row["tile_id"] for row in rows_of(lineage, manifest)}


def test_round__next_number(lineage: Lineage):
    result = pick(lineage, round=5)
    assert not result.success
    assert "ConfigError: round 5 is not the next one: ask for round 2" in failure(
        result, "selections"
    )
    assert pick(lineage, round=2).success
    lineage.store.delete(manifest_key(chosen(lineage, 1).recipe.output))
    for replacing in (False, True):
        result = pick(lineage, replace=replacing)
        assert not result.success
        assert (
            "ConfigError: round-0001 does not exist any more, and later rounds depend on it; ask for "
            "round 3."
        ) in failure(result, "selections")
    assert pick(lineage, round=3).success


@pytest.mark.parametrize("damaged", ["a crop", "the table"])
def test_round__repaired_although_a_later_one_exists(lineage: Lineage, damaged: str):
    assert pick(lineage, round=2).success
    first, second = chosen(lineage, 1), chosen(lineage, 2)
    part = next(p for p in first.parts if (p.name is None) == (damaged == "the table"))
    lineage.store.put(part.key, b"something else")
    (fault,) = verify(lineage.store, should_repair=True)
    assert "Deleted the part and kept the record 'manifests/selections/" in str(fault)
    assert (chosen(lineage, 1), chosen(lineage, 2)) == (first, second)

    if damaged == "the table":  # the chosen tiles are not known
        result = pick(lineage, round=3)
        assert not result.success
        text = failure(result, "selections")
        assert "CorruptObjectError: the tiles of round-0001 cannot be read" in text
        assert "`dino-assets select --round 1 --budget 4 --column cls --fps-ratio" in text
    # It is made again with its own settings, whatever settings are asked for.
    assert pick(lineage, budget=6).success
    assert list(verify(lineage.store)) == []
    assert (chosen(lineage, 1), chosen(lineage, 2)) == (first, second)
    assert pick(lineage, round=3).success
    paid_tiles = tiles_of(lineage, first) | tiles_of(lineage, second)
    assert not paid_tiles & tiles_of(lineage, chosen(lineage, 3))


@pytest.mark.parametrize("damaged", ["a crop", "the table"])
def test_round__repaired_although_the_pool_changed(lineage: Lineage, damaged: str):
    assert pick(lineage, round=2).success
    manifest_before = chosen(lineage, 1)
    part = next(p for p in manifest_before.parts if (p.name is None) == (damaged == "the table"))
    lineage.store.put(part.key, b"something else")
    lineage.embed("b")
    assert list(verify(lineage.store, should_repair=True))
    result = pick(lineage)
    assert not result.success
    assert "CommitRefusedError: round-0001 is damaged, and it cannot be restored" in failure(
        result, "selections"
    )
    assert chosen(lineage, 1) == manifest_before


def test_round__tiles_chosen_in_another_space_are_not_chosen_again(
    lineage: Lineage, tmp_path, monkeypatch
):
    first = chosen(lineage, 1)
    other_checkpoint = write_demo_checkpoint(tmp_path / "other", seed=7, dim=16, layers=2)
    first_settings = lineage.settings
    monkeypatch.setenv("DINO_MODEL_ID", str(other_checkpoint))
    lineage = Lineage(lineage.instance)
    assert lineage.settings != first_settings
    selections = {"budget": 16, "all_windows": True}
    assert lineage.run("a", projections=LINEAR, selections=selections).success
    (second,) = [m for m in find_outputs(lineage.store, "selections", "round-0001") if m != first]
    space = first.recipe.output.space
    assert second.recipe.inputs[f"selections/{space}/round-0001"] == hash_choice(first)
    assert second.facts["paid_before"] == 4
    assert len(tiles_of(lineage, second)) == 16
    assert not tiles_of(lineage, first) & tiles_of(lineage, second)

    # Back to the first weights: their round has not changed, and can be repaired.
    lineage.settings = first_settings
    lineage.store.delete(first.parts[0].key)
    result = lineage.run("a", projections=LINEAR, selections={"budget": 4})
    assert result.success
    assert not [text for text in warnings(lineage, result) if "stays unchanged" in text]
    assert checks(result)["selections_are_sound"].passed
    assert list(verify(lineage.store)) == []
    assert first in find_outputs(lineage.store, "selections", "round-0001")
    # No tile is chosen twice there, and no round is removed that the other space depends on.
    result = pick(lineage, budget=6, replace=True)
    assert not result.success
    assert (
        f"ConfigError: round-0001 cannot be replaced: round-0001 of space "
        f"{second.recipe.output.space} was chosen after it and depends on it."
    ) in failure(result, "selections")
    assert pick(lineage, round=2).success
    assert chosen(lineage, 2).facts["paid_before"] == 20
    assert not tiles_of(lineage, chosen(lineage, 2)) & (
        tiles_of(lineage, first) | tiles_of(lineage, second)
    )


def test_round__unchanged_when_its_drop_has_shrunk(lineage: Lineage, project):
    assert lineage.run("b", only=["images", "tiles", "embeddings"]).success
    assert pick(lineage, round=2, budget=30, all=True).success
    manifest_before = chosen(lineage, 2)
    lost_rows = [row for row in rows_of(lineage, manifest_before) if row["drop"] == "b"]
    assert lost_rows
    (project / "inbox" / "b" / "100MEDIA" / "DJI_0001.JPG").unlink()
    result = lineage.run("b", projections=LINEAR, selections={"round": 2, "budget": 30})
    assert result.success
    assert chosen(lineage, 2) == manifest_before
    evaluation = checks(result)["selections_are_sound"]
    assert (evaluation.passed, evaluation.severity.value) == (False, "WARN")
    assert evaluation.description.endswith(
        f"{len(lost_rows)} of its tiles are no longer in the pool"
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"budget": 0}, "budget=0: expected 1 or more"),
        ({"n_clusters": 0}, "n_clusters=0: expected 1 or more"),
        ({"seed": -1}, "seed=-1: expected 0 or more"),
        ({"fps_ratio": 1.5}, "fps_ratio=1.5: expected 0 to 1"),
        ({"tile_px": -1}, "tile_px=-1: a side in px is expected"),
    ],
)
def test_round__invalid_settings_of_a_committed_round_are_refused(
    lineage: Lineage, wrong: dict, sentence: str
):
    result = pick(lineage, **wrong)
    assert not result.success
    assert f"ConfigError: {sentence}" in failure(result, "selections")
