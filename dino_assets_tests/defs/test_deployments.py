"""The asset ``deployments``: made on request, reused, checked."""

import json
import subprocess
import sys

import dagster as dg
import pytest

from dino_assets.cli import main
from dino_assets.defs.file_links import find_key
from dino_assets.store.commits.listing import find_outputs
from dino_assets_tests.defs.conftest import Lineage, checks, failure
from dino_assets_tests.worlds.exported import draw_planes, run_onnxruntime

SMALL = {"side": 64}

pytestmark = pytest.mark.usefixtures("ready_engines")


def deploy(lineage: Lineage, **config: object) -> dg.ExecuteInProcessResult:
    return lineage.run(only=["weights", "deployments"], deployments={**SMALL, **config})


def test_deployments__metadata(lineage: Lineage, tmp_path, capsys):
    result = deploy(lineage)
    assert result.success
    assert checks(result)["deployments_are_whole"].passed
    metadata = lineage.metadata("deployments")
    assert (metadata["side_px"], metadata["opset"], metadata["output_shape"]) == (
        64,
        20,
        ["batch", 21, 16],
    )
    assert set(metadata["file_mb"]) >= {"model.onnx", "model.onnx.data", "config.json"}
    assert metadata["check"]["largest_difference"] <= 1e-4
    assert metadata["caveat"].startswith("random weights")
    manifest_data = lineage.store.get(str(find_key(*metadata["manifest.json"].split("/")[2:])))
    assert json.loads(manifest_data)["side_px"] == 64

    assert main(["export", "deployments", "--to", str(tmp_path / "out")]) == 0
    graph = tmp_path / "out" / "model.onnx"
    assert str(graph) in capsys.readouterr().out.splitlines()
    assert run_onnxruntime(graph, draw_planes(3, 64)).shape == (3, 21, 16)


def test_deployments__one_per_side_and_reused(lineage: Lineage):
    assert deploy(lineage).success
    assert deploy(lineage).success
    assert lineage.metadata("deployments")["was_reused"] is True
    assert deploy(lineage, side=32, include_preprocessing=True).success
    assert lineage.metadata("deployments")["was_reused"] is False
    manifests = find_outputs(lineage.store, "deployments")
    assert sorted(each.recipe.config["side"] for each in manifests) == [32, 64]


def test_deployments__refused_settings_are_named(lineage: Lineage):
    result = deploy(lineage, opset=14)
    assert not result.success
    assert "ConfigError" in failure(result, "deployments")


def test_deployments__a_changed_graph_fails_the_check(lineage: Lineage):
    assert deploy(lineage).success
    (manifest,) = find_outputs(lineage.store, "deployments")
    (part,) = [each for each in manifest.parts if each.name == "model.onnx.data"]
    lineage.store.put(part.key, bytes(part.bytes))
    result = deploy(lineage)
    assert not checks(result)["deployments_are_whole"].passed


def test_deployments__not_made_in_a_run_of_the_lineage(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1", good=1))
    result = lineage.run("flight-1", projections={"method": "linear"})
    assert result.success
    assert not list(lineage.store.list("manifests/deployments"))
    assert list(lineage.store.list("manifests/selections"))
    assert "deployments_are_whole" not in checks(result)


@pytest.mark.slow
def test_deployments__made_by_dagster_asset_materialize(project):
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "dino_assets"]
    config = json.dumps({"ops": {"deployments": {"config": SMALL}}})
    process = subprocess.run(
        [*command, "--select", "weights,deployments", "--config-json", config],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert (project / "data" / "manifests" / "deployments").is_dir()
