"""`dino-assets run` as a process: interrupted, killed, continued, without a network, in the UI."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from dino_assets.defs.instance import open_instance
from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.settings.environment import load_settings
from dino_assets.store.objects import open_store
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.worlds.ui import LINEAR, serving_ui

COMMAND = str(Path(sys.executable).parent / "dino-assets")
RUNS_OF_JOB = """query($job: String!) { runsOrError(filter: {pipelineName: $job, tags: [
  {key: ".dagster/repository", value: "__repository__@dino_assets"}]}) {
  ... on Runs { results { runId status tags { key value } } } } }"""
RERUN = """mutation($id: String!) { launchRunReexecution(
  reexecutionParams: {parentRunId: $id, strategy: ALL_STEPS}) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""

pytestmark = pytest.mark.slow


@pytest.fixture
def slow_project(cards: Path, write_photo, monkeypatch) -> Path:
    """A drop of 6 shards, each a fraction of a second, or a second where bfloat16 is missing."""
    write_demo_checkpoint(cards / "models" / "slow", dim=96, layers=6)
    monkeypatch.setenv("DINO_MODEL_ID", "models/slow")
    for seed in range(6):
        write_photo(cards / "cards" / "long" / f"DJI_{seed:04d}.JPG", 1600, 1200, seed=seed)
    config = {"ops": {**LINEAR["ops"], "embeddings": {"config": {"shard_tiles": 8}}}}
    (cards / "shards.json").write_text(json.dumps(config))
    return cards


@pytest.fixture
def strike(slow_project: Path) -> Callable[..., tuple[int, str, str]]:
    """Run the long drop and signal all of its processes when the first shard is stored."""

    def run(number: int, *, as_a_terminal: bool = False) -> tuple[int, str, str]:
        command = [COMMAND, "run", "long", "--from", "cards/long", "--config", "shards.json"]
        receipts = slow_project / "data" / "receipts"
        count_before = len(list(receipts.rglob("*.json")))
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            while len(list(receipts.rglob("*.json"))) <= count_before:
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            if as_a_terminal:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    return run


def statuses(project: Path) -> list[dg.DagsterRunStatus]:
    with open_instance(project) as instance:
        return [run.status for run in reversed(instance.get_runs())]


def finish(project: Path) -> str:
    process = subprocess.run(
        [COMMAND, "run", "long", "--config", "shards.json"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert list(verify(open_store(load_settings().storage))) == []
    with open_instance(project) as instance:
        (record,) = instance.fetch_materializations(dg.AssetKey("embeddings"), limit=1).records
        shards = record.asset_materialization.metadata["shards_were"].value
    assert shards["shards_reused"] >= 1
    assert shards["shards_reused"] + shards.get("shards_made", 0) == 6
    return process.stdout


@pytest.mark.parametrize(
    ("number", "as_a_terminal"), [(signal.SIGINT, True), (signal.SIGTERM, False)]
)
def test_run__interrupted_and_continued(slow_project: Path, strike, number, as_a_terminal):
    code, out, err = strike(number, as_a_terminal=as_a_terminal)
    assert code == 130, out + err
    assert "Traceback" not in out + err
    summary, advice = err.splitlines()
    assert re.match(
        r"Interrupted\. Finished and kept: weights, images, tiles, and \d+ shards? of ", summary
    )
    assert advice.split(maxsplit=2)[2:] == [f"{COMMAND} run long --config shards.json"]
    assert statuses(slow_project) == [dg.DagsterRunStatus.CANCELED]
    finish(slow_project)
    assert statuses(slow_project)[1:] == [dg.DagsterRunStatus.SUCCESS] * 2  # ingest, curate


def test_run__killed_and_continued(slow_project: Path, strike):
    code, _, _ = strike(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert statuses(slow_project) == [dg.DagsterRunStatus.STARTED]
    printed = finish(slow_project)
    assert re.match(r"run [0-9a-f]{8} has ended \(its process \d+ on .* is gone: killed\)", printed)
    succeeded = [dg.DagsterRunStatus.SUCCESS] * 2  # ingest, curate
    assert statuses(slow_project) == [dg.DagsterRunStatus.FAILURE, *succeeded]


def test_run__no_network_for_the_weights(cards: Path):
    if not shutil.which("unshare") or os.geteuid() != 0:
        pytest.skip("taking the network away needs root")
    process = subprocess.run(
        ["unshare", "-n", COMMAND, "run", "a", "--from", "cards/a"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "DINO_MODEL_ID": "facebook/dinov2-base", "HF_HOME": str(cards / "hf")},
    )
    assert process.returncode == 1
    assert (
        "a failed. weights: LocalEntryNotFoundError: 'facebook/dinov2-base' is " in process.stderr
    )
    assert "Traceback" not in process.stdout + process.stderr
    assert len(process.stdout.splitlines() + process.stderr.splitlines()) < 15


def test_run__missing_card_is_explained(cards: Path):
    subprocess.run([COMMAND, "drops", "register", "a", "--from", "cards/a"], check=True)
    (cards / "cards" / "a").rename(cards / "elsewhere")
    process = subprocess.run([COMMAND, "run", "a"], capture_output=True, text=True, timeout=300)
    assert process.returncode == 1
    first, *other_lines = process.stderr.splitlines()
    assert first.startswith("a failed. images: SourceError: ")
    assert [line.split()[0] for line in other_lines][:1] == ["log"]
    assert [line.split()[0] for line in other_lines[2:]] == ["again", "details"]


def test_run__without_an_activated_environment(cards: Path):
    """The printed command works in a shell without the environment."""
    names = ("DINO_MODEL_ID", "PYTHONPATH")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment["PATH"] = "/usr/bin:/bin"
    (cards / ".venv").symlink_to(Path(sys.prefix))

    def shell(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, env=environment, timeout=300
        )

    printed = shell(".venv/bin/dino-assets drops register a --from cards/a").stdout
    line = printed.splitlines()[-1].removeprefix("next: ")
    assert line == ".venv/bin/dino-assets run a"
    process = shell(f"{line} --config linear.json")
    assert process.returncode == 0, process.stderr
    (line,) = [line for line in process.stdout.splitlines() if line.startswith("chosen ")]
    assert shell(line.removeprefix("chosen ")).returncode == 0
    assert (cards / "out" / "round-1" / "contact-sheet.jpg").is_file()


def test_run__shown_in_the_ui(cards: Path, tmp_path: Path):
    command = [COMMAND, "run", "a", "--from", "cards/a", "--config", "linear.json"]
    with serving_ui(cards, tmp_path / "ui.log") as ui:
        process = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert process.returncode == 0, process.stdout + process.stderr
        assert ui.launch_job("ingest", drop="a") == "SUCCESS"
        ui_run, terminal_run = ui.ask(RUNS_OF_JOB, job="ingest")["runsOrError"]["results"]
        (curate_run,) = ui.ask(RUNS_OF_JOB, job="curate")["runsOrError"]["results"]
        answer = ui.ask(RERUN, id=terminal_run["runId"])["launchRunReexecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        assert ui.wait(answer["run"]["runId"]) == "SUCCESS"
    assert [ui_run["status"], terminal_run["status"]] == ["SUCCESS", "SUCCESS"]
    assert process.stdout.splitlines()[-2].endswith(f"/runs/{curate_run['runId']}")
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in (ui_run, terminal_run)]
    assert [run["dagster/partition"] for run in tags] == ["a", "a"]
