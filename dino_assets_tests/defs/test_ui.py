"""`dino-assets ui`, used through GraphQL, with storage on a real S3 server."""

import hashlib
import json
import time
import urllib.request
from pathlib import Path

import pytest

from dino_assets.definitions import ALL_CHECKS
from dino_assets.settings.environment import load_settings
from dino_assets.store.buckets import create_bucket
from dino_assets.store.commits.catalogue import ASSETS, PER_DROP, assets_of_job
from dino_assets.store.commits.manifests import find_manifest, read_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.objects import open_store
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.worlds.ui import LINEAR, Ui, serving_ui

SECRET = "planted-secret-8c1f"
STATE_QUERY = """{
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
      ... on TextMetadataEntry { text } ... on JsonMetadataEntry { jsonString }
      ... on UrlMetadataEntry { url } } }
    assetChecksOrError { ... on AssetChecks { checks { name
      executionForLatestMaterialization { status } } } } }
  runsOrError { ... on Runs { results { runId status runConfigYaml tags { key value }
    eventConnection { events { ... on MessageEvent { message } } } } } }
}"""

STALE = """query($keys: [AssetKeyInput!], $drops: [String!]) { assetNodes(assetKeys: $keys) { assetKey { path }
  staleStatusByPartition(partitions: $drops) } }"""

pytestmark = pytest.mark.usefixtures("ready_engines")

# Runs of other jobs, such as the map that follows, may begin at any moment.
INGEST_RUNS = (
    '{ runsOrError(filter: {pipelineName: "ingest"}) { ... on Runs { results { runId } } } }'
)


def stale_in(ui: Ui, drop: str) -> set[str]:
    """List the assets that the UI shows as out of date for a drop."""
    keys = [{"path": [asset.name]} for asset in PER_DROP]
    nodes = ui.ask(STALE, keys=keys, drops=[drop])["assetNodes"]
    return {n["assetKey"]["path"][0] for n in nodes if "STALE" in n["staleStatusByPartition"]}


def wait_until_judged(ui: Ui) -> dict:
    """Wait until no check runs: new embeddings request a map, whose run judges some assets again."""
    ends_s = time.monotonic() + 180
    while True:
        state = ui.ask(STATE_QUERY)
        checks = [
            check["executionForLatestMaterialization"]
            for node in state["assetNodes"]
            for check in node["assetChecksOrError"]["checks"]
        ]
        if not any(check and check["status"] == "IN_PROGRESS" for check in checks):
            return state
        assert time.monotonic() < ends_s, checks
        time.sleep(0.5)


@pytest.fixture
def ui(project: Path, s3_endpoint: str, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("MINIO_ACCESS_KEY", "an-access-key")
    monkeypatch.setenv("MINIO_SECRET_KEY", SECRET)
    monkeypatch.setenv("EMBED_BUCKET", "ui-test")
    create_bucket(load_settings().storage)
    log = tmp_path / "ui.log"
    with serving_ui(project, log) as server:
        yield server
    assert SECRET not in log.read_text()


@pytest.mark.slow
def test_ui__registers_and_materialises_without_showing_secrets(ui: Ui, project: Path, write_photo):
    write_photo(project / "card" / "DJI_0001.JPG", 1600, 1200)
    config = {"name": "flight-1", "source": str(project / "card")}
    run_config = {"ops": {"register_named_drop": {"config": config}}}
    assert ui.launch_job("register_drop", config=run_config) == "SUCCESS"
    keys = [{"path": [name]} for name in ASSETS]  # as the button "Materialize all" does
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
    state = wait_until_judged(ui)
    tiles = next(n for n in state["assetNodes"] if n["assetKey"]["path"] == ["tiles"])
    assert [m["partition"] for m in tiles["assetMaterializations"]] == ["flight-1"]

    statuses = {
        check["name"]: check["executionForLatestMaterialization"]["status"]
        for node in state["assetNodes"]
        if node["assetKey"]["path"][0]
        not in ("deployments", *assets_of_job("learn"))  # not made by such a run
        for check in node["assetChecksOrError"]["checks"]
    }
    # Two warnings: these pictures have no GPS, and show too little ground for the budget.
    warned = dict.fromkeys(["images_look_right", "selections_are_sound"], "FAILED")
    expected = {check["name"]: "SUCCEEDED" for check in checks} | warned
    made_elsewhere = ("labels_are_agreed", "probes_are_sound", "strategy_beats_random")
    for name in (
        "deployments_are_whole",
        *made_elsewhere,
        "exports_read_back",
        "versions_are_whole",
    ):
        del expected[name]
    assert statuses == expected

    resources = {r["name"]: r for r in state["allTopLevelResourceDetailsOrError"]["results"]}
    assert {"storage", "compute", "hub", "inbox", "io_manager"} <= set(resources)
    undescribed = [
        (name, field["name"])
        for name in ("storage", "compute", "hub", "inbox")
        for field in resources[name]["configFields"]
        if not field["description"] and field["name"] != "s3"
    ]
    assert undescribed == []

    links = [
        entry["url"]
        for node in state["assetNodes"]
        for materialization in node["assetMaterializations"]
        for entry in materialization["metadataEntries"]
        if "url" in entry
    ]
    assert {link.rpartition("/")[2] for link in links} >= {
        "report.html", "map.html", "round-map.html", "contact-sheet.jpg"
    }  # fmt: skip
    for link in links:
        with urllib.request.urlopen(ui.url + link, timeout=30) as answer:
            assert answer.headers["Content-Security-Policy"].startswith("sandbox ")
            assert hashlib.sha256(answer.read()).hexdigest() in link

    assert stale_in(ui, "flight-1") == set()
    write_photo(project / "card" / "DJI_0001.JPG", 1600, 1200, seed=7)
    selection = {"assetSelection": [{"path": ["images"]}], "assetCheckSelection": []}
    tags = [{"key": "dagster/partition", "value": "flight-1"}]
    assert (
        ui.launch("__ASSET_JOB", selector=selection, executionMetadata={"tags": tags}) == "SUCCESS"
    )
    assert stale_in(ui, "flight-1") == {"tiles"}

    text = json.dumps(state)
    assert "MINIO_SECRET_KEY" in text  # the variable's name is what the UI shows
    assert SECRET not in text
    # Nor in what the instance keeps: event logs, compute logs, run storage.
    for path in (project / ".dagster").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_ui__a_cancelled_run_leaves_a_consistent_store(ui: Ui, project: Path, write_photo):
    """After a cancelled `embeddings`, finished shards are kept and intact, and the next run reuses them."""
    for number in range(24):
        write_photo(project / "card" / f"DJI_{number:04d}.JPG", 2000, 1600, seed=number)
    config = {"name": "flight-2", "source": str(project / "card")}
    run_config = {"ops": {"register_named_drop": {"config": config}}}
    assert ui.launch_job("register_drop", config=run_config) == "SUCCESS"
    ingest = {
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "flight-2"}]},
        "runConfigData": json.dumps({"ops": {"embeddings": {"config": {"shard_tiles": 1}}}}),
    }
    run = ui.start("ingest", **ingest)
    store = open_store(load_settings().storage)

    def receipts() -> set[str]:
        return {info.key for info in store.list("receipts") if "/flight-2/" in info.key}

    deadline = time.monotonic() + 120
    while len(receipts()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ui.cancel(run)
    assert ui.wait(run) == "CANCELED", ui.log(run)
    first_receipts = receipts()
    assert 2 <= len(first_receipts) < 24
    space = next(iter(first_receipts)).split("/")[2]
    output = OutputId("embeddings", "flight-2", space)
    assert find_manifest(store, output) is None
    assert list(verify(store)) == []
    assert ui.launch("ingest", **ingest) == "SUCCESS"
    assert list(verify(store)) == []
    assert read_manifest(store, output).facts["shards"] == 24
    second_run = next(iter(ui.ask(INGEST_RUNS)["runsOrError"]["results"]))
    assert f"shard 24 of 24, {len(first_receipts)} reused" in ui.log(second_run["runId"])
