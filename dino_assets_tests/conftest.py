"""Fixtures for all tests: no outside environment, real stores, real small files."""

import contextlib
import gc
import io
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import hypothesis
import numpy as np
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from PIL import Image

from dino_assets.defs import retrying
from dino_assets.embeddings.stage import worker as embedding_work
from dino_assets.settings import environment
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.buckets import create_bucket
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.testing import memory_store, write_tiny_checkpoint
from dino_assets_tests.worlds.checkpoint_folders import copy_unmarked
from dino_assets_tests.worlds.hub_server import HubServer, hub_for_test
from dino_assets_tests.worlds.prepared import Prepared
from dino_assets_tests.worlds.servers import s3_server

# A machine that does other work takes longer for an example; no test asserts a time.
hypothesis.settings.register_profile("without-deadline", deadline=None)
hypothesis.settings.load_profile("without-deadline")
FOREIGN = ("DINO_", "MINIO_", "AWS_", "AZURE_", "HF_", "DAGSTER_", "EMBED_BUCKET", "USE_MINIO")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Exclude the objects made by collecting (7,000 tests, all imports) from Python's garbage collection.

    They exist until the end. Scanning them repeatedly took 6 s of the 20 s of collecting.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


class _TellAtOnce:
    """Print failed tests and lost workers when they happen: a run that is stopped never prints its summary."""

    def __init__(self, terminal: Any) -> None:
        self.terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            lines = report.longreprtext.splitlines()[-20:]
            self.terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})", red=True)
            self.terminal.write_line("\n".join(lines))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Print how a worker process ended that xdist calls crashed: it says neither signal nor exit code."""
        if error:
            process = node.gateway._io.popen
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            code = process.returncode
            self.terminal.write_line(f"\n{node.gateway.id} ended with {code} (below 0: a signal)")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Register the printing of failures in the process that has the terminal, not in xdist's workers."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal and not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_TellAtOnce(terminal))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without the developer's variables, and a temporary working directory."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """A cache of Dagster's migrations: without it, opening a database reads a hundred files."""
    read_directory, directories = ScriptDirectory.from_config, {}

    def read_once(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in directories:
            directories[place] = read_directory(config)
        return directories[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", read_once)
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No retries of requests to the bucket that the environment names."""
    monkeypatch.setattr(environment, "LIMITS", RequestLimits(retries=0))


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of failed steps without delay."""
    monkeypatch.setattr(retrying, "POLICY", dg.RetryPolicy(max_retries=3, delay=0))


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One S3 server per test process."""
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


def s3_settings(endpoint: str, root: Path) -> StorageSettings:
    """Create a new bucket on the test server."""
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
    """An empty store of every kind that the commit protocol supports."""
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
    """A tiny DINOv3-shaped checkpoint that loads. It is shared: copy it before you change it."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def trained_dir(checkpoint_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it that looks trained: no file marks its weights as random."""
    return copy_unmarked(checkpoint_dir, tmp_path_factory.mktemp("trained") / "checkpoint")


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of converted networks and passed gates, shared by all tests of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-engines"
    (folder / "engines").mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def short_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forecasts from a single trial, for tests that do not check the figures."""
    monkeypatch.setattr(embedding_work, "TRIAL_S", 0.0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub server for this test, named in the environment."""
    with hub_for_test(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A mounted file system of one MiB; only root can mount it."""
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
    """Draw a seeded picture and encode it."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()


@pytest.fixture
def write_photo() -> Callable[..., Path]:
    """A function that writes a seeded picture to a path and makes its folder."""

    def write(path: Path, width: int = 64, height: int = 48, **options: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo_bytes(width, height, **options))
        return path

    return write


REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def project_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a test's project: as it was prepared, for tests of ``prepared``; else there is none yet."""
    if "prepared" in request.fixturenames:
        return request.getfixturevalue("prepared").put_back()
    return tmp_path / "project"


@pytest.fixture
def project(project_folder: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the repository's dagster.yaml and a checkpoint, as working directory."""
    if not project_folder.exists():
        project_folder.mkdir()
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(REPOSITORY / name, project_folder / name)
    monkeypatch.chdir(project_folder)
    monkeypatch.setenv("DINO_MODEL_ID", str(checkpoint_dir))
    return project_folder


def link_engines(project: Path, engine_cache: Path) -> None:
    """Let a project use the shared engines: its first embeddings need no torch then, 10 s less."""
    engines = project / ".cache" / "engines"
    if not engines.is_symlink():
        engines.parent.mkdir(exist_ok=True)
        engines.symlink_to(engine_cache / "engines")


@pytest.fixture
def ready_engines(project: Path, engine_cache: Path) -> None:
    """The shared engines in the project's cache: making them takes 0.6 s per test."""
    link_engines(project, engine_cache)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The project from which all tests of a module start."""
    return Prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as fresh:
        yield fresh
