"""The lineage with its results, and its photographs, on an S3 server."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from dino_assets.defs.file_links import find_key
from dino_assets.defs.output_metadata import find_manifest_key
from dino_assets.drops.registering import register_drop
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.conftest import s3_settings
from dino_assets_tests.defs.conftest import Lineage

DROPS = ("a", "b")
ASSETS = ("weights", "images", "tiles", "embeddings", "projections", "selections")
QUICK = {"projections": {"method": "linear"}, "selections": {"budget": 4}}


@pytest.fixture
def two_drops(card: Callable[..., Path]) -> dict[str, Path]:
    """Two drops' folders, one with a bad file."""
    return {"a": card("a", good=2, bad=1), "b": card("b", good=1)}


@pytest.fixture
def bucket(s3_endpoint: str, tmp_path: Path) -> StorageSettings:
    return s3_settings(s3_endpoint, tmp_path)


@pytest.fixture
def other_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as new_instance:
        yield new_instance


@pytest.fixture
def configure_bucket(
    monkeypatch: pytest.MonkeyPatch, bucket: StorageSettings
) -> Callable[[], None]:
    """Configure a bucket as the storage."""

    def configure() -> None:
        monkeypatch.setenv("DINO_STORAGE", bucket.url)
        monkeypatch.setenv("MINIO_ENDPOINT", str(bucket.endpoint))
        monkeypatch.setenv("MINIO_ACCESS_KEY", str(bucket.access_key))
        monkeypatch.setenv("MINIO_SECRET_KEY", str(bucket.secret_key))

    return configure


def contents(store: ObjectStore, prefix: str = "") -> dict[str, bytes]:
    """Read all objects except indexes, whose keys depend on the drops' addresses."""
    keys = [info.key for info in store.list(prefix)]
    return {key: store.get(key) for key in keys if not key.startswith(("indexes/", "digests/"))}


def test_lineage__same_bytes_on_s3_as_on_disk(
    lineage: Lineage, two_drops: dict[str, Path], configure_bucket: Callable[[], None]
):
    for name, folder in two_drops.items():
        lineage.register(name, folder)
    assert lineage.run(*DROPS, **QUICK).success
    configure_bucket()
    remote = Lineage(lineage.instance)
    for name, folder in two_drops.items():
        remote.register(name, folder)
    assert remote.run(*DROPS, **QUICK).success
    local_contents, remote_contents = contents(lineage.store), contents(remote.store)
    # Manifests, a copy of the round's, parts, receipts and the drops' records.
    areas = {key.split("/")[0] for key in local_contents}
    assert areas == {"manifests", "copies", "parts", "receipts", "drops"}
    assert {key.split("/")[1] for key in local_contents if key.startswith("manifests/")} == set(
        ASSETS
    )
    assert remote_contents == local_contents
    assert remote.store.url.startswith("minio://")
    metadata = remote.metadata("selections")
    assert metadata["dagster/uri"] == f"{remote.store.url}/{find_manifest_key(metadata)}"
    key = find_key(*metadata["contact-sheet.jpg"].split("/")[2:])
    assert remote.store.get(str(key)).startswith(b"\xff\xd8")


def test_lineage__photographs_in_a_bucket_give_the_same_parts(
    lineage: Lineage, two_drops: dict[str, Path], configure_bucket: Callable[[], None]
):
    for name, folder in two_drops.items():
        lineage.register(name, folder)
    assert lineage.run(*DROPS, **QUICK).success
    configure_bucket()
    remote = Lineage(lineage.instance)
    for name, folder in two_drops.items():
        for path in folder.rglob("*.JPG"):
            remote.store.put(f"cards/{name}/{path.relative_to(folder)}", path.read_bytes())
        source = f"{remote.store.url}/cards/{name}"
        register_drop(remote.store, name, source=source, root=remote.settings.root)
        shutil.rmtree(folder)
    assert remote.run(*DROPS, **QUICK).success
    assert contents(remote.store, "parts") == contents(lineage.store, "parts")
    local_manifests, remote_manifests = (
        contents(either.store, "manifests") for either in (lineage, remote)
    )
    # Photographs on S3 are identified by ETags instead of times; only these manifests differ.
    differing_keys = {
        key for key in local_manifests if local_manifests[key] != remote_manifests[key]
    }
    assert local_manifests.keys() == remote_manifests.keys()
    assert differing_keys == {"manifests/images/_/a.json", "manifests/images/_/b.json"}


def test_lineage__another_machine_continues_from_the_bucket(
    lineage: Lineage,
    two_drops: dict[str, Path],
    card: Callable[..., Path],
    configure_bucket: Callable[[], None],
    other_instance: dg.DagsterInstance,
    checkpoint_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Without checkpoint, cache and history of runs, the bucket is enough."""
    configure_bucket()
    model = shutil.copytree(checkpoint_dir, tmp_path / "model")
    monkeypatch.setenv("DINO_MODEL_ID", str(model))
    first = Lineage(lineage.instance)
    for name, folder in two_drops.items():
        first.register(name, folder)
    assert first.run(*DROPS, **QUICK).success
    contents_before = contents(first.store)
    third_card = card("c", good=3)  # two of them are in the other drops

    machine = tmp_path / "another-machine"
    machine.mkdir()
    shutil.copy("dagster.yaml", machine)
    monkeypatch.chdir(machine)
    shutil.rmtree(model)
    second = Lineage(other_instance)
    other_instance.add_dynamic_partitions("drops", list(DROPS))
    assert second.run(*DROPS, **QUICK).success
    for asset in ASSETS:
        for drop in DROPS if asset in ("images", "tiles", "embeddings") else (None,):
            assert second.metadata(asset, drop)["was_reused"] is True
    assert contents(second.store) == contents_before
    assert not (machine / ".cache").exists()
    second.register("c", third_card)
    assert second.run("c", **QUICK).success
    space = find_manifest_key(second.metadata("projections")).split("/")[2]
    assert read_manifest(second.store, OutputId("embeddings", "c", space)).rows == 72
    assert (machine / ".cache").is_dir()
    assert {path.name for path in machine.iterdir()} == {"dagster.yaml", ".cache"}
