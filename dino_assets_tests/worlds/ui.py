"""A real `dino-assets ui` on loopback, asked through its GraphQL as the browser asks it."""

import contextlib
import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml

from dino_assets_tests.worlds.servers import HOST, free_port, running

LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "dino_assets"}

# UMAP's compile time is not the point here.
LINEAR = {"ops": {"projections": {"config": {"method": "linear"}}}}

LAUNCH = """mutation($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
EVENTS = """query($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection { events {
  ... on MessageEvent { message } ... on ExecutionStepFailureEvent { error { message
    causes: errorChain { error { message } } } } ... on RunFailureEvent { error { message } } } } } } }"""


class Ui:
    """A running UI, asked as the browser asks it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}"

    def ask(self, query: str, **variables: object) -> dict:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            document = json.load(answer)
        assert "errors" not in document, document
        return document["data"]

    def log(self, run: str) -> str:
        """What a run said, for a failing test's output."""
        events = self.ask(EVENTS, id=run)["runOrError"]["eventConnection"]["events"]
        return "\n".join(
            f"{event.get('message')} {event.get('error') or ''}"[:2000] for event in events
        )

    def start(self, job: str, **params: object) -> str:
        """Launch a run and give its id."""
        selector = {**LOCATION, "pipelineName": job, **dict(params.pop("selector", {}))}
        params = {"selector": selector, "mode": "default", **params}
        launch = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launch["__typename"] == "LaunchRunSuccess", launch
        return launch["run"]["runId"]

    def wait(self, run: str) -> str:
        """Wait for a run's end, and tell how it ended."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            status = self.ask(STATUS, id=run)["runOrError"]["status"]
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                return status
            time.sleep(0.5)
        raise AssertionError(f"the run did not end\n{self.log(run)}")

    def launch(self, job: str, **params: object) -> str:
        """Launch a run, wait for its end, and tell SUCCESS, or what it said."""
        run = self.start(job, **params)
        status = self.wait(run)
        return status if status == "SUCCESS" else self.log(run)

    def cancel(self, run: str) -> None:
        """Terminate a run as the button does."""
        termination = self.ask(TERMINATE, id=run)["terminateRun"]
        assert termination["__typename"] == "TerminateRunSuccess", termination

    def launch_job(self, job: str, *, drop: str | None = None, config: dict | None = None) -> str:
        """Launch a named job, as the launchpad does: for one drop if one is named."""
        tags = [{"key": "dagster/partition", "value": drop}] if drop else []
        return self.launch(
            job, runConfigData=json.dumps(config or {}), executionMetadata={"tags": tags}
        )


@contextlib.contextmanager
def serving_ui(project: Path, log: Path) -> Iterator[Ui]:
    """The UI of a project folder, with this process' environment."""
    port = free_port()
    command = [sys.executable, "-m", "dino_assets.cli", "ui", "--port", str(port)]
    with running(
        command,
        url=f"http://{HOST}:{port}/server_info",
        log=log,
        env=dict(os.environ),
        cwd=project,
        patience_s=30,  # it ends its children, who are no group of ours
    ):
        yield Ui(port)


def hurry(project: Path) -> None:
    """The committed instance, but a dead run is looked for every second."""
    config = yaml.safe_load((project / "dagster.yaml").read_text())
    config["run_monitoring"]["poll_interval_seconds"] = 1
    (project / "dagster.yaml").write_text(yaml.safe_dump(config))
