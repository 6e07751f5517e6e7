"""Retries: for passing failures only."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from dino_assets.defs import retrying
from dino_assets.defs.retrying import is_worth_trying_again
from dino_assets.errors import (
    ChecksumError,
    ConfigError,
    DropBlockedError,
    DropsFailedError,
    InvalidCheckpointError,
    LocalEntryNotFoundError,
    StoreAccessError,
    StoreFullError,
    StoreUnavailableError,
)
from dino_assets.settings.records import StorageSettings
from dino_assets.store.buckets import create_bucket
from dino_assets_tests.defs.conftest import Lineage, failure
from dino_assets_tests.worlds.servers import HOST, free_port, running

SHIPPED = retrying.POLICY  # before a fixture shortens the waits
RETRY, RESTART = dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_RESTARTED


class Bucket:
    """An S3 server that can be stopped and started again, empty, on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.endpoint = f"http://{HOST}:{self.port}"
        self.rest = contextlib.ExitStack()

    def start(self) -> None:
        command = [
            str(Path(sys.executable).parent / "moto_server"),
            "-H",
            HOST,
            "-p",
            str(self.port),
        ]
        log = self.folder / "moto.log"
        self.rest.enter_context(running(command, url=self.endpoint, log=log))
        settings = StorageSettings(
            url="minio://embeds",
            root=self.folder,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key="test-access",
            secret_key="test-secret",
        )
        create_bucket(settings)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient) -> Iterator[Bucket]:
    bucket = Bucket(tmp_path)
    monkeypatch.setenv("DINO_STORAGE", "minio://embeds")
    monkeypatch.setenv("MINIO_ENDPOINT", bucket.endpoint)
    monkeypatch.setenv("MINIO_ACCESS_KEY", "test-access")
    monkeypatch.setenv("MINIO_SECRET_KEY", "test-secret")
    with bucket.rest:
        yield bucket


def count(lineage: Lineage, run_id: str, kind: dg.DagsterEventType, step: str) -> int:
    entries = lineage.instance.all_logs(run_id, kind)
    return sum(entry.step_key == step for entry in entries)


def test_run__store_that_comes_back(project, instance, bucket, monkeypatch):
    waits: list[int] = []

    class RestartingPolicy(dg.RetryPolicy):
        """Starts the server again while the step waits."""

        def calculate_delay(self, attempt_num: int) -> float:
            waits.append(attempt_num)
            if attempt_num == 2:
                bucket.start()
            return 0

    monkeypatch.setattr(retrying, "POLICY", RestartingPolicy(max_retries=3))
    lineage = Lineage(instance)
    result = lineage.run(only=["weights"])
    assert result.success
    assert waits == [1, 2]
    assert count(lineage, result.run_id, RETRY, "weights") == 2
    assert count(lineage, result.run_id, RESTART, "weights") == 2
    assert lineage.metadata("weights")["stored_mb"] > 0


def test_run__store_that_stays_down(project, instance, bucket):
    lineage = Lineage(instance)
    result = lineage.run(only=["weights"])
    assert not result.success
    assert count(lineage, result.run_id, RETRY, "weights") == 3
    assert "StoreUnavailableError" in failure(result, "weights")


def test_run__invalid_checkpoint_is_not_retried(project, instance, monkeypatch):
    (project / "empty").mkdir()
    (project / "empty" / "config.json").write_text("{")
    monkeypatch.setenv("DINO_MODEL_ID", "empty")
    lineage = Lineage(instance)
    result = lineage.run(only=["weights"])
    assert "CheckpointError" in failure(result, "weights")
    assert count(lineage, result.run_id, RETRY, "weights") == 0


def test_run__unreachable_hub(project, instance, monkeypatch, caplog):
    """Nothing listens there: two attempts within a second, then an error."""
    monkeypatch.setenv("DINO_MODEL_ID", "facebook/dinov2-small")
    monkeypatch.setenv("HF_ENDPOINT", f"http://{HOST}:{free_port()}")
    lineage = Lineage(instance)
    result = lineage.run(only=["weights"])
    assert count(lineage, result.run_id, RETRY, "weights") == 0
    assert "LocalEntryNotFoundError" in failure(result, "weights")
    assert len([r for r in caplog.records if "trying again in" in r.getMessage()]) == 1


def test_run__failing_hub(project, instance, monkeypatch, hub):
    monkeypatch.setenv("DINO_MODEL_ID", "facebook/dinov2-small")
    hub.misbehave("listing", "503", times=100, Retry_After="0")
    lineage = Lineage(instance)
    result = lineage.run(only=["weights"])
    assert count(lineage, result.run_id, RETRY, "weights") == 3
    assert "LocalEntryNotFoundError" in failure(result, "weights")


def test_run__hub_that_is_switched_off(project, instance, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", "facebook/dinov2-small")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lineage = Lineage(instance)
    result = lineage.run(only=["weights"])
    assert not result.success
    assert count(lineage, result.run_id, RETRY, "weights") == 0


def test_run__missing_card_is_not_retried(lineage: Lineage, card):
    folder = card("a", good=1)
    lineage.register("a", folder)
    folder.rename(folder.with_name("elsewhere"))
    result = lineage.run("a", only=["weights", "images"])
    assert "SourceError" in failure(result, "images")
    assert count(lineage, result.run_id, RETRY, "images") == 0


@pytest.mark.parametrize(
    "err",
    [
        ConfigError("x"),
        StoreAccessError("x"),
        StoreFullError("x"),
        DropBlockedError("x"),
        InvalidCheckpointError("x"),
        ChecksumError("x", problem="sha256"),
        LocalEntryNotFoundError("x", problem="HF_HUB_OFFLINE is set"),
        DropsFailedError("x", failures={"a": ConfigError("x")}),
        ValueError("x"),
    ],
)
def test_is_worth_trying_again__permanent_failures(err):
    assert not is_worth_trying_again(err)


@pytest.mark.parametrize(
    "err",
    [
        StoreUnavailableError("x"),
        LocalEntryNotFoundError("x", may_pass=True),
        DropsFailedError("x", failures={"a": ConfigError("x"), "b": StoreUnavailableError("x")}),
    ],
)
def test_is_worth_trying_again__passing_failures(err):
    assert is_worth_trying_again(err)


def test_policy__waits_longer_each_time():
    delays = [SHIPPED.calculate_delay(attempt) for attempt in (1, 2, 3)]
    assert SHIPPED.max_retries == 3
    for delay, low_s, high_s in zip(delays, (0, 10, 30), (10, 20, 40), strict=True):
        assert low_s <= delay <= high_s
