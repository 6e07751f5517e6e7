"""Fixtures for all tests: no outside environment, real stores, real small files."""

import gc
import io
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from PIL import Image

from dino_assets.defs import retrying
from dino_assets.embeddings.stage import worker as embedding_work
from dino_assets.settings import environment
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.objects import ObjectStore, create_bucket, open_store
from dino_assets.testing import memory_store, write_tiny_checkpoint
from dino_assets_tests.worlds.checkpoint_folders import copy_unmarked
from dino_assets_tests.worlds.hub_server import HubServer, hub_for_test
from dino_assets_tests.worlds.prepared import Prepared
from dino_assets_tests.worlds.servers import s3_server

FOREIGN = ("DINO_", "MINIO_", "AWS_", "AZURE_", "HF_", "DAGSTER_", "EMBED_BUCKET", "USE_MINIO")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Leave what collecting makes, 7,000 tests and all imports, out of every later garbage collection.

    It all stays until the end. Going through it again and again took 6 s of 20 while collecting.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the developer's reaches a test, and no test stands in the real project."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """Dagster's migrations are read once: each database that is opened asks for a hundred files."""
    read, directories = ScriptDirectory.from_config, {}

    def read_once(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in directories:
            directories[place] = read(config)
        return directories[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", read_once)
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that the environment names is asked once."""
    monkeypatch.setattr(environment, "LIMITS", RequestLimits(retries=0))


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails for a reason that may pass is tried again at once."""
    monkeypatch.setattr(retrying, "POLICY", dg.RetryPolicy(max_retries=3, delay=0))


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One S3 server per test process."""
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


def s3_settings(endpoint: str, root: Path) -> StorageSettings:
    """A fresh bucket on the test server."""
    settings = StorageSettings(
        url=f"minio://b-{uuid.uuid4().hex}/some/prefix",
        root=root,
        endpoint=endpoint,
        region="us-east-1",
        access_key="test-access",
        secret_key="test-secret",
    )
    create_bucket(settings)
    return settings


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Every kind of store the protocol is promised for."""
    if request.param == "local":
        return open_store(StorageSettings(url="store", root=tmp_path))
    if request.param == "memory":
        return memory_store()
    return open_store(s3_settings(request.getfixturevalue("s3_endpoint"), tmp_path))


@pytest.fixture
def local_store(tmp_path: Path) -> ObjectStore:
    return open_store(StorageSettings(url="store", root=tmp_path))


@pytest.fixture(scope="session")
def checkpoint_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny real DINOv3-shaped checkpoint. Shared: copy it before you change it."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def trained_dir(checkpoint_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as if it were trained: nothing marks its weights as random."""
    return copy_unmarked(checkpoint_dir, tmp_path_factory.mktemp("trained") / "checkpoint")


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where networks converted and gates passed before are kept, by what they are made of."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "engines").mkdir()
    return folder


@pytest.fixture
def short_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forecasts from a single round: their figures are not what is tested."""
    monkeypatch.setattr(embedding_work, "TRIAL_S", 0.0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub of this test's own, which the environment names."""
    with hub_for_test(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of one MiB, mounted; root alone can do that."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system needs root")
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    finally:
        shutil.rmtree(folder)


def photo_bytes(
    width: int = 64, height: int = 48, *, seed: int = 0, kind: str = "JPEG", **options: object
) -> bytes:
    """A seeded picture, encoded."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()


@pytest.fixture
def write_photo() -> Callable[..., Path]:
    """Write a seeded picture somewhere; its folder is made."""

    def write(path: Path, width: int = 64, height: int = 48, **options: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo_bytes(width, height, **options))
        return path

    return write


REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    """Where a test's project is; a module that prepares one puts its own here (worlds/prepared.py)."""
    return tmp_path / "project"


@pytest.fixture
def project(project_folder: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder with the committed instance and a checkpoint, as working directory."""
    if not project_folder.exists():
        project_folder.mkdir()
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(REPOSITORY / name, project_folder / name)
    monkeypatch.chdir(project_folder)
    monkeypatch.setenv("DINO_MODEL_ID", str(checkpoint_dir))
    return project_folder


@pytest.fixture
def ready_engines(project: Path, engine_cache: Path) -> None:
    """The project has the test process' engines: made ready once, in place of 0.6 s for each test."""
    engines = project / ".cache" / "engines"
    if not engines.is_symlink():
        engines.parent.mkdir()
        engines.symlink_to(engine_cache / "engines")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The place of a project that a module's tests all begin with."""
    return Prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of its own, in memory."""
    with dg.DagsterInstance.ephemeral() as fresh:
        yield fresh
