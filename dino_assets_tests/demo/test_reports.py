"""Counts of finished work, read from the manifests."""

import pyarrow as pa

from dino_assets.demo.reports import report_drops
from dino_assets.images.stage.judging import BadFile
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.outputs import pushing


def make(store: ObjectStore, asset: str, name: str, rows: list[dict], **facts) -> None:
    space = "s" if asset in ("embeddings", "selections") else None
    batch = pa.RecordBatch.from_pylist(rows)

    def produce():
        yield batch
        yield facts

    commit(
        store,
        Draft(Recipe(OutputId(asset, name, space), "1", {}, {}), pushing(produce), batch.schema),
    )


def test_report_drops__missing_outputs_count_zero():
    store = ObjectStore.in_memory()
    (empty_report,) = report_drops(store, ["a"], space="s", round_name="round-0001")
    assert (
        empty_report.images,
        empty_report.tiles,
        empty_report.embeddings,
        empty_report.selected,
    ) == (0, 0, 0, 0)
    assert empty_report.bad_files == ()
    bad_row = {"drop": "a", "path": "x.JPG", "reason": "truncated", "detail": "7 bytes short"}
    good_row = {"drop": "a", "path": "y.JPG", "reason": None, "detail": None}
    make(
        store,
        "images",
        "a",
        [{**bad_row, "is_usable": False}, {**good_row, "is_usable": True}],
        usable=1,
        quarantined=1,
    )
    make(store, "tiles", "a", [{"n": 1}, {"n": 2}, {"n": 3}])
    make(store, "embeddings", "a", [{"n": 1}, {"n": 2}])
    make(store, "embeddings", "b", [{"n": 1}])
    make(store, "selections", "round-0001", [{"drop": "a"}, {"drop": "b"}, {"drop": "a"}])
    first, second = report_drops(store, ["b", "a"], space="s", round_name="round-0001")
    assert (first.drop, first.images, first.tiles) == ("a", 1, 3)
    assert (first.embeddings, first.selected) == (2, 2)
    assert first.bad_files == (BadFile("a", "x.JPG", "truncated", "7 bytes short"),)
    assert (second.drop, second.images, second.embeddings, second.selected) == ("b", 0, 1, 1)
    (other_report,) = report_drops(store, ["a"], space="other", round_name="round-0001")
    assert (other_report.tiles, other_report.embeddings, other_report.selected) == (3, 0, 0)
