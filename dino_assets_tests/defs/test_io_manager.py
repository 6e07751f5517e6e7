"""The IO manager, with small assets in real Dagster runs."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
import pyarrow as pa
import pytest
from dagster._serdes import serialize_value

from dino_assets.defs.io_manager import CommittingIOManager
from dino_assets.defs.partitions import SINGLE_RUN, drop_by_drop, drops
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.errors import DropsFailedError, NotCommittedError
from dino_assets.store.commits.by_drop import DropDrafts
from dino_assets.store.commits.manifests import find_manifest, manifest_key
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets_tests.worlds.outputs import pushing

SCHEMA = pa.schema([pa.field("n", pa.int64())])


def draft(asset: str, drop: str | None, values: list[int]) -> Draft:
    def produce() -> Iterator[object]:
        if values == [13]:
            raise ValueError("thirteen rows of bad luck")
        yield pa.RecordBatch.from_pydict({"n": values}, SCHEMA)
        yield {"largest": max(values)}

    return Draft(Recipe(OutputId(asset, drop), "1", {"values": values}), pushing(produce), SCHEMA)


@dg.asset(partitions_def=drops, backfill_policy=SINGLE_RUN)
def numbers(context: dg.AssetExecutionContext) -> dg.Output[DropDrafts]:
    return drop_by_drop(context, lambda d: draft("numbers", d, [int(c) for c in d.split("-")]))


@dg.asset(partitions_def=drops, backfill_policy=SINGLE_RUN)
def doubles(context: dg.AssetExecutionContext, numbers: CommittedTable) -> dg.Output[DropDrafts]:
    def double(drop: str) -> Draft:
        return draft("doubles", drop, [2 * n for n in numbers.read(drop)["n"].to_pylist()])

    return drop_by_drop(context, double)


@dg.asset(backfill_policy=SINGLE_RUN)
def total(context: dg.AssetExecutionContext, numbers: CommittedTable) -> Draft:
    if numbers.unmade:
        context.add_output_metadata({"unmade": list(numbers.unmade)})
    values = [n for _, table in numbers.parts() for n in table["n"].to_pylist()]
    return draft("total", None, [sum(values), len(numbers.drops)])


@pytest.fixture
def storage(tmp_path) -> StorageResource:
    return StorageResource(url=str(tmp_path / "store"))


def run(
    instance, storage, selection, *, start: str | None = None, end: str | None = None, **options
):
    tags = {}
    if start:
        tags = {
            "dagster/asset_partition_range_start": start,
            "dagster/asset_partition_range_end": end or start,
        }
    return dg.materialize(
        [numbers, doubles, total],
        selection=[asset.key for asset in selection],
        instance=instance,
        tags=tags,
        resources={"io_manager": CommittingIOManager(storage=storage)},
        **options,
    )


def metadata(instance, asset: str, drop: str | None = None) -> dict[str, object]:
    event = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[drop] if drop else None),
        limit=1,
    ).records[0]
    return {k: v.value for k, v in event.asset_materialization.metadata.items()}


def read(storage, asset: str, drop: str | None) -> list[int]:
    drops_wanted = [drop] if drop else None
    return open_table(storage.open(), asset, drops=drops_wanted).read(drop)["n"].to_pylist()


def test_handle_output__one_partition(instance, storage):
    instance.add_dynamic_partitions("drops", ["1-2-3"])
    assert run(instance, storage, [numbers], partition_key="1-2-3").success
    assert read(storage, "numbers", "1-2-3") == [1, 2, 3]
    event = metadata(instance, "numbers", "1-2-3")
    assert event["dagster/row_count"] == 3
    assert event["largest"] == 3
    assert event["was_reused"] is False


def test_handle_output__several_partitions_in_one_run(instance, storage):
    instance.add_dynamic_partitions("drops", ["1", "2-2", "3-3-3"])
    assert run(instance, storage, [numbers, doubles], start="1", end="3-3-3").success
    assert read(storage, "doubles", "2-2") == [4, 4]
    # Each drop's figures are on its own materialisation.
    assert [
        metadata(instance, "numbers", d)["dagster/row_count"] for d in ("1", "2-2", "3-3-3")
    ] == [
        1,
        2,
        3,
    ]


def test_handle_output__rerun_reuses(instance, storage):
    instance.add_dynamic_partitions("drops", ["1", "2"])
    run(instance, storage, [numbers], start="1", end="2")
    run(instance, storage, [numbers], start="1", end="2")
    assert metadata(instance, "numbers", "1")["was_reused"] is True


def events(instance, asset: str, drop: str | None = None) -> list[dict[str, object]]:
    """List the metadata of all events of an output, oldest first."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[drop] if drop else None),
        limit=9,
    ).records
    return [
        {k: v.value for k, v in record.asset_materialization.metadata.items()}
        for record in reversed(records)
    ]


def test_handle_output__reused_output_has_metadata_of_its_making(instance, storage):
    """For each drop of a run, also after several reuses, so that plots have no gaps."""
    instance.add_dynamic_partitions("drops", ["1", "2"])
    first = run(instance, storage, [numbers, total], start="1", end="2")
    for _ in range(2):
        run(instance, storage, [numbers, total], start="1", end="2")
    for asset, drop in (("numbers", "1"), ("numbers", "2"), ("total", None)):
        first_event, *later_events = events(instance, asset, drop)
        assert first_event["made_in_run"] == first.run_id
        assert first_event["seconds"] >= 0  # rounded
        for later_event in later_events:
            assert later_event["was_reused"] is True
            assert later_event.keys() == first_event.keys()
            changed_names = {
                name for name, value in later_event.items() if value != first_event[name]
            }
            assert changed_names == {"was_reused"}


def test_handle_output__no_metadata_of_another_content(instance, storage):
    instance.add_dynamic_partitions("drops", ["1"])
    run(instance, storage, [numbers], start="1")
    # Made elsewhere in the meantime, without an event.
    commit(storage.open(), draft("numbers", "1", [5, 6]))

    @dg.asset(name="numbers", partitions_def=drops, backfill_policy=SINGLE_RUN)
    def others(context: dg.AssetExecutionContext) -> dg.Output[DropDrafts]:
        return drop_by_drop(context, lambda d: draft("numbers", d, [5, 6]))

    for _ in range(2):
        dg.materialize(
            [others],
            instance=instance,
            partition_key="1",
            resources={"io_manager": CommittingIOManager(storage=storage)},
        )
    # The first run that reused it is not named as its maker.
    for event in events(instance, "numbers", "1")[1:]:
        assert (event["was_reused"], event["largest"]) == (True, 6)
        assert "seconds" not in event
        assert "made_in_run" not in event


def test_handle_output__no_metadata_of_a_single_run(instance, storage):
    instance.add_dynamic_partitions("drops", ["1", "not-made"])
    run(instance, storage, [numbers, total], start="1")
    instance.delete_dynamic_partition("drops", "not-made")
    run(instance, storage, [total])
    first_event, second_event = events(instance, "total")
    assert first_event["unmade"] == ["not-made"]
    assert second_event["was_reused"] is True
    assert "unmade" not in second_event


def test_handle_output__no_empty_rows(instance, storage):
    def nothing(asset: str) -> Draft:
        facts = {"reasons": {}, "note": "", "missing": None, "bad": 0, "is_odd": False}
        return Draft(Recipe(OutputId(asset), "1"), pushing([facts]))

    @dg.asset
    def plain() -> Draft:
        return nothing("plain")

    dg.materialize(
        [plain], instance=instance, resources={"io_manager": CommittingIOManager(storage=storage)}
    )
    (event,) = events(instance, "plain")
    assert (event["bad"], event["is_odd"]) == (0, False)
    assert not {"reasons", "note", "missing", "config", "inputs"} & event.keys()


def test_handle_output__event_stays_small(instance, storage):
    """SQLite stores each event twice, and a map may be made of a thousand drops."""
    names = {f"flight-{number:04d}": "a" * 64 for number in range(2000)}
    recipe = Recipe(OutputId("plain"), "1", {"drops": sorted(names)}, names)
    facts = {"left_out": dict.fromkeys(names, "not mounted"), "largest": 7}

    @dg.asset
    def plain() -> Draft:
        return Draft(recipe, pushing([facts]))

    dg.materialize(
        [plain], instance=instance, resources={"io_manager": CommittingIOManager(storage=storage)}
    )
    record = instance.fetch_materializations(dg.AssetKey("plain"), limit=1).records[0]
    assert len(serialize_value(record.event_log_entry)) < 30_000
    (event,) = events(instance, "plain")
    assert event["largest"] == 7
    assert len(event["inputs"]) < 100
    assert event["inputs"]["flight-0000"] == "a" * 64
    assert event["inputs"]["…"] == f"{2000 - len(event['inputs']) + 1:,} more, in the manifest"


def test_handle_output__address_and_size(instance, storage):
    instance.add_dynamic_partitions("drops", ["1-2-3"])
    run(instance, storage, [numbers], start="1-2-3")
    (event,) = events(instance, "numbers", "1-2-3")
    manifest = find_manifest(storage.open(), OutputId("numbers", "1-2-3"))
    assert event["stored_mb"] == round(manifest.bytes / 1e6, 3) > 0
    file = Path(unquote(urlsplit(event["dagster/uri"]).path))
    assert file == storage.open().folder / manifest_key(manifest.recipe.output)
    assert file.is_file()


def test_handle_output__one_failing_drop_among_three(instance, storage):
    instance.add_dynamic_partitions("drops", ["1", "13", "2"])
    result = run(instance, storage, [numbers, doubles], start="1", end="2", raise_on_error=False)
    assert not result.success
    (failure,) = [e for e in result.all_events if e.is_step_failure and e.step_key == "numbers"]
    assert "1 of 3 drops failed, 2 are committed" in str(failure.step_failure_data.error)
    assert "13: ValueError: thirteen rows of bad luck" in str(failure.step_failure_data.error)
    table = open_table(storage.open(), "numbers")
    assert table.drops == ("1", "2")
    assert open_table(storage.open(), "doubles").drops == ()


def test_handle_output__failure_is_typed(instance, storage):
    instance.add_dynamic_partitions("drops", ["13"])
    with pytest.raises(DropsFailedError) as caught:
        run(instance, storage, [numbers], partition_key="13")
    assert {drop: type(err) for drop, err in caught.value.failures.items()} == {"13": ValueError}


def test_handle_output__wrong_return_type(instance, storage):
    @dg.asset(name="wrong")
    def wrong() -> dict:
        return {"pickled": "never"}

    with pytest.raises(TypeError, match="wrong returned a dict; expected a Draft"):
        dg.materialize(
            [wrong],
            instance=instance,
            resources={"io_manager": CommittingIOManager(storage=storage)},
        )


def test_load_input__fan_in_over_committed_drops(instance, storage):
    instance.add_dynamic_partitions("drops", ["1", "2", "not-made"])
    run(instance, storage, [numbers], start="1", end="2")
    assert run(instance, storage, [total]).success
    assert read(storage, "total", None) == [3, 2]
    assert metadata(instance, "total")["unmade"] == ["not-made"]


def test_load_input__fan_in_ignores_dagsters_keys(instance, storage):
    """A committed drop counts, even if Dagster's instance no longer has its key."""
    instance.add_dynamic_partitions("drops", ["1", "2"])
    run(instance, storage, [numbers], start="1", end="2")
    instance.delete_dynamic_partition("drops", "2")
    assert run(instance, storage, [total]).success
    assert read(storage, "total", None) == [3, 2]


def test_load_input__nothing_is_committed(instance, storage):
    instance.add_dynamic_partitions("drops", ["1"])
    assert run(instance, storage, [total]).success
    assert read(storage, "total", None) == [0, 0]


def test_load_input__missing_partition_is_named(instance, storage):
    instance.add_dynamic_partitions("drops", ["7"])
    with pytest.raises(DropsFailedError) as caught:
        run(instance, storage, [doubles], partition_key="7")
    error = caught.value.failures["7"]
    assert isinstance(error, NotCommittedError)
    assert error.output == "numbers/7"


def test_handle_output__unpartitioned_within_a_partitioned_run(instance, storage):
    instance.add_dynamic_partitions("drops", ["4"])
    assert run(instance, storage, [numbers, doubles, total], partition_key="4").success
    assert read(storage, "total", None) == [4, 1]
    assert find_manifest(storage.open(), OutputId("total")) is not None
