"""Rounds whose budget is shared among classes, and rounds with a limit per drop."""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.embeddings.stage.queries import SpaceEncoders
from dino_assets.errors import ConfigError, CorruptObjectError, InvalidVectorsError
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.selections.rounds import RoundSettings, make_settings
from dino_assets.selections.stage.chosen_files import read_chosen
from dino_assets.selections.stage.describing import describe_round
from dino_assets.selections.stage.drafting import UNSHARED
from dino_assets.selections.stage.examples import EXAMPLES, make_reader, read_stored
from dino_assets.selections.stage.judging import judge_selections
from dino_assets.selections.stage.links import check_links
from dino_assets.selections.stage.opening import Round, open_round
from dino_assets.selections.stage.paid import spell_command, spell_input
from dino_assets.selections.strategies.names import StrategyName
from dino_assets.store.commits.manifests import dump_manifest, manifest_key
from dino_assets.store.commits.parts import put_part
from dino_assets.store.commits.protocol import Committed, Manifest
from dino_assets.store.commits.reading import SpacedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.weights.stage import load_checkpoint
from dino_assets_tests.worlds.curation import COMPUTE, SIDE, CurationWorld
from dino_assets_tests.worlds.raising import raising

Open = Callable[..., Round]
FOG = -5  # the row of an example, in the last drop of the pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "somebody" / "pictures"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def open_in(world: CurationWorld, folder: Path, engine_cache: Path) -> Open:
    """Opens a round; examples are files in ``folder``."""
    encoders = SpaceEncoders(world.store, lambda: COMPUTE, engine_cache)
    reader = make_reader(encoders, folder)

    def run(settings: RoundSettings, *, may_replace: bool = False, reads: bool = True) -> Round:
        return open_round(
            SpacedTable(world.store, "embeddings"),
            open_table(world.store, "tiles"),
            load_checkpoint(world.store),
            COMPUTE,
            settings,
            open_source=world.sources.__getitem__,
            tile_px=SIDE,
            may_replace=may_replace,
            read_example=reader if reads else None,
        )

    return run


def read_tile(world: CurationWorld, row: int) -> tuple[str, np.ndarray, Image.Image]:
    """The id, the vector and the picture of a tile of the pool."""
    pool = read_pool(world.embeddings(), "cls").distinct()
    table = open_table(world.store, "tiles").read(pool.drops[row]).to_pylist()
    (tile,) = [each for each in table if each["tile_id"] == pool.tile_ids[row]]
    photo = Image.open(io.BytesIO(world.sources[pool.drops[row]].read(tile["path"])))
    x, y = tile["x"], tile["y"]
    return pool.tile_ids[row], pool.vectors[row], photo.crop((x, y, x + SIDE, y + SIDE))


@pytest.fixture
def settings(world: CurationWorld, folder: Path) -> RoundSettings:
    """Two classes: one by a tile and a picture, the other by a vector."""
    tile_id, _, _ = read_tile(world, 3)
    _, _, picture = read_tile(world, 9)
    picture.save(folder / "smoke.png")
    np.save(folder / "fog.npy", read_tile(world, FOG)[1])
    return make_settings(
        shares=["smoke=4", "fog=3", "explore=3"],
        examples=[f"smoke={tile_id}", "smoke=smoke.png", "fog=fog.npy"],
    )


@pytest.fixture
def committed(world: CurationWorld, open_in: Open, settings: RoundSettings) -> Committed:
    return commit(world.store, open_in(settings).draft)


def describe(world: CurationWorld, committed: Committed) -> list[str]:
    open_source = world.sources.__getitem__
    return list(describe_round(world.store, committed, model="tiny", open_source=open_source))


def test_open_round__a_share_is_most_similar_to_its_examples(
    world: CurationWorld, committed: Committed, folder: Path
):
    rows = world.rounds().read("round-0001").to_pylist()
    order = ["smoke", "fog", "smoke", "fog", "smoke", "fog", "smoke"]
    assert [row["share"] for row in rows] == [*order, *["explore"] * 3]
    assert {row["reason"] for row in rows[:7]} == {"similar"}
    assert {row["reason"] for row in rows[7:]} == {"representative"}
    assert [row["score"] for row in rows[7:]] == [None] * 3
    pool = read_pool(world.embeddings(), "cls").distinct()
    units = scale_to_unit(pool.vectors).astype(np.float64)
    prototypes = {"smoke": units[[3, 9]].mean(axis=0), "fog": units[FOG]}
    cosines = {n: units @ p / np.linalg.norm(p) for n, p in prototypes.items()}
    place = {tile_id: row for row, tile_id in enumerate(pool.tile_ids)}
    for row in rows[:7]:
        own = place[row["tile_id"]]
        assert row["score"] == pytest.approx(cosines[row["share"]][own], abs=1e-4)
        assert f"examples of {row['share']}, cosine {row['score']:.3f}" in row["why"]
    # Of equal models the picture of a tile gives the tile's vector, so the example of fog is the best of its class.
    assert rows[1]["tile_id"] == pool.tile_ids[FOG]
    assert judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0001").passed
    chosen = read_chosen(world.store, committed.manifest).rows.to_pylist()
    assert [(row["share"], row["score"]) for row in chosen] == [
        (row["share"], row["score"]) for row in rows
    ]
    page = world.read_file(committed.manifest, "round-map.html").decode()
    assert f"similar to fog {rows[1]['score']:.3f}" in page
    lines = describe(world, committed)
    (line,) = [line for line in lines if line.startswith("shares: ")]
    assert "3 fog, cosine " in line
    assert "4 smoke, cosine " in line
    assert line.endswith("3 explore")
    assert str(folder) not in dump_manifest(committed.manifest).decode()


def test_open_round__the_recipe_holds_the_examples(
    world: CurationWorld, committed: Committed, settings: RoundSettings
):
    recipe = committed.manifest.recipe
    tile_id = read_tile(world, 3)[0]
    assert recipe.config["shares"] == {"explore": 3, "fog": 3, "smoke": 4}
    assert recipe.config["examples"] == {
        "fog": ["fog.npy"],
        "smoke": sorted([tile_id, "smoke.png"]),
    }
    assert recipe.config["budget"] == 10
    assert {name for name in recipe.inputs if name.startswith("examples/")} == {
        "examples/smoke",
        "examples/fog",
    }
    examples = read_stored(world.store, committed.manifest).by_class()
    np.testing.assert_array_equal(examples["fog"], read_tile(world, FOG)[1][None])
    np.testing.assert_allclose(
        scale_to_unit(examples["smoke"]),
        scale_to_unit(np.stack([read_tile(world, 3)[1], read_tile(world, 9)[1]])),
        atol=1e-3,
    )
    command = spell_command(recipe.config)
    assert "--share explore=3 --share fog=3 --share smoke=4" in command
    assert f"--example fog=fog.npy --example smoke={tile_id}" in command
    assert spell_input("examples/smoke") == "the examples of smoke"


def test_open_round__the_same_request_without_its_pictures(
    world: CurationWorld,
    open_in: Open,
    committed: Committed,
    settings: RoundSettings,
    folder: Path,
):
    """Also a damaged round is restored, by the vectors that it stored."""
    for file in folder.iterdir():
        file.unlink()
    for reads in (True, False):
        again = open_in(settings, reads=reads) if reads else open_in(_stored(world), reads=False)
        assert again.notice == ""
        assert commit(world.store, again.draft).manifest == committed.manifest
    for part in committed.manifest.parts:
        if part.name != EXAMPLES:
            world.store.delete(part.key)
    restored = commit(world.store, open_in(settings).draft)
    assert (restored.was_reused, restored.manifest) == (False, committed.manifest)
    with raising(ConfigError, setting="query", value="other.png"):
        open_in(make_settings(shares=["smoke=2"], examples=["smoke=other.png"]))


def test_open_round__a_vector_of_another_column_replaces_no_picture(
    world: CurationWorld, open_in: Open, committed: Committed, settings: RoundSettings, folder: Path
):
    (folder / "smoke.png").unlink()
    assert open_in(settings, may_replace=True).draft.recipe == committed.manifest.recipe

    def read(_: object, query: str, column: str) -> np.ndarray:
        raise ConfigError(f"no {query} in {column}", setting="query", value=query)

    with raising(ConfigError, setting="query", value="fog.npy"):
        open_round(
            SpacedTable(world.store, "embeddings"),
            open_table(world.store, "tiles"),
            load_checkpoint(world.store),
            COMPUTE,
            replace(settings, column="mean"),
            open_source=world.sources.__getitem__,
            tile_px=SIDE,
            may_replace=True,
            read_example=read,
        )


def _stored(world: CurationWorld) -> RoundSettings:
    config = world.rounds().manifest("round-0001").recipe.config
    return make_settings(**config)


def test_open_round__other_contents_of_the_same_name(
    world: CurationWorld,
    open_in: Open,
    committed: Committed,
    settings: RoundSettings,
    folder: Path,
):
    np.save(folder / "fog.npy", read_tile(world, FOG + 1)[1])
    again = open_in(settings)
    assert again.has_other_settings
    assert "other vectors for the examples" in again.notice
    assert commit(world.store, again.draft).manifest == committed.manifest
    replaced = commit(world.store, open_in(settings, may_replace=True).draft).manifest
    differing = {
        name
        for name, value in replaced.recipe.inputs.items()
        if value != committed.manifest.recipe.inputs[name]
    }
    assert differing == {"examples/fog"}


def test_open_round__other_shares_are_named(
    open_in: Open, committed: Committed, settings: RoundSettings
):
    other = open_in(replace(settings, shares=(("explore", 4), ("fog", 2), ("smoke", 4))))
    assert other.has_other_settings
    assert "shares explore=3, fog=3, smoke=4, not explore=4, fog=2, smoke=4" in other.notice
    assert "examples fog=fog.npy" in open_in(RoundSettings(budget=10)).notice


def test_open_round__damaged_examples(
    world: CurationWorld, open_in: Open, committed: Committed, settings: RoundSettings
):
    (part,) = [part for part in committed.manifest.parts if part.name == EXAMPLES]
    world.store.delete(part.key)
    with raising(CorruptObjectError, key=part.key):
        open_in(_stored(world), reads=False)
    with raising(CorruptObjectError, key=part.key):
        open_in(RoundSettings(budget=10))
    restored = commit(world.store, open_in(settings).draft)
    assert restored.manifest == committed.manifest
    assert read_stored(world.store, restored.manifest).rows


def seal(world: CurationWorld, manifest: Manifest, vectors: np.ndarray) -> Manifest:
    """Give a round other vectors of examples, under a manifest that fits them."""
    sink = io.BytesIO()
    np.save(sink, vectors)
    output = manifest.recipe.output
    new = put_part(world.store, output, sink.getvalue(), rows=0, suffix=".npy")
    parts = [
        replace(new, name=EXAMPLES) if part.name == EXAMPLES else part for part in manifest.parts
    ]
    forged = replace(manifest, parts=tuple(parts))
    world.store.put(manifest_key(output), dump_manifest(forged))
    return forged


def test_check_links__examples(world: CurationWorld, committed: Committed):
    output = committed.manifest.recipe.output
    links = {link.name: link for link in check_links(world.store, output)}
    assert not any(link.is_broken for link in links.values())
    assert links["examples"].detail == "3 vectors with the hash of the inputs"
    vectors = np.stack([each.vector for each in read_stored(world.store, committed.manifest).rows])
    for forged_vectors in (vectors[::-1], vectors[:2]):
        seal(world, committed.manifest, forged_vectors)
        broken = [link.name for link in check_links(world.store, output) if link.is_broken]
        assert broken == ["examples"]


def test_open_round__a_class_without_enough_tiles_gives_its_share_away(
    world: CurationWorld, open_in: Open
):
    pool = read_pool(world.embeddings(), "cls").distinct()
    units = scale_to_unit(pool.vectors)
    own_count = int(np.count_nonzero(units @ units[3] > units @ units[FOG]))
    share = own_count + 5
    request = make_settings(
        all=True,
        all_windows=True,
        shares={"smoke": share, "fog": 0, "explore": 2},
        examples={"smoke": [pool.tile_ids[3]], "fog": [pool.tile_ids[FOG]]},
    )
    committed = commit(world.store, open_in(request).draft)
    facts = committed.manifest.facts
    shares = Counter(row["share"] for row in world.rounds().read("round-0001").to_pylist())
    assert shares == {"smoke": own_count, "explore": 7}
    assert facts["shares"]["smoke"]["picked"] == own_count
    assert f"smoke has {own_count} tiles for a share of {share}" in facts["short_shares"]
    verdict = judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0001")
    assert (verdict.passed, verdict.warns) == (True, True)
    assert "so the strategy selected the rest" in verdict.sentence
    assert any("smoke has" in line for line in describe(world, committed))


def test_open_round__shares_do_not_choose_tiles_of_earlier_rounds(
    world: CurationWorld, open_in: Open, committed: Committed, settings: RoundSettings
):
    second = commit(world.store, open_in(replace(settings, round=2)).draft)
    first_rows, rows = (world.rounds().read(f"round-000{n}").to_pylist() for n in (1, 2))
    for one in first_rows:
        for other in rows:
            if one["image_id"] == other["image_id"]:  # no ground twice, either
                assert abs(one["x"] - other["x"]) >= SIDE or abs(one["y"] - other["y"]) >= SIDE
    assert second.manifest.facts["paid_before"] == 10
    least = min(row["score"] for row in first_rows if row["share"] == "fog")
    assert all(row["score"] <= least for row in rows if row["share"] == "fog")


@pytest.mark.parametrize(
    ("name", "vector", "error"),
    [
        ("short.npy", np.ones(5, np.float32), InvalidVectorsError),
        ("zero.npy", np.zeros(16, np.float32), InvalidVectorsError),
        ("nan.npy", np.full(16, np.nan, np.float32), InvalidVectorsError),
    ],
)
def test_open_round__refuses_vectors_that_fit_no_tile(
    world: CurationWorld, open_in: Open, folder: Path, name: str, vector: np.ndarray, error
):
    np.save(folder / name, vector)
    with pytest.raises(error):
        open_in(make_settings(shares=["smoke=2"], examples=[f"smoke={name}"]))


@pytest.mark.parametrize(
    ("values", "budget", "shares"),
    [
        ({}, 20, {}),
        ({"shares": ["a=4"]}, 20, {"a": 4, "explore": 16}),
        ({"shares": {"a": 4}, "budget": 6}, 6, {"a": 4, "explore": 2}),
        ({"shares": ["a=4", "explore=5"]}, 9, {"a": 4, "explore": 5}),
        ({"shares": ["a=4", "explore=5"], "budget": 9}, 9, {"a": 4, "explore": 5}),
        ({"shares": ["a=44"]}, 44, {"a": 44, "explore": 0}),
    ],
)
def test_make_settings__shares_and_budget_complete_each_other(values, budget, shares):
    examples = {"examples": ["a=x"]} if shares else {}
    settings = make_settings(**values, **examples)
    assert (settings.budget, dict(settings.shares)) == (budget, shares)
    assert make_settings(**vars(settings)) == settings


@pytest.mark.parametrize(
    ("values", "setting"),
    [
        ({"shares": ["a=4", "explore=5"], "budget": 12, "examples": ["a=x"]}, "budget"),
        ({"shares": ["a=30"], "budget": 12, "examples": ["a=x"]}, "budget"),
        ({"shares": ["a=4"]}, "examples"),
        ({"shares": ["a=4"], "examples": ["b=x", "a=x"]}, "shares"),
        ({"examples": ["a=x"]}, "shares"),
        ({"shares": ["explore=4"]}, "shares"),
        ({"shares": ["explore=4", "a=1"], "examples": ["explore=x", "a=x"]}, "shares"),
        ({"shares": ["a/b=4"], "examples": ["a/b=x"]}, "shares"),
        ({"shares": {"a": -1}, "examples": ["a=x"]}, "shares"),
        ({"shares": ["a"], "examples": ["a=x"]}, "shares"),
        ({"shares": ["a=many"], "examples": ["a=x"]}, "shares"),
        ({"shares": ["a=1", "a=2"], "examples": ["a=x"]}, "shares"),
        ({"shares": ["a=1"], "examples": ["x"]}, "examples"),
        ({"most_per_drop": -1}, "most_per_drop"),
    ],
)
def test_make_settings__refuses_shares_that_mean_nothing(values: dict, setting: str):
    with raising(ConfigError, setting=setting):
        make_settings(**values)


@pytest.mark.parametrize("strategy", get_args(StrategyName))
def test_draft_selections__no_drop_exceeds_the_limit(world: CurationWorld, strategy: StrategyName):
    settings = RoundSettings(budget=12, strategy=strategy, most_per_drop=4)
    manifest = world.select(settings).manifest
    drops = Counter(world.rounds().read("round-0001")["drop"].to_pylist())
    assert set(drops.values()) == {4}
    assert "whose limit is reached" in manifest.facts["shortfall"]
    verdict = judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0001")
    assert (verdict.passed, verdict.warns) == (True, True)
    # The limit is for each round.
    world.select(RoundSettings(round=2, budget=6, strategy=strategy, most_per_drop=3))
    drops = Counter(world.rounds().read("round-0002")["drop"].to_pylist())
    assert set(drops.values()) == {3}


def test_judge_selections__a_drop_above_the_limit(world: CurationWorld):
    manifest = world.select(RoundSettings(budget=8)).manifest
    recipe = replace(manifest.recipe, config={**manifest.recipe.config, "most_per_drop": 1})
    key = manifest_key(recipe.output)
    world.store.put(key, dump_manifest(replace(manifest, recipe=recipe)))
    verdict = judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0001")
    assert not verdict.passed
    assert "but only 1 are allowed" in verdict.sentence


def test_open_round__a_round_of_a_version_without_the_limit(world: CurationWorld, open_in: Open):
    old_version = UNSHARED[-1]
    manifest = world.select(RoundSettings(budget=4), code_version=old_version).manifest
    assert world.rounds().read("round-0001").column_names[-1] == "why"
    assert "most_per_drop" not in manifest.recipe.config
    again = open_in(RoundSettings(budget=4, most_per_drop=1))
    assert "most_per_drop 0, not 1" in again.notice
    assert read_chosen(world.store, manifest).rows["share"].null_count == 4
