"""The UI's way: `dino-assets ui`, everything through its GraphQL, storage on a real S3 server."""

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from dino_assets.checks import ALL_CHECKS
from dino_assets.settings import load_settings
from dino_assets.stages.states import ASSETS
from dino_assets.store.objects import create_bucket
from dino_assets_tests.servers import HOST, free_port, running

SECRET = "planted-secret-8c1f"
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
EVENTS = """query($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection { events {
  ... on MessageEvent { message } ... on ExecutionStepFailureEvent { error { message
    causes: errorChain { error { message } } } } ... on RunFailureEvent { error { message } } } } } } }"""
EVERYTHING = """{
  workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
    __typename ... on PythonError { message stack } } } } }
  allTopLevelResourceDetailsOrError(repositorySelector: {
    repositoryName: "__repository__", repositoryLocationName: "dino_assets"}) {
    ... on ResourceDetailsList { results { name description resourceType
      configuredValues { key value type }
      configFields { name description configTypeKey defaultValueAsJson }
      nestedResources { name resource { name configuredValues { key value type } } } } } }
  assetNodes { assetKey { path } description metadataEntries { label description }
    assetMaterializations { partition metadataEntries { label description
      ... on TextMetadataEntry { text } ... on JsonMetadataEntry { jsonString } } }
    assetChecksOrError { ... on AssetChecks { checks { name
      executionForLatestMaterialization { status } } } } }
  runsOrError { ... on Runs { results { runId status runConfigYaml tags { key value }
    eventConnection { events { ... on MessageEvent { message } } } } } }
}"""


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
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def log(self, run: str) -> str:
        """What a run said, for a failing test's output."""
        found = self.ask(EVENTS, id=run)["runOrError"]["eventConnection"]["events"]
        return "\n".join(
            f"{event.get('message')} {event.get('error') or ''}"[:2000] for event in found
        )

    def launch(self, job: str, **params: object) -> str:
        """Launch a run, wait for its end, and tell how it ended."""
        selector = {**LOCATION, "pipelineName": job, **dict(params.pop("selector", {}))}
        params = {"selector": selector, "mode": "default", **params}
        launched = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            status = self.ask(STATUS, id=launched["run"]["runId"])["runOrError"]["status"]
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                return status if status == "SUCCESS" else self.log(launched["run"]["runId"])
            time.sleep(0.5)
        raise AssertionError("the run did not end")


@pytest.fixture
def ui(project: Path, s3_endpoint: str, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("MINIO_ACCESS_KEY", "an-access-key")
    monkeypatch.setenv("MINIO_SECRET_KEY", SECRET)
    monkeypatch.setenv("EMBED_BUCKET", "ui-test")
    create_bucket(load_settings().storage)
    port = free_port()
    command = [sys.executable, "-m", "dino_assets.cli", "ui", "--port", str(port)]
    log = tmp_path / "ui.log"
    with running(
        command, url=f"http://{HOST}:{port}/server_info", log=log, env=dict(os.environ), cwd=project
    ):
        yield Ui(port)
    assert SECRET not in log.read_text()


@pytest.mark.slow
def test_ui__registers_and_materialises_and_tells_no_secret(ui: Ui, project: Path, write_photo):
    write_photo(project / "card" / "DJI_0001.JPG", 1600, 1200)
    config = {"name": "flight-1", "source": str(project / "card")}
    assert (
        ui.launch(
            "register_drop",
            runConfigData=json.dumps({"ops": {"register_named_drop": {"config": config}}}),
        )
        == "SUCCESS"
    )
    keys = [{"path": [name]} for name in ASSETS]
    checks = [
        {"assetKey": {"path": [check.asset_key.to_user_string()]}, "name": check.name}
        for definition in ALL_CHECKS
        for check in definition.check_keys
    ]
    assert (
        ui.launch(
            "__ASSET_JOB",
            selector={"assetSelection": keys, "assetCheckSelection": checks},
            runConfigData=json.dumps(LINEAR),
            executionMetadata={"tags": [{"key": "dagster/partition", "value": "flight-1"}]},
        )
        == "SUCCESS"
    )
    seen = ui.ask(EVERYTHING)
    tiles = next(n for n in seen["assetNodes"] if n["assetKey"]["path"] == ["tiles"])
    assert [m["partition"] for m in tiles["assetMaterializations"]] == ["flight-1"]

    ended = {
        check["name"]: check["executionForLatestMaterialization"]["status"]
        for node in seen["assetNodes"]
        for check in node["assetChecksOrError"]["checks"]
    }
    assert ended == {check["name"]: "SUCCEEDED" for check in checks}

    resources = {r["name"]: r for r in seen["allTopLevelResourceDetailsOrError"]["results"]}
    assert {"storage", "compute", "hub", "inbox", "io_manager"} <= set(resources)
    undescribed = [
        (name, field["name"])
        for name in ("storage", "compute", "hub", "inbox")
        for field in resources[name]["configFields"]
        if not field["description"] and field["name"] != "s3"
    ]
    assert undescribed == []

    told = json.dumps(seen)
    assert "MINIO_SECRET_KEY" in told  # the variable's name is what the UI shows
    assert SECRET not in told
    # Nor in what the instance keeps: event logs, compute logs, run storage.
    for path in (project / ".dagster").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
