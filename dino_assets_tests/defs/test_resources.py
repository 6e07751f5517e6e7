"""Resources: the settings that they pass on, and their errors."""

import sys

import dagster as dg
import pytest
from pydantic import ValidationError

from dino_assets.definitions import make_definitions, make_resources
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.resources.hub import HubResource
from dino_assets.defs.resources.inbox import InboxResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.errors import (
    CheckpointNotFoundError,
    ConfigError,
    DeviceUnavailableError,
    MissingExtraError,
    UnknownDropError,
)
from dino_assets.settings.environment import load_settings
from dino_assets.store.buckets import create_bucket
from dino_assets_tests.worlds.raising import raising


def test_storage__relative_to_the_project(project):
    store = StorageResource(url="results").open()
    store.put("a", b"x")
    assert (project / "results" / "a").read_bytes() == b"x"
    assert store.url == "results"


def test_storage__fields_of_dagster_aws_override_the_environment(project, s3_endpoint):
    from dagster_aws.s3 import S3Resource

    from dino_assets.defs.resources.s3 import S3StorageResource

    s3 = S3Resource(
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="named-in-dagster",
        aws_secret_access_key="s3cr3t",
    )
    storage = S3StorageResource(url="s3://resource-test/here", s3=s3)
    settings = storage.settings()
    assert (settings.endpoint, settings.access_key) == (s3_endpoint, "named-in-dagster")
    create_bucket(settings)
    storage.open().put("a", b"x")
    assert storage.open().get("a") == b"x"
    objects = s3.get_client().list_objects_v2(Bucket="resource-test")["Contents"]
    assert [item["Key"] for item in objects] == ["here/a"]


def test_storage__env_var_is_resolved_at_run_time(project, s3_endpoint, monkeypatch):
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("MINIO_SECRET_KEY", "resolved-late")
    resources = make_resources(load_settings())
    assert resources["s3"].aws_secret_access_key == dg.EnvVar("MINIO_SECRET_KEY")

    @dg.asset
    def look(storage: StorageResource) -> None:
        assert storage.settings().secret_key == "resolved-late"
        assert storage.settings().access_key == "minioadmin"  # the published default

    assert dg.materialize([look], resources={"storage": resources["storage"]}).success


def test_storage__aws_variables_are_named_for_s3(project, monkeypatch):
    monkeypatch.setenv("DINO_STORAGE", "s3://some-bucket")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "aws-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret")
    monkeypatch.setenv("MINIO_SECRET_KEY", "of-another-server")
    resources = make_resources(load_settings())
    assert resources["s3"].aws_secret_access_key == dg.EnvVar("AWS_SECRET_ACCESS_KEY")
    assert resources["s3"].aws_access_key_id == dg.EnvVar("AWS_ACCESS_KEY_ID")


def test_definitions__one_io_manager_over_the_same_storage(project):
    resources = make_definitions(load_settings()).resources
    assert set(resources) == {"storage", "compute", "inbox", "hub", "io_manager"}
    assert resources["io_manager"].storage.url == resources["storage"].url == "data"


def test_create_bucket__needs_the_extra(project, monkeypatch):
    monkeypatch.setenv("USE_MINIO", "true")
    monkeypatch.setitem(sys.modules, "boto3", None)
    with raising(MissingExtraError, extra="s3", match="pip install 'dino-assets"):
        create_bucket(load_settings().storage)


def test_compute__auto_never_fails():
    settings = ComputeResource().resolve()
    assert settings.device in ("cpu", "cuda", "mps")
    assert settings.threads >= 1


@pytest.mark.skipif(sys.platform == "darwin", reason="has mps")
def test_compute__unavailable_device():
    with raising(DeviceUnavailableError, setting="device", value="mps"):
        ComputeResource(device="mps").resolve()


@pytest.mark.parametrize(
    ("setting", "value"), [("device", "tpu"), ("precision", "bf16"), ("engine", "magic")]
)
def test_compute__invalid_words(setting, value):
    with pytest.raises(ValidationError) as caught:
        ComputeResource(**{setting: value})
    (fault,) = caught.value.errors()
    assert (fault["loc"], fault["input"]) == ((setting,), value)


def test_compute__invalid_numbers():
    with raising(ConfigError, setting="threads", value=-1):
        ComputeResource(threads=-1).resolve()


def test_hub__a_directory(checkpoint_dir):
    assert HubResource(model=str(checkpoint_dir)).locate(print).bring() == checkpoint_dir


def test_hub__no_directory():
    with pytest.raises(CheckpointNotFoundError, match=r"there is no checkpoint directory './x'"):
        HubResource(model="./x").locate(print)


def test_inbox__address_of_a_bucket_and_a_folder():
    assert InboxResource(url="s3://bucket/in/").address("a") == "s3://bucket/in/a"
    assert InboxResource(url="inbox").address("a") == "inbox/a"


def test_inbox__open_registers_a_folder_of_the_inbox(project, local_store, write_photo):
    write_photo(project / "inbox" / "new" / "DJI_0001.JPG")
    drop, source = InboxResource().open(local_store, "new")
    assert drop.source == str(project / "inbox" / "new")
    assert [entry.path for entry in source.entries()] == ["DJI_0001.JPG"]
    with pytest.raises(UnknownDropError, match="no drop 'other' is registered"):
        InboxResource().open(local_store, "other")
