"""A project from Python, as the lineage left it."""

from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

import dino_assets as da
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.errors import ConfigError, NotCommittedError
from dino_assets.store.commits.listing import list_spaces
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.prepared import Prepared
from dino_assets_tests.worlds.ui import LINEAR

MAP = LINEAR["ops"]["projections"]["config"]
ROUND = {"budget": 5}


@pytest.fixture(autouse=True)
def engine_home() -> None:
    """The project's own engines, in place of this folder's."""


@pytest.fixture
def lineage(
    project: Path,
    ready_engines: None,
    instance: dg.DagsterInstance,
    short_trial: None,
    prepared: Prepared,
) -> Lineage:
    """Two drops of 24 tiles and one of a single tile, a map and a round."""
    lineage = Lineage(instance)

    def prepare() -> None:
        for seed, (name, size) in enumerate(
            {"a": (1600, 1200), "b": (1600, 1200), "s": (640, 480)}.items()
        ):
            folder = project / "inbox" / name
            folder.mkdir(parents=True)
            (folder / "DJI_0001.JPG").write_bytes(photo_bytes(*size, seed=seed))
            lineage.register(name, folder)
        assert lineage.run("a", "b", "s", projections=MAP, selections=ROUND).success

    prepared.fill(prepare, instance=instance)
    return lineage


def test_open_project__tables_of_drops(lineage: Lineage):
    project = da.open_project()
    assert project.drops == ("a", "b", "s")
    tiles = project.table("tiles")
    assert (tiles.drops, tiles.rows) == (("a", "b", "s"), 49)
    rows = tiles.read("a")
    assert rows.num_rows == 24
    assert len(rows.to_pandas()) == len(pl.from_arrow(rows)) == 24
    assert tiles.read("a", columns=["path"]).column_names == ["path"]


def test_open_project__from_a_folder_below_and_by_its_path(lineage: Lineage, monkeypatch, tmp_path):
    root = lineage.settings.root
    monkeypatch.chdir(root / "inbox")
    assert da.open_project().drops == ("a", "b", "s")
    monkeypatch.chdir(tmp_path)
    assert da.open_project(root).drops == ("a", "b", "s")


def test_vectors__of_some_drops_with_their_ids(lineage: Lineage):
    project = da.open_project()
    all_vectors, drop_vectors = project.vectors(), project.vectors("b")
    assert len(all_vectors.matrix) == 49
    assert all_vectors.matrix.dtype == np.float32
    assert len(all_vectors.tile_ids) == len(all_vectors.drops) == 49
    assert set(drop_vectors.drops) == {"b"}
    rows = [row for row, drop in enumerate(all_vectors.drops) if drop == "b"]
    np.testing.assert_array_equal(all_vectors.matrix[rows], drop_vectors.matrix)
    assert drop_vectors.space == project.spaces()[0]
    with pytest.raises(NotCommittedError):
        project.table("embeddings").manifest("nowhere")


def test_map_and_round__as_tables(lineage: Lineage):
    project = da.open_project()
    assert project.map().num_rows == 49
    assert [each.name for each in project.rounds] == ["round-0001"]
    assert project.round("round-0001")["rank"].to_pylist() == [1, 2, 3, 4, 5]
    with pytest.raises(NotCommittedError):
        project.round("round-0007")


def test_checkpoint__is_the_one_of_the_lineage(lineage: Lineage):
    folder = da.open_project().checkpoint()
    assert da.validate_dinov3(folder)


def test_table__names_that_there_are_not(lineage: Lineage):
    project = da.open_project()
    for asset, space in (
        ("tils", None),
        ("weights", None),
        ("tiles", "abc"),
        ("embeddings", "abc"),
    ):
        with pytest.raises(ConfigError) as caught:
            project.table(asset, space=space)
        assert caught.value.setting in ("asset", "space")


def test_table__of_several_spaces_one_is_named(lineage: Lineage):
    resources = {"compute": ComputeResource(precision="fp32")}
    assert lineage.run("s", only=["embeddings"], resources=resources).success
    project = da.open_project()
    spaces = list_spaces(lineage.store, "embeddings")
    assert len(spaces) == 2
    with pytest.raises(ConfigError) as caught:
        project.table("embeddings")
    assert caught.value.setting == "space"
    assert {project.table("embeddings", space=each).rows for each in spaces} == {49, 1}


def test_open_project__where_there_is_none(project: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DINO_STORAGE", "elsewhere")
    with pytest.raises(NotCommittedError):
        da.open_project()
    assert not (project / "elsewhere").exists()
    monkeypatch.delenv("DINO_STORAGE")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(ConfigError):
        da.open_project()


@pytest.mark.parametrize("drop", ["a", "s"])
def test_embed__gives_the_lineages_vectors(lineage: Lineage, drop: str):
    photo = lineage.settings.root / "inbox" / drop / "DJI_0001.JPG"
    result = da.embed(photo, model=lineage.settings.model, progress=False)
    project = da.open_project()
    vectors = project.vectors(drop)
    assert result.space == vectors.space
    assert result.tile_ids == vectors.tile_ids
    np.testing.assert_allclose(result.vectors, vectors.matrix, atol=2e-3, rtol=2e-3)
    rows = project.table("tiles").read(drop, columns=["x", "y", "w", "h"])
    np.testing.assert_array_equal(result.windows, np.stack([rows[c] for c in "xywh"], axis=1))
