"""The sensor and the schedule as Dagster evaluates them, on real instances with real runs."""

import shutil
import time

import dagster as dg
import pytest

from dino_assets.defs import sensors
from dino_assets.defs.dagster_internals.events import DATA_VERSION_TAG
from dino_assets.defs.instance import open_instance
from dino_assets.defs.partitions import add_drop_keys
from dino_assets.defs.run_tags import DROP_TAG, MODEL_TAG
from dino_assets.defs.sensors import ATTEMPT_TAG, CONTENT_TAG, PARTITION_TAG
from dino_assets.drops.arrivals import read_folder_state
from dino_assets.drops.registering import register_drop
from dino_assets.drops.registry import read_drop
from dino_assets.errors import StoreAccessError
from dino_assets.store.commits.manifests import manifest_key, read_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.tower import STATUS, Tower, names


def find_version_of(observation: dg.AssetObservation) -> str:
    return observation.tags[DATA_VERSION_TAG]


def test_new_drops__runs_a_drop_once(tower: Tower):
    tower.arrive("flight 1")
    (request,) = tower.tick()
    drop = request.partition_key
    assert drop == "flight-1-" + drop[-8:]
    source = str(tower.root / "inbox" / "flight 1")
    content = read_folder_state(source, root=tower.root).content
    assert request.run_key == f"{drop}:{content}:1"
    assert request.tags[CONTENT_TAG] == content
    assert request.tags[ATTEMPT_TAG] == "1"
    assert request.tags["dagster/partition"] == drop
    assert tower.instance.get_dynamic_partitions("drops") == [drop]
    assert read_drop(tower.store, drop).source == source

    assert tower.execute(request).success
    assert read_manifest(tower.store, OutputId("images", drop)).rows == 1
    assert tower.tick() == []
    assert tower.said == "1 drop, 1 finished."
    assert tower.tick() == []


def test_new_drops__late_files_are_named_and_read_once_registered(tower: Tower):
    tower.arrive("a")
    (request,) = tower.tick()
    assert tower.execute(request).success
    assert tower.tick() == []
    assert tower.said == "1 drop, 1 finished."
    tower.put("a/DJI_0002.JPG", photo_bytes(480, 640))
    assert tower.tick() == []
    assert "dino-assets drops register a (1 photograph came" in tower.said
    # The UI and `drops list` call images old by the last two observations.
    (observation,) = tower.tick_at(time.time()).asset_events
    state = read_folder_state(str(tower.root / "inbox" / "a"), root=tower.root)
    assert (observation.partition, find_version_of(observation)) == ("a", state.fingerprint)
    assert read_drop(tower.store, "a").observed == state.fingerprint
    assert tower.tick_at(time.time()).asset_events == []

    register_drop(tower.store, "a", source="inbox/a", root=tower.root)
    (second_request,) = tower.tick()
    result = tower.execute(second_request)
    assert result.success
    assert read_manifest(tower.store, OutputId("images", "a")).rows == 2
    (materialization,) = result.asset_materializations_for_node("embeddings")
    # The tiles of the first photograph are not embedded again.
    tiles_copied, rows = (
        materialization.metadata[name].value for name in ("tiles_copied", "dagster/row_count")
    )
    assert (tiles_copied, rows) == (1, 2)
    assert tower.tick() == []
    assert tower.said == "1 drop, 1 finished."


def test_new_drops__registers_exactly_as_the_command_line(tower: Tower):
    tower.arrive("süd 1")
    tower.tick()
    (key,) = [info.key for info in tower.store.list("drops")]
    record = tower.store.get(key)
    tower.store.delete(key)
    register_drop(tower.store, "süd 1", source="inbox/süd 1", root=tower.root)
    assert tower.store.get(key) == record


def test_new_drops__run_key_stays_until_the_run_exists(tower: Tower):
    """A daemon that was killed requests the run again; Dagster starts a run key only once."""
    tower.arrive("a")
    (first,), (second,) = tower.tick(), tower.tick()
    assert (first.run_key, first.tags) == (second.run_key, second.tags)


def test_new_drops__killed_between_registering_and_launching(tower: Tower):
    tower.arrive("a")
    register_drop(tower.store, "a", source="inbox/a", root=tower.root)
    assert names(tower.tick()) == ["a"]  # no key yet either
    assert names(tower.tick()) == ["a"]  # now there is one


def test_new_drops__no_second_run_while_one_is_in_flight(tower: Tower):
    """The state, the launcher and the job of the other run do not matter."""
    states = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
    for number, state in enumerate(states):
        tower.arrive(state)
        job = ("ingest", "lineage")[number % 2]
        tower.run(STATUS[state], {PARTITION_TAG: state}, job=job)
    tower.arrive("other")
    assert names(tower.tick()) == ["other"]
    shutil.rmtree(tower.root / "inbox" / "other")
    assert tower.tick() == []
    assert all(f"{state}: its run has not ended yet" in tower.said for state in states)


def test_new_drops__a_backfill_over_a_range_is_in_flight(tower: Tower):
    add_drop_keys(tower.instance, ["a", "b", "c", "d"])
    for name in "abcd":
        tower.arrive(name)
    first, last = sensors.RANGE_TAGS
    tower.run(STATUS.STARTED, {first: "a", last: "c"})
    assert names(tower.tick()) == ["d"]


def test_new_drops__a_run_that_ends_during_the_tick_is_not_repeated(tower: Tower, monkeypatch):
    """Runs are read before manifests, so a drop is always seen as running or as finished."""
    tower.arrive("a")
    (request,) = tower.tick()
    original = sensors.find_in_flight

    def end_the_run(instance: dg.DagsterInstance) -> frozenset[str]:
        assert tower.execute(request).success
        return original(instance)

    monkeypatch.setattr(sensors, "find_in_flight", end_the_run)
    assert tower.tick() == []
    assert tower.said == "1 drop, 1 finished."


def test_new_drops__finished_only_by_manifests(tower: Tower):
    """Neither a materialisation in Dagster nor a successful run counts as finished."""
    tower.arrive("a")
    add_drop_keys(tower.instance, ["a"])
    for asset in ("images", "tiles", "embeddings"):
        tower.instance.report_runless_asset_event(
            dg.AssetMaterialization(asset_key=asset, partition="a")
        )
    (request,) = tower.tick()
    tower.run_of(request, STATUS.SUCCESS)
    (second_request,) = tower.tick()
    assert second_request.run_key == request.run_key[:-1] + "2"
    assert tower.execute(second_request).success
    assert tower.tick() == []
    # Removed by `verify --repair`: only what is missing is made again.
    (key,) = [info.key for info in tower.store.list("manifests/embeddings")]
    tower.store.delete(key)
    (repair,) = tower.tick()
    assert tower.execute(repair).success
    assert tower.tick() == []
    # A drop that never gets finished needs a person.
    tower.store.delete(manifest_key(OutputId("tiles", "a")))
    assert tower.tick() == []
    assert "a person must look: 3 runs did not finish it" in tower.said


def test_new_drops__missing_inbox_is_explained(tower: Tower):
    tower.put("a/1.jpg")
    tower.tick()
    cursor = tower.cursor
    shutil.move(tower.root / "inbox", tower.root / "away")
    assert tower.tick() == []
    assert "there is no folder and no .csv or .txt list at 'inbox'" in tower.said
    assert tower.said.endswith("No drop was looked at. DINO_INBOX sets the inbox.")
    assert tower.cursor == cursor  # nothing is lost when the mount comes back


def test_new_drops__failing_store_fails_the_tick(tower: Tower):
    tower.arrive("a")
    store = tower.store.folder
    store.write_text("a file is in the way")
    with raising(StoreAccessError, store="data"):
        tower.tick()
    assert tower.instance.get_dynamic_partitions("drops") == []
    store.unlink()
    assert names(tower.tick()) == ["a"]


def test_new_drops__conflicting_name_does_not_stop_other_drops(tower: Tower):
    (tower.root / "card").mkdir()
    (tower.root / "card" / "1.jpg").write_bytes(photo_bytes())
    register_drop(tower.store, "a", source="card", root=tower.root)
    for name in "abc":
        tower.arrive(name)
    assert names(tower.tick()) == ["b", "c"]
    for name in "bc":
        shutil.rmtree(tower.root / "inbox" / name)
    assert tower.tick() == []
    assert "a: drop 'a' is registered from" in tower.said
    assert read_drop(tower.store, "a").source == str(tower.root / "card")


@pytest.mark.parametrize("cursor", ["", "x", "7", '{"seen": 7}', "2024-06-01"])
def test_new_drops__invalid_cursor_is_replaced(tower: Tower, cursor: str):
    tower.arrive("a")
    tower.cursor = cursor
    assert names(tower.tick()) == ["a"]


def test_new_drops__settle_time_is_in_the_cursor(tower: Tower):
    tower.put("a/1.jpg")
    assert "new or changed" in tower.tick_at(1000).skip_reason.skip_message
    assert "unchanged for 30 of 60 s" in tower.tick_at(1030).skip_reason.skip_message
    assert names(tower.tick_at(1060).run_requests) == ["a"]


def test_new_drops__many_drops_in_one_tick(tower: Tower):
    for n in range(12):
        tower.arrive(f"d{n:02d}")
    assert names(tower.tick()) == [f"d{n:02d}" for n in range(10)]
    assert names(tower.tick())[:3] == ["d10", "d11", "d00"]  # the cursor names the next drop


def test_new_drops__new_instance_gets_keys_of_finished_drops(tower: Tower):
    """After `.dagster` was moved away, committed outputs stay and their keys are added again."""
    tower.arrive("a")
    tower.execute(tower.tick()[0])
    shutil.rmtree(tower.root / ".dagster")
    with open_instance(tower.root) as new_instance:
        new_tower = Tower(new_instance)
        assert new_tower.tick() == []
        assert new_tower.said == "1 drop, 1 finished."
        assert new_instance.get_dynamic_partitions("drops") == ["a"]


def test_definitions__new_drops_and_nightly_curate_are_off(tower: Tower):
    sensor = tower.defs.resolve_sensor_def("new_drops")
    schedule = tower.defs.resolve_schedule_def("nightly_curate")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert (sensor.job_name, schedule.job_name) == ("ingest", "curate")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 3 * * *", "UTC")
    assert sensor.minimum_interval_seconds == 30


def test_nightly_curate__requests_one_run(tower: Tower):
    schedule = tower.defs.resolve_schedule_def("nightly_curate")
    with dg.build_schedule_context(instance=tower.instance) as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.partition_key is None


def test_new_drops__a_request_names_drop_and_model(tower: Tower):
    tower.arrive("flight-1")
    (request,) = tower.tick()
    assert request.tags[DROP_TAG] == "flight-1"
    assert request.tags[MODEL_TAG] == tower.settings.model
