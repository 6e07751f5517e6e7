"""The lineage weights → images → tiles, with real pictures and a real checkpoint."""

import shutil
import subprocess
import sys

import pytest

from dino_assets.defs.file_links import SMALL, find_key
from dino_assets.defs.io_manager import CommittingIOManager
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.store.commits.catalogue import CATALOGUE, LINEAGE, PICTURES
from dino_assets.store.commits.listing import export_files, list_spaces
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.reading import open_table
from dino_assets_tests.defs.conftest import Lineage, checks, failure

# One photograph shows less ground than 20 tiles, and a smaller round has other metadata.
EVERY_TILE = {"all_windows": True}


def test_lineage__one_drop(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1"))
    result = lineage.run("flight-1", selections=EVERY_TILE)
    assert result.success
    # 1600×1200 at 512 px and a step of 256: 6 × 4 tiles (5.25 → 6 steps, 2.69 → 3 steps, plus one).
    assert lineage.metadata("tiles", "flight-1")["dagster/row_count"] == 3 * 6 * 4
    # These pictures have no GPS, so the check warns.
    failed_checks = [e.check_name for e in checks(result).values() if not e.passed]
    assert failed_checks == ["images_look_right"]
    assert len(checks(result)) == 10
    metadata = lineage.metadata("weights")
    assert metadata["family"] == "dinov3_vit"
    assert (metadata["architecture"]["dim"], metadata["architecture"]["registers"]) == (16, 4)


def test_lineage__metadata(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1", bad=1))
    lineage.run("flight-1")
    metadata = lineage.metadata("images", "flight-1")
    assert metadata["reasons"] == {"not-an-image": 1}
    for name in (
        "stored_mb",
        "seconds",
        "spent",
        "rows_per_s",
        "inputs",
        "config",
    ):
        assert name in metadata


def test_lineage__the_export_command_runs_as_printed(lineage: Lineage, card, tmp_path, monkeypatch):
    """From any folder, without an activated environment."""
    lineage.register("flight-1", card("flight-1", good=1))
    assert lineage.run("flight-1", only=["weights", "images"]).success
    command = str(lineage.metadata("images", "flight-1")["export"])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert (lineage.settings.root / "out" / "images" / "flight-1" / "report.html").is_file()


OUTPUTS = [
    (asset.name, "flight-1" if asset.per_drop else None)
    for asset in CATALOGUE
    if asset.name in LINEAGE
]
WHAT_CAME_OUT = {
    "weights": {
        "model", "revision", "licence", "family", "parameters", "weights_sha256", "architecture",
        "statistics", "files",
    },
    "images": {"dagster/row_count", "usable", "thermal", "quarantined"},
    "tiles": {"dagster/row_count", "images", "padded", "thermal_left_out", "rows_per_s"},
    "embeddings": {
        "dagster/row_count", "images", "engine", "shards", "numerics", "tiles_per_s",
            "ready_after_s", "forecast_s",
        "shards_were",
    },
    "projections": {"dagster/row_count", "method", "drops", "rows_per_s"},
    "selections": {
        "dagster/row_count", "pool", "paid_before", "n_clusters", "coverage_mean", "coverage_radius",
        "random_coverage", "receipt.json",
    },
}  # fmt: skip
LINKS = {
    "weights": ["config.json", "preprocessor_config.json"],
    "images": ["report.html", "findings.csv", "footprints.png"],
    "tiles": [],
    "embeddings": [],
    "projections": ["map.html", "map.png"],
    "selections": ["round-map.html", "contact-sheet.jpg", "round-map.png"],
}


def test_lineage__metadata_has_one_row_for_each_question(lineage: Lineage, card):
    """Pictures and results come first, the config comes last."""
    lineage.register("flight-1", card("flight-1"))
    assert lineage.run("flight-1", projections={"method": "linear"}, selections=EVERY_TILE).success
    for asset, drop in OUTPUTS:
        rows = list(lineage.metadata(asset, drop))
        assert rows[0] == "caveat" or asset in ("images", "tiles")
        shown_rows = rows[rows[0] == "caveat" :]
        pictures = ["pictures"] if asset in PICTURES else []
        first = [*pictures, *LINKS[asset]]
        assert shown_rows[: len(first)] == first
        last_rows = [
            "stored_mb",
            "dagster/uri",
            "config",
            "inputs",
            *(["preview"] if pictures else []),
        ]
        assert rows[-len(last_rows) :] == last_rows
        run_rows = {"seconds", "spent", "was_reused", "made_in_run"}
        other_rows = set(rows[: -len(last_rows)]) - {"caveat", "export", *first} - run_rows
        assert other_rows - {"rows_per_s", "findings", "beside"} == WHAT_CAME_OUT[asset] - {
            "rows_per_s"
        }
        assert len(rows) <= 23


def test_lineage__picture_and_links_in_the_ui(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1", good=1))
    assert lineage.run("flight-1", projections={"method": "linear"}, selections=EVERY_TILE).success
    metadata = lineage.metadata("projections")
    assert metadata["preview"].startswith("![preview](data:image/png;base64,")
    assert len(metadata["preview"]) < 45_000
    page = lineage.store.get(str(find_key(*metadata["map.html"].split("/")[2:])))
    assert page.startswith(b"<!doctype html>")
    metadata = lineage.metadata("selections")
    assert metadata["preview"].startswith("![preview](data:image/png;base64,")
    assert len(metadata["preview"]) < 45_000
    # The UI shows values up to this length, and longer ones behind a button.
    assert len(metadata["pictures"]) < 1000
    assert f"{metadata['contact-sheet.jpg']}{SMALL} " in metadata["pictures"]
    assert metadata["round-map.html"] in metadata["pictures"]
    assert not [name for name in metadata if name.startswith("tiles/")]
    folder = lineage.settings.root / "out"
    paths = list(export_files(lineage.store, "selections", "round-0001", folder=folder))
    assert len(list((folder / "tiles").iterdir())) == 20
    assert folder / "contact-sheet.jpg" in paths


def test_lineage__rerun_reuses_everything(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1"))
    lineage.run("flight-1")
    names = {asset: lineage.metadata(asset, drop).keys() for asset, drop in OUTPUTS}
    objects_before = {i.key: (i.bytes, i.modified) for i in lineage.store.list()}
    lineage.run("flight-1")
    for asset, drop in OUTPUTS:
        assert lineage.metadata(asset, drop)["was_reused"] is True
        assert lineage.metadata(asset, drop).keys() == names[asset]
    assert {i.key: (i.bytes, i.modified) for i in lineage.store.list()} == objects_before


def test_lineage__range_of_drops_in_one_run(lineage: Lineage, card):
    for name in ("a", "b", "c"):
        lineage.register(name, card(name, good=2))
    assert lineage.run("a", "b", "c").success
    assert open_table(lineage.store, "tiles").drops == ("a", "b", "c")


def test_lineage__one_bad_drop_among_three(lineage: Lineage, card):
    for name, good in (("a", 2), ("b", 0), ("c", 2)):
        lineage.register(name, card(name, good=good, bad=1))
    result = lineage.run("a", "b", "c")
    assert not result.success
    # The other drops are completed; then the run fails and names the stopped drop.
    assert "b: stopped by the check images_are_usable" in failure(
        result, "embeddings_embeddings_match_tiles"
    )
    assert open_table(lineage.store, "tiles").drops == ("a", "c")
    (space,) = list_spaces(lineage.store, "embeddings")
    assert open_table(lineage.store, "embeddings", space=space).drops == ("a", "c")
    stopped_checks = [
        e for e in result.get_asset_check_evaluations() if not e.passed and e.partition == "b"
    ]
    assert {(e.check_name, e.severity.value) for e in stopped_checks} == {
        ("images_are_usable", "ERROR")
    }
    # The outputs of the other drops are judged as well.
    for check in ("tiles_cover_images", "embeddings_match_tiles"):
        evaluations = [e for e in result.get_asset_check_evaluations() if e.check_name == check]
        assert {e.partition: e.passed for e in evaluations} == {"a": True, "c": True}
    # With corrected files the run completes; finished outputs are not made again.
    card("b", good=2)
    (lineage.settings.root / "inbox" / "b" / "BAD_0.JPG").unlink()
    assert lineage.run("a", "b", "c").success
    assert lineage.metadata("tiles", "a")["was_reused"] is True
    assert lineage.metadata("tiles", "b")["was_reused"] is False


def test_lineage__unusable_drop_stops_at_the_check(lineage: Lineage, card):
    lineage.register("bad", card("bad", good=0, bad=1))
    result = lineage.run("bad")
    assert not result.success
    check = checks(result)["images_are_usable"]
    assert not check.passed
    assert check.severity.value == "ERROR"
    (row,) = check.metadata["quarantined"].records
    assert row.data["path"] == "BAD_0.JPG"
    assert row.data["reason"] == "not-an-image"
    # Nothing is lost: the rows with their reasons are there to be read.
    assert open_table(lineage.store, "images").rows == 1
    assert open_table(lineage.store, "tiles").rows == 0


def test_lineage__one_bad_file_only_warns(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1", good=3, bad=1))
    result = lineage.run("flight-1")
    assert result.success
    check = checks(result)["images_are_usable"]
    assert (check.passed, check.severity.value) == (False, "WARN")
    assert "3 of 4 files are usable photographs, 1 quarantined" in check.description


def test_images__partition_key_added_by_hand(lineage: Lineage, card):
    card("typed-in-the-ui")
    lineage.instance.add_dynamic_partitions("drops", ["typed-in-the-ui", "nowhere"])
    assert lineage.run("typed-in-the-ui").success
    result = lineage.run("nowhere")
    assert "no drop 'nowhere' is registered" in failure(result, "images")


def test_tiles__the_grid_is_configurable(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1", good=1))
    assert lineage.run("flight-1", tiles={"tile_px": 256, "overlap": 0.0}).success
    assert lineage.metadata("tiles", "flight-1")["dagster/row_count"] == 7 * 5
    result = lineage.run("flight-1", tiles={"tile_px": 518})
    assert (
        "tile_px=518 is not a positive multiple of the model's patch (16 px): use 512 or 528"
        in (failure(result, "tiles"))
    )


def test_weights__default_without_a_network_names_both_solutions(lineage: Lineage, monkeypatch):
    monkeypatch.delenv("DINO_MODEL_ID")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = Lineage(lineage.instance)
    result = offline.run(only=["weights"])
    message = failure(result, "weights")
    assert "'facebook/dinov2-base' is neither a directory on this machine" in message
    assert "HF_ENDPOINT" in message
    assert "DINO_MODEL_ID" in message


def test_weights__stored_copy_without_the_source(
    lineage: Lineage, checkpoint_dir, tmp_path, monkeypatch
):
    folder = shutil.copytree(checkpoint_dir, tmp_path / "mine")
    monkeypatch.setenv("DINO_MODEL_ID", str(folder))
    new_lineage = Lineage(lineage.instance)
    assert new_lineage.run(only=["weights"]).success
    shutil.rmtree(folder)
    assert new_lineage.run(only=["weights"]).success
    assert new_lineage.metadata("weights")["was_reused"] is True
    # Not for another model, and not with an incomplete copy.
    monkeypatch.setenv("DINO_MODEL_ID", "./another")
    assert "no checkpoint directory './another'" in failure(
        Lineage(new_lineage.instance).run(only=["weights"]), "weights"
    )
    new_lineage.store.delete(read_manifest(new_lineage.store, OutputId("weights")).parts[0].key)
    assert "cannot be fetched, and its copy in the store" in failure(
        new_lineage.run(only=["weights"]), "weights"
    )


def test_lineage__empty_mount_does_not_replace_committed_images(lineage: Lineage, card):
    folder = card("flight-1", good=1)
    lineage.register("flight-1", folder)
    assert lineage.run("flight-1", only=["weights", "images", "tiles"]).success
    shutil.rmtree(folder / "100MEDIA")
    result = lineage.run("flight-1", only=["images"])
    assert "CommitRefusedError" in failure(result, "images")
    assert open_table(lineage.store, "images").rows == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="has mps")
def test_compute__a_device_that_is_not_here(lineage: Lineage, card, monkeypatch):
    lineage.register("flight-1", card("flight-1"))
    monkeypatch.setenv("DINO_DEVICE", "mps")
    result = Lineage(lineage.instance).run("flight-1")
    assert "device 'mps' was asked for, but PyTorch finds" in failure(result, "embeddings")


def test_storage__another_store_gets_all_results(lineage: Lineage, card, tmp_path):
    """With another store, nothing is written to the old one."""
    lineage.register("flight-1", card("flight-1"))
    other_storage = StorageResource(url=str(tmp_path / "elsewhere"))
    result = lineage.run(
        "flight-1",
        resources={
            "storage": other_storage,
            "io_manager": CommittingIOManager(storage=other_storage),
        },
    )
    # The drop was registered in the first store; its folder is still in the inbox.
    assert result.success
    assert read_manifest(other_storage.open(), OutputId("tiles", "flight-1")).rows == 72
    assert {i.key for i in lineage.store.list()} - {
        i.key for i in lineage.store.list("indexes")
    } == {"drops/flight-1.json"}


def test_storage__s3_gives_the_same_rows_as_disk(lineage: Lineage, card, s3_endpoint, monkeypatch):
    lineage.register("flight-1", card("flight-1", bad=1))
    assert lineage.run("flight-1").success
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("MINIO_ACCESS_KEY", "an-access-key")
    monkeypatch.setenv("MINIO_SECRET_KEY", "a-secret-key")
    monkeypatch.setenv("EMBED_BUCKET", "same-rows")
    remote = Lineage(lineage.instance)
    from dino_assets.store.buckets import create_bucket

    create_bucket(remote.settings.storage)
    remote.register("flight-1", lineage.settings.root / "inbox" / "flight-1")
    assert remote.run("flight-1").success
    for asset in ("weights", "images", "tiles"):
        drop = None if asset == "weights" else "flight-1"
        local_manifest, s3_manifest = (
            read_manifest(lin.store, OutputId(asset, drop)) for lin in (lineage, remote)
        )
        assert local_manifest == s3_manifest
    assert remote.store.url == "minio://same-rows"
