"""Rounds and maps of chosen drops: by name, by tag, never with retired ones."""

import pytest

from dino_assets.cli import main
from dino_assets.drops.marks import set_retired, tag_drop
from dino_assets.store.commits.listing import find_outputs
from dino_assets.store.commits.reading import open_table
from dino_assets.store.upkeep.collecting import collect
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.defs.conftest import Lineage, checks, failure
from dino_assets_tests.defs.test_rounds import LINEAR, chosen, pick, warnings
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(lineage: Lineage, prepared: Prepared) -> Lineage:
    """Three embedded drops; the first two have the tag `fire`."""

    def prepare() -> None:
        lineage.photograph("abc")
        for name in "ab":
            tag_drop(lineage.store, name, ["fire"])
        lineage.embed("a", "c")

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def drops_of(lineage: Lineage, number: int) -> set[str]:
    manifest = chosen(lineage, number)
    rounds = open_table(lineage.store, "selections", space=manifest.recipe.output.space)
    rows = rounds.read(manifest.recipe.output.drop)
    return set(rows["drop"].to_pylist())


def draw_map(lineage: Lineage, **config: object):
    assert lineage.run(only=["projections"], projections={**LINEAR, **config}).success
    (manifest,) = find_outputs(lineage.store, "projections")
    return manifest


def judged(result) -> str:
    """Judge the round that a run has chosen."""
    assert result.success
    assert checks(result)["selections_are_sound"].passed
    return str(checks(result)["selections_are_sound"].description)


def named_in(manifest) -> set[str]:
    return {key for key in manifest.recipe.inputs if "/" not in key}


def test_round__of_named_and_tagged_drops(lineage: Lineage):
    first = pick(lineage, drops=["c"])
    assert judged(first) == "round-0001: 4 tiles of a pool of 24"
    assert (drops_of(lineage, 1), chosen(lineage, 1).facts["pool"]) == ({"c"}, 24)
    assert named_in(chosen(lineage, 1)) == {"c"}
    assert chosen(lineage, 1).recipe.config["drops"] == ["c"]
    assert "tags" not in chosen(lineage, 1).recipe.config
    second = pick(lineage, round=2, tags=["fire"], budget=48, all=True)
    assert judged(second) == "round-0002: 48 tiles of a pool of 48"
    assert named_in(chosen(lineage, 2)) == {"a", "b"}
    assert chosen(lineage, 2).recipe.config["tags"] == ["fire"]
    assert drops_of(lineage, 2) == {"a", "b"}
    # Chosen tiles count, whatever pool they were chosen from.
    third = pick(lineage, round=3, budget=20)
    assert judged(third).startswith("round-0003: 20 tiles of a pool of 72")
    assert chosen(lineage, 3).facts["paid_before"] == 52
    assert chosen(lineage, 3).rows == 20


def test_round__recipe_without_chosen_drops_is_unchanged(lineage: Lineage):
    assert pick(lineage).success
    assert chosen(lineage, 1).recipe.config.keys().isdisjoint({"drops", "tags"})


def test_round__unchanged_with_another_pool(lineage: Lineage):
    assert pick(lineage, drops=["b", "a"]).success
    manifest_before = chosen(lineage, 1)
    assert warnings(lineage, pick(lineage, drops=["a", "b"])) == []
    assert warnings(lineage, pick(lineage)) == [
        "round-0001 is already chosen and stays unchanged: it was chosen with drops a, b, not any. To "
        "choose more tiles, ask for round 2."
    ]
    assert chosen(lineage, 1) == manifest_before


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"drops": ["z"]}, "no drop 'z' is registered. Existing drops: a, b, c"),
        ({"tags": ["z"]}, "no drop has the tag 'z'. Existing tags: fire"),
    ],
)
def test_round_and_map__unknown_drops_and_tags(lineage: Lineage, config, sentence):
    result = pick(lineage, **config)
    assert sentence in failure(result, "selections")
    result = lineage.run(only=["projections"], projections={**LINEAR, **config})
    assert sentence in failure(result, "projections")


def test_map__of_chosen_drops(lineage: Lineage):
    manifest = draw_map(lineage, tags=["fire"], drops=["c"])
    assert (manifest.rows, named_in(manifest)) == (72, {"a", "b", "c"})
    manifest = draw_map(lineage, tags=["fire"])
    assert (manifest.rows, named_in(manifest)) == (48, {"a", "b"})


def test_retired__in_no_new_map_or_round(lineage: Lineage, capsys):
    assert pick(lineage, drops=["a"]).success
    first = chosen(lineage, 1)
    set_retired(lineage.store, "a", True)
    assert named_in(draw_map(lineage)) == {"b", "c"}
    assert pick(lineage, round=2, budget=48, all=True).success
    assert drops_of(lineage, 2) == {"b", "c"}
    # The round with its tiles is unchanged, readable and passes its check, and can be requested again.
    assert drops_of(lineage, 1) == {"a"}
    result = lineage.run(only=["selections"], selections={"budget": 4, "drops": ["b"]})
    assert result.success
    assert chosen(lineage, 1) == first
    assert main(["export", "selections", "round-0001", "--to", "out"]) == 0
    assert not list(verify(lineage.store))
    assert not collect(lineage.store).parts
    assert "drop 'a' is retired" in failure(pick(lineage, round=3, drops=["a"]), "selections")
    set_retired(lineage.store, "a", False)
    assert pick(lineage, round=3, drops=["a"]).success
    assert chosen(lineage, 3).facts["paid_before"] == 4
    assert named_in(draw_map(lineage)) == {"a", "b", "c"}


def test_retired__damaged_round_of_its_tiles_is_chosen_again(lineage: Lineage):
    assert pick(lineage).success
    manifest_before = chosen(lineage, 1)
    for part in manifest_before.parts:
        if part.name is None:
            lineage.store.delete(part.key)
    set_retired(lineage.store, "a", True)
    result = pick(lineage)
    assert result.success
    assert warnings(lineage, result) == []
    assert chosen(lineage, 1) == manifest_before
    assert not list(verify(lineage.store))


def test_select__drops_and_tags(lineage: Lineage, capsys):
    lineage.register("d", lineage.settings.root / "inbox" / "c")
    select = ["select", "--budget", "4"]
    assert main([*select, "--tag", "fire"]) == 0
    lines = capsys.readouterr().out.splitlines()
    model = lineage.settings.model
    assert lines[0] == f"round-0001: chosen, 4 tiles of a pool of 48, from a, b, by {model}"
    assert not [line for line in lines if line.startswith("registered but not embedded")]
    assert main([*select, "--round", "2", "--drop", "c", "--drop", "d"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f" from c, by {model}")
    assert "registered but not embedded in this space: d" in lines
    assert main([*select, "--round", "3", "--drop", "x"]) == 1
    assert "Existing drops: a, b, c, d" in capsys.readouterr().err
    set_retired(lineage.store, "c", True)
    assert main([*select, "--round", "3", "--drop", "c"]) == 1
    assert "ConfigError: drop 'c' is retired" in capsys.readouterr().err


def test_drops_list__embeddings_by_the_stored_weights_are_not_old(lineage: Lineage, capsys):
    assert main(["drops", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:7] for line in lines] == [
        [name, "images", "1", "tiles", "24", "embeddings", "24"] for name in "abc"
    ]
    assert "(old)" not in "".join(lines)
