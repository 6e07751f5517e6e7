"""Checks: every one fails on planted faults."""

import uuid
from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.base import PartitionKeyFilter

from dino_assets.definitions import ALL_CHECKS, make_definitions
from dino_assets.defs.judging import to_result
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import Draft, OutputId
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.verdicts import Verdict
from dino_assets_tests.defs.conftest import Lineage, checks
from dino_assets_tests.worlds.inboxes import drone_photo, fill_bytes
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def done(lineage: Lineage, card, prepared: Prepared) -> Lineage:
    def prepare() -> None:
        lineage.register("flight-1", card("flight-1"))
        assert lineage.run("flight-1", only=["weights", "images", "tiles"]).success

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def plant(
    lineage: Lineage,
    asset: str,
    change: Callable[[pa.Table], pa.Table],
    *,
    space: str | None = None,
    name: str | None = "flight-1",
) -> None:
    """Commit an altered table in place of the real one, as a faulty stage would."""
    output = OutputId(asset, name, space)
    original = read_manifest(lineage.store, output)
    table = open_table(lineage.store, asset, space=space).read(name)
    schema = table.schema
    table = change(table).cast(schema)
    recipe = replace(original.recipe, code_version=f"planted-{uuid.uuid4()}")
    commit(
        lineage.store,
        Draft(recipe, pushing([*table.to_batches(), original.facts]), schema),
    )


def recheck(lineage: Lineage, check: str):
    defs = make_definitions(lineage.settings)
    (definition,) = [c for c in ALL_CHECKS if c.check_key.name == check]
    job = dg.Definitions(
        assets=defs.assets,
        asset_checks=[definition],
        jobs=[dg.define_asset_job("j", dg.AssetSelection.checks(definition))],
        resources=defs.resources,
    ).resolve_job_def("j")
    result = job.execute_in_process(instance=lineage.instance, raise_on_error=False)
    return checks(result)[check]


def set_first(table: pa.Table, column: str, value: object) -> pa.Table:
    values = table[column].to_pylist()
    values[0] = value
    index = table.schema.get_field_index(column)
    return table.set_column(index, column, pa.array(values, table.schema.field(column).type))


def test_weights_are_whole__flipped_byte(done: Lineage):
    part = next(p for p in read_manifest(done.store, OutputId("weights")).parts if p.bytes > 1000)
    data = bytearray(done.store.get(part.key))
    data[500] ^= 1
    done.store.put(part.key, bytes(data))
    evaluation = recheck(done, "weights_are_whole")
    assert not evaluation.passed
    assert evaluation.severity.value == "ERROR"
    assert part.key in evaluation.description


def test_images_are_complete__sound(done: Lineage):
    assert recheck(done, "images_are_complete").passed


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("path", "100MEDIA/DJI_0001.JPG", "1 repeated paths"),
        ("image_id", "short", "1 usable rows without id or size"),
        ("width", None, "1 usable rows without id or size"),
        ("is_usable", False, "1 quarantined rows without a reason"),
    ],
)
def test_images_are_complete__planted(done: Lineage, column, value, sentence):
    plant(done, "images", lambda table: set_first(table, column, value))
    evaluation = recheck(done, "images_are_complete")
    assert not evaluation.passed
    assert sentence in evaluation.description


def test_images_look_right__warns_without_stopping_the_run(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1"))
    result = lineage.run("flight-1", only=["weights", "images", "tiles"])
    evaluation = checks(result)["images_look_right"]
    assert result.success  # pictures without GPS are tiled all the same
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "3 no-gps" in evaluation.description


def test_images_look_right__sound(lineage: Lineage):
    files = {
        f"DJI_{n:04d}.JPG": drone_photo(seed=n, size=(640, 480), at=(47 + n * 1e-4, 11.0))
        for n in range(1, 6)
    }
    lineage.register("flight-1", fill_bytes(lineage.settings.root / "inbox" / "f", files))
    result = lineage.run("flight-1", only=["images"])
    assert checks(result)["images_look_right"].passed


def test_images_are_usable__too_many_bad(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1", good=3, bad=3))
    result = lineage.run("flight-1")
    evaluation = checks(result)["images_are_usable"]
    assert (evaluation.passed, evaluation.severity.value) == (False, "ERROR")
    assert "more than the 2 allowed" in evaluation.description


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.slice(1), "pixels have no tile"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "1 tile ids occur twice"),
        (lambda t: set_first(t, "x", -1), "a tile is outside its 1600×1200"),
        (lambda t: set_first(t, "w", 5000), "a tile is outside its 1600×1200"),
        (
            lambda t: t.filter(pc.field("image_id") != t["image_id"][0]),
            "1,920,000 pixels have no tile",
        ),
        (lambda t: set_first(t, "image_id", "f" * 64), "no tile"),
    ],
)
def test_tiles_cover_images__planted(done: Lineage, change, sentence):
    plant(done, "tiles", change)
    evaluation = recheck(done, "tiles_cover_images")
    assert not evaluation.passed
    assert sentence in evaluation.description


def break_first_vector(table: pa.Table) -> pa.Table:
    vectors = table["cls"].to_pylist()
    vectors[0][0] = float("nan")
    kind = table.schema.field("cls").type
    return table.set_column(table.schema.get_field_index("cls"), "cls", pa.array(vectors, kind))


def test_embeddings_match_tiles__planted(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1", good=1))
    assert lineage.run("flight-1").success
    (info,) = lineage.store.list("manifests/embeddings")
    space = info.key.split("/")[2]
    assert recheck(lineage, "embeddings_match_tiles").passed
    for change, sentence in (
        (lambda t: t.slice(1), "1 not at all"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "1 tiles embedded twice"),
        (lambda t: set_first(t, "tile_id", "of-another-drop"), "1 missing in `tiles`"),
        (break_first_vector, "1 cls vectors are not finite"),
    ):
        original = open_table(lineage.store, "embeddings", space=space).read("flight-1")
        plant(lineage, "embeddings", change, space=space)
        evaluation = recheck(lineage, "embeddings_match_tiles")
        assert not evaluation.passed
        assert sentence in evaluation.description
        plant(lineage, "embeddings", lambda _, table=original: table, space=space)
    # Vectors of another space under this one's name.
    manifest = read_manifest(lineage.store, OutputId("embeddings", "flight-1", space))
    lineage.store.delete(info.key)
    assert "nothing is committed in space" in recheck(lineage, "embeddings_match_tiles").description
    assert manifest.rows == 24


# Tiles of one photograph overlap, so it has too little ground for two rounds.
ROUND = {"budget": 5, "all_windows": True}


def test_checks_of_map_and_round__planted(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1", good=1))
    linear = {"method": "linear"}
    assert lineage.run("flight-1", projections=linear, selections=ROUND).success
    (info,) = lineage.store.list("manifests/projections")
    space = info.key.split("/")[2]
    assert recheck(lineage, "projections_are_complete").passed
    plant(lineage, "projections", lambda t: t.slice(1), space=space, name=None)
    evaluation = recheck(lineage, "projections_are_complete")
    assert not evaluation.passed
    assert "23 places for 24 embedded tiles" in evaluation.description
    assert recheck(lineage, "selections_are_sound").passed
    plant(lineage, "selections", lambda t: t.slice(1), space=space, name="round-0001")
    evaluation = recheck(lineage, "selections_are_sound")
    assert not evaluation.passed
    assert "4 tiles, but the budget is 5" in evaluation.description


def test_checks__nothing_is_committed(lineage: Lineage):
    for check in ("tiles_cover_images", "projections_are_complete", "selections_are_sound"):
        evaluation = recheck(lineage, check)
        assert (evaluation.passed, evaluation.description) == (False, "nothing is committed yet")


def test_selections_are_sound__judges_only_the_round_of_its_run(lineage: Lineage, card):
    lineage.register("flight-1", card("flight-1", good=1))
    linear = {"method": "linear"}
    assert lineage.run("flight-1", projections=linear, selections=ROUND).success
    (info,) = lineage.store.list("manifests/projections")
    space = info.key.split("/")[2]
    plant(lineage, "selections", lambda t: t.slice(1), space=space, name="round-0001")
    second = lineage.run(only=["selections"], selections={**ROUND, "round": 2})
    assert second.success
    assert checks(second)["selections_are_sound"].passed
    assert "round-0001: 4 tiles" in recheck(lineage, "selections_are_sound").description
    # A reused output also counts as the run's own, and a fault in it ends the run.
    first = lineage.run(only=["selections"], selections=ROUND)
    assert not first.success
    evaluation = checks(first)["selections_are_sound"]
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)


def test_to_result__severities():
    context = dg.build_asset_context()
    bad, good = Verdict("a", False, "broken"), Verdict("b", True, "fine")

    def result(*verdicts: Verdict) -> dg.AssetCheckResult:
        return to_result(context, verdicts)

    assert result(bad).severity.value == "ERROR"
    assert result(bad, good).severity.value == "ERROR"
    assert not result(bad, good).passed
    assert result(good).passed
    assert (
        result(good).severity.value == "ERROR"
    )  # otherwise it would hide another drop's error in the UI
    assert to_result(context, [good], can_block=False).severity.value == "WARN"
    assert result(Verdict("c", True, "one bad file", warns=True)).severity.value == "WARN"
    assert not result(Verdict("c", True, "one bad file", warns=True)).passed


def latest(lineage: Lineage, asset: str, check: str, drop: str) -> AssetCheckExecutionRecordStatus:
    """Find the latest evaluation of a check for a drop, as the UI does."""
    key = dg.AssetCheckKey(dg.AssetKey(asset), check)
    (record,) = lineage.instance.event_log_storage.get_asset_check_execution_history(
        key, limit=1, partition_filter=PartitionKeyFilter(key=drop)
    )
    return record.status


def test_checks__verdict_of_a_drop_stays_when_others_are_judged(lineage: Lineage, card):
    for name, bad in (("a", 0), ("b", 1)):
        lineage.register(name, card(name, good=2, bad=bad))
    assert lineage.run("a", "b", only=["weights", "images", "tiles"]).success
    statuses = [latest(lineage, "images", "images_are_usable", drop) for drop in ("a", "b")]
    assert [status.value for status in statuses] == ["SUCCEEDED", "FAILED"]
    assert lineage.run("a", only=["images"]).success
    assert latest(lineage, "images", "images_are_usable", "b").value == "FAILED"
    # Until its files are corrected and it is judged again.
    (lineage.settings.root / "inbox" / "b" / "BAD_0.JPG").unlink()
    assert lineage.run("b", only=["images"]).success
    assert latest(lineage, "images", "images_are_usable", "b").value == "SUCCEEDED"


def test_checks__evaluation_names_the_drops_own_materialisation(lineage: Lineage, card):
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1))
    result = lineage.run("a", "b", only=["images"])
    evaluations = [
        e for e in result.get_asset_check_evaluations() if e.check_name == "images_are_usable"
    ]
    assert sorted(str(e.partition) for e in evaluations) == ["a", "b"]
    for evaluation in evaluations:
        (record,) = lineage.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey("images"), asset_partitions=[evaluation.partition]),
            limit=1,
        ).records
        assert evaluation.target_materialization_data.storage_id == record.storage_id
