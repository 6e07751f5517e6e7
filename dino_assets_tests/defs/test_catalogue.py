"""The catalogue of assets agrees with Dagster's definitions and with the store."""

import dagster as dg

from dino_assets.definitions import defs
from dino_assets.store.commits.catalogue import (
    ASSETS,
    CATALOGUE,
    LINEAGE,
    RECORDS,
    assets_of_job,
)


def test_catalogue__is_what_dagster_has():
    graph = defs.resolve_asset_graph()
    names = {key.to_user_string() for key in graph.materializable_asset_keys}
    assert names == set(ASSETS)
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {*names, "inbox"}
    for asset in CATALOGUE:
        node = graph.get(dg.AssetKey(asset.name))
        assert node.is_partitioned == asset.per_drop
        parents = {key.to_user_string() for key in node.parent_keys}
        if asset.per_drop and asset.made_from != "source":
            assert asset.made_from in parents


def test_catalogue__jobs():
    for job in ("ingest", "curate", "learn", "deploy"):
        keys = defs.resolve_job_def(job).asset_layer.executable_asset_keys
        assert {key.to_user_string() for key in keys} == set(assets_of_job(job))
    lineage_keys = defs.resolve_job_def("lineage").asset_layer.executable_asset_keys
    assert {key.to_user_string() for key in lineage_keys} == set(LINEAGE)
    assert set(ASSETS) == {*LINEAGE, *assets_of_job("learn"), "deployments"}


def test_catalogue__records_are_rounds_and_labels_versions():
    assert {"selections", "label_versions"} == RECORDS
