"""What is made of what."""

import pyarrow as pa
import pytest

from dino_assets.drops.listing import describe_drops
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


def test_describe_drops__what_is_made_and_what_is_old(memory):
    images = make(memory, "images", "d", rows=2)
    make(memory, "tiles", "d", rows=5, above=images)
    assert describe_drops(memory)("d") == ["images 2", "tiles 5", "embeddings –"]
    assert describe_drops(memory)("other") == ["images –", "tiles –", "embeddings –"]
    make(memory, "images", "d", rows=3)
    assert describe_drops(memory)("d") == ["images 3", "tiles 5 (old)", "embeddings –"]


def test_find_outputs__in_every_space(memory):
    for space in ("s1", "s2"):
        make(memory, "embeddings", "d", space=space)
    assert [m.recipe.output.space for m in find_outputs(memory, "embeddings", "d")] == ["s1", "s2"]
    assert list_spaces(memory, "embeddings") == ["s1", "s2"]
    with raising(NotCommittedError, output="embeddings/x", match="It is made for: d"):
        find_outputs(memory, "embeddings", "x")


def test_export_files__spaces_stay_apart(memory, tmp_path):
    make(memory, "projections", None, space="s1")
    written = list(export_files(memory, "projections", folder=tmp_path / "one"))
    assert {p.name for p in written} == {"page.html", "projections-0.parquet"}
    assert (tmp_path / "one" / "page.html").read_text() == "s1"
    make(memory, "projections", None, space="s2")
    list(export_files(memory, "projections", folder=tmp_path / "two"))
    assert (tmp_path / "two" / "s1" / "page.html").read_text() == "s1"
    assert (tmp_path / "two" / "s2" / "page.html").read_text() == "s2"
