"""``dino-assets like``: tiles like a few examples, and stored prototypes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dino_assets as da
from dino_assets.api.finding import read_query
from dino_assets.cli import main
from dino_assets.embeddings.stage.pool import choose_pool
from dino_assets.errors import ConfigError, CorruptObjectError, InvalidVectorsError
from dino_assets.probes.prototypes import fit_direction, measure_tiles
from dino_assets.probes.stage.prototypes import name_key, read_prototypes, remove_prototype
from dino_assets.probes.stage.prototypes_fitting import FewShot, fit_prototype
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(project, instance, short_trial, prepared: Prepared) -> Lineage:
    """Two drops of 24 tiles each."""
    lineage = Lineage(instance)

    def prepare() -> None:
        lineage.photograph("ab")
        lineage.embed("a", "b")

    prepared.fill(prepare, instance=instance)
    return lineage


@pytest.fixture
def like(lineage, capsys):
    """Runs the command; returns its JSON."""

    def run(*arguments: str) -> dict:
        capsys.readouterr()
        assert main(["like", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def tile_ids(lineage) -> tuple[str, ...]:
    return da.open_project().vectors("a").tile_ids


def test_like__order_and_percentiles_are_those_of_the_direction(like, tile_ids):
    answer = like(*tile_ids[:4], "-k", "100", "--all-windows")
    vectors = da.open_project().vectors()
    direction = fit_direction(vectors.matrix[:4], measure_tiles(vectors.matrix))
    units = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    scores = dict(zip(vectors.tile_ids, units @ direction, strict=True))
    others = sorted(set(scores) - set(tile_ids[:4]), key=lambda each: -scores[each])
    assert [tile["tile_id"] for tile in answer["tiles"]] == others
    ranks = [tile["percentile"] for tile in answer["tiles"]]
    assert ranks == sorted(ranks, reverse=True)
    below = np.mean([scores[others[0]] > each for each in scores.values()])
    one_rank = 100 / len(scores)  # two equal cosines may change places
    assert ranks[0] == pytest.approx(100 * below, abs=1.5 * one_rank)
    assert answer["searched"] == 48
    assert len(answer["prototype"]["left_out_percentiles"]) == 4


def test_like__a_name_stores_the_prototype(like, project, tile_ids):
    answer = like(*tile_ids[:3], "--not", tile_ids[9], "--name", "smoke", "-k", "5")
    (stored,) = read_prototypes(da.open_project().store)
    assert answer["prototype"] == stored.describe()
    assert stored.name == "smoke"
    assert [each.query for each in stored.examples] == list(tile_ids[:3])
    assert tile_ids[9] not in {tile["tile_id"] for tile in answer["tiles"]}
    (listed,) = like("--list")
    assert listed == stored.describe()


def test_like__the_name_alone_gives_the_same_tiles(like, project, tile_ids, write_photo):
    """Pictures of the examples may be gone: their vectors are stored."""
    pictures = [
        str(write_photo(project / "crops" / f"{seed}.jpg", 300, 300, seed=seed))
        for seed in range(3)
    ]
    first = like(*pictures, "--name", "smoke", "-k", "5")
    for picture in pictures:
        Path(picture).unlink()
    assert like("--name", "smoke", "-k", "5") == first
    assert like(*pictures, "--name", "smoke", "-k", "5") == first


def test_like__vectors_of_another_column_are_no_substitute(like, project, tile_ids, write_photo):
    picture = write_photo(project / "crop.jpg", 300, 300, seed=1)
    like(str(picture), *tile_ids[:3], "--name", "smoke")
    picture.unlink()
    like(str(picture), *tile_ids[:3], "--name", "smoke")
    with pytest.raises(ConfigError) as caught:
        fit_other_column(str(picture), *tile_ids[:3])
    assert caught.value.value == str(picture)
    (listed,) = like("--list")
    assert listed["column"] == "cls"


def fit_other_column(*queries: str) -> None:
    project = da.open_project()
    embeddings = choose_pool(project.table("embeddings"))
    (earlier,) = read_prototypes(project.store)
    fit_prototype(
        embeddings,
        FewShot("smoke", queries, column="mean"),
        lambda query: read_query(project, embeddings, query, "mean"),
        earlier=earlier,
    )


def test_like__the_same_name_is_refreshed(like, tile_ids):
    like(*tile_ids[:3], "--name", "smoke")
    like(*tile_ids[4:9], "--name", "smoke")
    (listed,) = like("--list")
    assert listed["examples"] == list(tile_ids[4:9])


def test_like__examples_that_differ_are_no_better_than_chance(like, lineage, capsys):
    """Two tiles from each end of the axis along which the tiles vary most."""
    vectors = da.open_project().vectors()
    statistics = measure_tiles(vectors.matrix)
    order = np.argsort(statistics.rows @ statistics.axes[:, -1])
    ends = [vectors.tile_ids[row] for row in (*order[:2], *order[-2:])]
    assert not like(*ends)["prototype"]["is_better_than_chance"]
    assert main(["like", *ends]) == 0
    assert "no better than chance" in capsys.readouterr().out


def test_like__remove(like, tile_ids):
    like(*tile_ids[:3], "--name", "smoke")
    assert main(["like", "--remove", "smoke"]) == 0
    assert like("--list") == []
    assert main(["like", "--remove", "smoke"]) == 1


def test_like__a_sheet(like, project, tile_ids):
    like(*tile_ids[:3], "--sheet", "out/like.jpg", "-k", "6")
    with Image.open(project / "out" / "like.jpg") as sheet:
        assert sheet.width > 300


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [([], "examples"), (["--name", "smoke"], "name"), (["no-such-tile"] * 3, "query")],
)
def test_like__bad_arguments(lineage, arguments, setting):
    with pytest.raises(ConfigError) as caught:
        run_command(*arguments)
    assert caught.value.setting == setting


def run_command(*arguments: str) -> None:
    """Run the command without the conversion of errors to exit codes."""
    from dino_assets.cli import make_parser
    from dino_assets.settings.environment import load_settings

    options = make_parser().parse_args(["like", *arguments])
    options.run(options, load_settings())


def test_like__two_examples_are_too_few(lineage, tile_ids):
    with pytest.raises(ConfigError) as caught:
        run_command(tile_ids[0], tile_ids[1], tile_ids[1])
    assert (caught.value.setting, caught.value.value) == ("examples", 2)


def test_like__a_vector_of_another_model(lineage, project, tile_ids):
    np.save(project / "other.npy", np.ones(7, np.float32))
    with pytest.raises(InvalidVectorsError):
        run_command(*tile_ids[:3], "other.npy")


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 81])
def test_name_key__names_that_cannot_be(name):
    with pytest.raises(ConfigError):
        name_key("space", name)


def test_read_prototypes__a_damaged_one(like, tile_ids):
    like(*tile_ids[:3], "--name", "smoke")
    store = da.open_project().store
    (prototype,) = read_prototypes(store)
    key = name_key(prototype.space, "smoke")
    store.put(key, store.get(key).replace(b'"chance"', b'"chanse"'))
    with pytest.raises(CorruptObjectError) as caught:
        list(read_prototypes(store))
    assert caught.value.key == key
    assert remove_prototype(store, "smoke") == [prototype.space]
