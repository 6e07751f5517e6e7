"""Dagster's definitions, and the modules that loading them imports."""

import subprocess
import sys
import tomllib

import dagster as dg
import yaml

from dino_assets.definitions import make_definitions
from dino_assets.settings.environment import load_settings
from dino_assets_tests.conftest import REPOSITORY

HEAVY = (
    "torch",
    "transformers",
    "umap",
    "sklearn",
    "pandas",
    "fastapi",
    "boto3",
    "huggingface_hub",
    "rasterio",
    "pyogrio",
    "rawpy",
    "pillow_heif",
)

ASSETS = {
    # key: (group, kinds, owners, code version, partitions, upstream)
    "weights": ("ingest", {"huggingface", "safetensors"}, ["team:vision"], "3", None, set()),
    "inbox": ("ingest", set(), [], None, "drops", set()),
    "images": ("ingest", {"parquet"}, ["team:imagery"], "7", "drops", {"inbox"}),
    "tiles": ("ingest", {"parquet"}, ["team:imagery"], "2", "drops", {"images", "weights"}),
    "embeddings": (
        "ingest",
        {"pytorch", "openvino", "parquet"},
        ["team:vision"],
        "3",
        "drops",
        {"tiles", "weights"},
    ),
    "projections": (
        "curate",
        {"umap", "parquet"},
        ["team:vision"],
        "4",
        None,
        {"embeddings", "tiles", "weights"},
    ),
    "selections": (
        "curate",
        {"python", "parquet"},
        ["team:imagery"],
        "9",
        None,
        {"embeddings", "projections", "tiles", "weights"},
    ),
    "labels": ("learn", {"parquet"}, ["team:imagery"], "1", None, {"selections"}),
    "probes": (
        "learn",
        {"scikitlearn", "safetensors", "parquet"},
        ["team:vision"],
        "1",
        None,
        {"embeddings", "labels", "tiles", "weights"},
    ),
    "learning_curve": (
        "learn",
        {"parquet"},
        ["team:vision"],
        "1",
        None,
        {"embeddings", "images", "labels", "tiles", "weights"},
    ),
    "heat_maps": (
        "learn",
        {"geotiff", "parquet"},
        ["team:imagery"],
        "2",
        None,
        {"embeddings", "images", "labels", "probes", "tiles", "weights"},
    ),
    "label_exports": (
        "learn",
        {"parquet"},
        ["team:imagery"],
        "1",
        None,
        {"labels", "probes", "selections", "weights"},
    ),
    "label_versions": (
        "learn",
        {"parquet", "huggingface"},
        ["team:imagery"],
        "1",
        None,
        {"labels"},
    ),
    "deployments": ("deploy", {"onnx"}, ["team:vision"], "1", None, {"weights"}),
}
CHECKS = {
    ("inbox", "flights_are_recent"),
    ("weights", "weights_are_whole"),
    ("images", "images_are_usable"),
    ("images", "images_are_complete"),
    ("images", "images_look_right"),
    ("tiles", "tiles_cover_images"),
    ("embeddings", "embeddings_match_tiles"),
    ("embeddings", "embeddings_are_familiar"),
    ("projections", "projections_are_complete"),
    ("projections", "map_is_current"),
    ("selections", "selections_are_sound"),
    ("labels", "labels_are_agreed"),
    ("label_exports", "exports_read_back"),
    ("label_versions", "versions_are_whole"),
    ("probes", "probes_are_sound"),
    ("learning_curve", "strategy_beats_random"),
    ("deployments", "deployments_are_whole"),
}


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_assets__snapshot(project):
    graph = make_definitions(load_settings()).resolve_asset_graph()
    nodes = {}
    for node in graph.asset_nodes:
        partitions = node.partitions_def.name if node.partitions_def else None
        upstream = {key.to_user_string() for key in node.parent_keys}
        nodes[node.key.to_user_string()] = (
            node.group_name,
            set(node.kinds),
            list(node.owners),
            node.code_version,
            partitions,
            upstream,
        )
        assert node.description.endswith(".")
        # Observable assets have no config.
        policy = dg.BackfillPolicy.single_run() if node.is_materializable else None
        assert node.backfill_policy == policy
    assert nodes == ASSETS


def test_checks__snapshot(project):
    graph = make_definitions(load_settings()).resolve_asset_graph()
    assert {(k.asset_key.to_user_string(), k.name) for k in graph.asset_check_keys} == CHECKS
    # It never blocks: only a person can judge its findings.
    free_checks = {k.name for k in graph.asset_check_keys if not graph.get_check_spec(k).blocking}
    assert free_checks == {
        "flights_are_recent",
        "images_look_right",
        "embeddings_are_familiar",
        "map_is_current",
        "labels_are_agreed",
        "strategy_beats_random",
    }


def test_automation__snapshot(project):
    defs = make_definitions(load_settings())
    definitions = defs.get_repository_def()
    jobs = {s.name: s.job_name for s in definitions.sensor_defs if s.has_jobs}
    assert jobs == {"new_drops": "ingest"}
    assert {s.name: (s.job_name, s.cron_schedule, s.execution_timezone) for s in definitions.schedule_defs} == {
        "nightly_curate": ("curate", "0 3 * * *", "UTC"),
        "daily_look": ("observe_inbox", "0 5 * * *", "UTC"),
    }  # fmt: skip
    assert {s.name for s in definitions.sensor_defs} == {"new_drops", "new_map", "failed_runs"}
    # Nothing starts before it is turned on, except maps of existing embeddings.
    on_status = dg.DefaultSensorStatus.RUNNING
    assert [s.name for s in definitions.sensor_defs if s.default_status == on_status] == ["new_map"]
    assert {schedule.default_status for schedule in definitions.schedule_defs} == {
        dg.DefaultScheduleStatus.STOPPED
    }
    assert all(
        a.description.endswith(".") for a in (*definitions.sensor_defs, *definitions.schedule_defs)
    )


def test_config__every_field_is_described(project):
    defs = make_definitions(load_settings())
    for name, resource in defs.resources.items():
        for field_name, field in type(resource).model_fields.items():
            if isinstance(getattr(resource, field_name), dg.ConfigurableResource):
                continue
            assert field.description, f"{name}.{field_name}"
    for asset in defs.assets:
        fields = getattr(asset.op.config_schema.config_type, "fields", {})
        for field_name, field in fields.items():
            assert field.description, f"{asset.key}.{field_name}"


def test_import__package_is_light():
    modules = python("import sys, dino_assets; print(*sys.modules)").split()
    assert not {"dagster", *HEAVY} & set(modules)


def test_import__definitions_load_nothing_heavy(project):
    # Dagster's loader reads every name of the module.
    members = "import inspect, sys, dino_assets; inspect.getmembers(dino_assets)"
    modules = python(f"{members}; print(*sys.modules)").split()
    assert "dagster" in modules
    assert not set(HEAVY) & set(modules)


def test_getattr__unknown_name():
    import dino_assets

    assert "lineage" in dir(dino_assets)
    assert not hasattr(dino_assets, "no_such_name")


def test_files__agree_on_one_module():
    workspace = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())
    assert [e["python_module"]["module_name"] for e in workspace["load_from"]] == ["dino_assets"]
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    # `dagster dev` reads this block before workspace.yaml: one name, or sensors lose their state.
    assert pyproject["tool"]["dg"]["project"] == {
        "root_module": "dino_assets",
        "code_location_target_module": "dino_assets",
        "code_location_name": "dino_assets",
    }
    assert "dagster" not in pyproject["tool"]


def test_instance__sends_nothing_and_stays_in_the_folder():
    instance = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    assert instance["telemetry"] == {"enabled": False}
    assert instance["run_monitoring"]["enabled"] is True
    assert instance["run_retries"]["enabled"] is True
    assert "pools" not in instance["concurrency"]  # a killed holder would block later CLI runs
    folders = [
        instance["storage"]["sqlite"]["base_dir"],
        instance["local_artifact_storage"]["config"]["base_dir"],
        instance["compute_logs"]["config"]["base_dir"],
    ]
    assert all(folder.startswith(".dagster/") for folder in folders)
