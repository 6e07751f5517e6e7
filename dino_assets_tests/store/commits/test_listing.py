"""Listing of committed outputs and of drops."""

import pyarrow as pa
import pytest

from dino_assets.drops.listing import describe_drops
from dino_assets.drops.records import Drop
from dino_assets.errors import NotCommittedError
from dino_assets.store.commits.listing import export_files, find_outputs, list_spaces
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.protocol import Draft, NamedBytes, OutputId, Recipe
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.raising import raising

SCHEMA = pa.schema([("n", pa.int64())])


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def make(store, asset, drop, *, rows=1, above=None, space=None):
    inputs = {"above": content_hash(above)} if above else {}
    recipe = Recipe(OutputId(asset, drop, space), "1", {"rows": rows}, inputs)

    def produce():
        yield pa.RecordBatch.from_pydict({"n": list(range(rows))}, SCHEMA)
        yield NamedBytes("page.html", f"{space}".encode())

    return commit(store, Draft(recipe, pushing(produce), SCHEMA)).manifest


def make_drop(store, *, pictures="p1", sides=(2, 5, 7), space=None):
    """Commit images, tiles and embeddings of a drop, as ``ingest`` does."""
    above = pictures
    for asset, made_from, rows in zip(
        ("images", "tiles", "embeddings"), ("source", "images", "tiles"), sides, strict=False
    ):
        config = {"rows": rows} | ({"space": space} if space and asset == "embeddings" else {})
        output = OutputId(asset, "d", "s" if asset == "embeddings" else None)
        batch = pa.RecordBatch.from_pydict({"n": list(range(rows))}, SCHEMA)
        draft = Draft(Recipe(output, "1", config, {made_from: above}), pushing([batch]), SCHEMA)
        above = content_hash(commit(store, draft).manifest)


def make_weights(store, sha256, network="n"):
    facts = {"weights_sha256": sha256, "network": network}
    commit(store, Draft(Recipe(OutputId("weights"), "1", facts), pushing([facts])))


def listed(store, name="d", *, pictures="p1"):
    return [str(state) for state in describe_drops(store)(Drop(name, "", pictures, name))]


def test_describe_drops__lists_committed_assets(memory):
    make_drop(memory, sides=(2, 5))
    assert listed(memory) == ["images 2", "tiles 5", "embeddings –"]
    assert listed(memory, "other") == ["images –", "tiles –", "embeddings –"]
    make_drop(memory)
    assert listed(memory) == ["images 2", "tiles 5", "embeddings 7"]


def test_describe_drops__old_until_materialised_again(memory):
    make_drop(memory)
    # Images are read again whenever they are materialised.
    assert listed(memory, pictures="p2") == ["images 2", "tiles 5", "embeddings 7"]
    make_drop(memory, pictures="p2", sides=(3,))
    assert listed(memory, pictures="p2") == [
        "images 3",
        "tiles 5 (old)",
        "embeddings 7 (of old tiles)",
    ]
    make_drop(memory, pictures="p2", sides=(3, 6))
    assert listed(memory, pictures="p2") == ["images 3", "tiles 6", "embeddings 7 (old)"]
    make_drop(memory, pictures="p2", sides=(3, 6, 8))
    assert listed(memory, pictures="p2") == ["images 3", "tiles 6", "embeddings 8"]


@pytest.mark.parametrize("other", [("w2", "n"), ("w1", "m")])
def test_describe_drops__embeddings_by_other_weights_are_old(memory, other):
    make_weights(memory, "w1")
    make_drop(memory, space={"weights_sha256": "w1", "network": "n"})
    assert listed(memory)[2] == "embeddings 7"
    make_weights(memory, *other)
    assert listed(memory) == ["images 2", "tiles 5", "embeddings 7 (old)"]


def test_find_outputs__finds_every_space(memory):
    for space in ("s1", "s2"):
        make(memory, "embeddings", "d", space=space)
    assert [m.recipe.output.space for m in find_outputs(memory, "embeddings", "d")] == ["s1", "s2"]
    assert list_spaces(memory, "embeddings") == ["s1", "s2"]
    with raising(NotCommittedError, output="embeddings/x", match="It exists for: d"):
        find_outputs(memory, "embeddings", "x")


def test_export_files__one_folder_per_space(memory, tmp_path):
    make(memory, "projections", None, space="s1")
    paths = list(export_files(memory, "projections", folder=tmp_path / "one"))
    assert {p.name for p in paths} == {"page.html", "projections-0.parquet"}
    assert (tmp_path / "one" / "page.html").read_text() == "s1"
    make(memory, "projections", None, space="s2")
    list(export_files(memory, "projections", folder=tmp_path / "two"))
    assert (tmp_path / "two" / "s1" / "page.html").read_text() == "s1"
    assert (tmp_path / "two" / "s2" / "page.html").read_text() == "s2"


def test_describe_drops__images_are_old_after_the_source_changed(memory):
    make_drop(memory)
    describe = describe_drops(memory)
    assert str(describe(Drop("d", "", "p0", "d", observed="p1"))[0]) == "images 2"
    assert [str(state) for state in describe(Drop("d", "", "p1", "d", observed="p2"))] == [
        "images 2 (old)",
        "tiles 5 (of old images)",
        "embeddings 7 (of old images)",
    ]
