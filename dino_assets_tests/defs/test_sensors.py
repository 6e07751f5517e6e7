"""The sensor and the schedule as Dagster evaluates them, on real instances with real runs."""

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from dino_assets.definitions import make_definitions
from dino_assets.defs import sensors
from dino_assets.defs.dagster_internals import DATA_VERSION_TAG
from dino_assets.defs.instance import open_instance
from dino_assets.defs.partitions import add_drop_keys
from dino_assets.defs.run_tags import DROP_TAG, MODEL_TAG
from dino_assets.defs.sensors import ATTEMPT_TAG, CONTENT_TAG, PARTITION_TAG, look_for_drops
from dino_assets.drops.arrivals import MARKER, look_at
from dino_assets.drops.registry import read_drop, register_drop
from dino_assets.errors import StoreAccessError
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.manifests import manifest_key, read_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import REPOSITORY, photo_bytes
from dino_assets_tests.worlds.raising import raising

RUN_KEY = "dagster/run_key"
STATUS = dg.DagsterRunStatus


class Tower:
    """What the daemon does, in this process: ticks that keep their cursor, and the runs they ask for."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.settings = load_settings()
        self.root = self.settings.root
        self.store: ObjectStore = open_store(self.settings.storage)
        self.defs = make_definitions(self.settings)
        self.job = self.defs.resolve_job_def("ingest")
        self.cursor: str | None = None
        self.said = ""

    def put(self, path: str, data: bytes | None = None) -> None:
        target = self.root / "inbox" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(photo_bytes(640, 480) if data is None else data)

    def arrive(self, name: str, data: bytes | None = None) -> None:
        self.put(f"{name}/DJI_0001.JPG", data)
        self.put(f"{name}/{MARKER}", b"")

    def context(self) -> dg.SensorEvaluationContext:
        return dg.build_sensor_context(
            instance_ref=self.instance.get_ref(),  # as the code server is told
            cursor=self.cursor,
            definitions=self.defs,
            resources={name: self.defs.resources[name] for name in ("storage", "inbox")},
        )

    def tick(self) -> list[dg.RunRequest]:
        """Evaluate, as the code server does; add keys, keep the cursor, as the daemon does."""
        with self.context() as context:
            data = self.defs.resolve_sensor_def("new_drops").evaluate_tick(context)
        for request in data.dynamic_partitions_requests or []:
            add_drop_keys(self.instance, request.partition_keys)
        self.cursor, self.said = data.cursor, data.skip_message or ""
        return list(data.run_requests or [])

    def tick_at(self, now_s: float) -> dg.SensorResult:
        """Look for drops at some time."""
        inbox = self.defs.resources["inbox"]
        with self.context() as context:
            result = look_for_drops(context, self.store, inbox, clock=lambda: now_s)
        self.cursor = result.cursor
        return result

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self.job.execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags={**request.tags, RUN_KEY: request.run_key},
            raise_on_error=False,
        )

    def run(self, status: STATUS, tags: Mapping[str, str], *, job: str = "ingest") -> dg.DagsterRun:
        """A run in some state, as another process left it."""
        target = LoadableTargetOrigin(module_name="dino_assets")
        location = InProcessCodeLocationOrigin(target, location_name="dino_assets")
        return self.instance.create_run_for_job(
            self.defs.resolve_job_def(job),
            status=status,
            tags=tags,
            remote_job_origin=RemoteJobOrigin(
                RemoteRepositoryOrigin(location, "__repository__"), job
            ),
        )

    def run_of(self, request: dg.RunRequest, status: STATUS) -> dg.DagsterRun:
        """What the daemon makes of a request, in some state."""
        return self.run(status, {**request.tags, RUN_KEY: str(request.run_key)})


@pytest.fixture(scope="session")
def fresh_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed instance's databases, empty: making them takes longer than most of the tests."""
    folder = tmp_path_factory.mktemp("instance")
    shutil.copy(REPOSITORY / "dagster.yaml", folder)
    with open_instance(folder):
        return folder / ".dagster"


@pytest.fixture
def tower(project: Path, fresh_instance: Path) -> Iterator[Tower]:
    """On the committed instance: a tick's partition keys are resolved only where one is on disk."""
    shutil.copytree(fresh_instance, project / ".dagster")
    (project / "inbox").mkdir()
    with open_instance(project) as instance:
        yield Tower(instance)


def find_version_of(observation: dg.AssetObservation) -> str:
    return observation.tags[DATA_VERSION_TAG]


def names(requests: list[dg.RunRequest]) -> list[str | None]:
    return [request.partition_key for request in requests]


# --- from arrival to embeddings -------------------------------------------------------------


def test_new_drops__runs_a_drop_once(tower: Tower):
    tower.arrive("flight 1")
    (request,) = tower.tick()
    drop = request.partition_key
    assert drop == "flight-1-" + drop[-8:]
    source = str(tower.root / "inbox" / "flight 1")
    content = look_at(source, root=tower.root).content
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
    # What two looks saw is what the UI and `drops list` call images old by.
    (seen,) = tower.tick_at(time.time()).asset_events
    look = look_at(str(tower.root / "inbox" / "a"), root=tower.root)
    assert (seen.partition, find_version_of(seen)) == ("a", look.fingerprint)
    assert read_drop(tower.store, "a").observed == look.fingerprint
    assert tower.tick_at(time.time()).asset_events == []

    register_drop(tower.store, "a", source="inbox/a", root=tower.root)
    (again,) = tower.tick()
    result = tower.execute(again)
    assert result.success
    assert read_manifest(tower.store, OutputId("images", "a")).rows == 2
    (made,) = result.asset_materializations_for_node("embeddings")
    # The tiles of the first photograph are not embedded again.
    before, rows = (made.metadata[name].value for name in ("tiles_copied", "dagster/row_count"))
    assert (before, rows) == (1, 2)
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


def test_new_drops__until_the_run_exists_the_key_stays(tower: Tower):
    """A daemon that is killed here asks again; Dagster starts a run key only once."""
    tower.arrive("a")
    (first,), (second,) = tower.tick(), tower.tick()
    assert (first.run_key, first.tags) == (second.run_key, second.tags)


def test_new_drops__killed_between_registering_and_launching(tower: Tower):
    tower.arrive("a")
    register_drop(tower.store, "a", source="inbox/a", root=tower.root)
    assert names(tower.tick()) == ["a"]  # no key yet either
    assert names(tower.tick()) == ["a"]  # now there is one


def test_new_drops__beside_a_run_there_is_no_other(tower: Tower):
    """In whatever state, whoever launched it, and whatever it is called."""
    states = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
    for number, state in enumerate(states):
        tower.arrive(state)
        job = ("ingest", "lineage")[number % 2]
        tower.run(STATUS[state], {PARTITION_TAG: state}, job=job)
    tower.arrive("other")
    assert names(tower.tick()) == ["other"]
    shutil.rmtree(tower.root / "inbox" / "other")
    assert tower.tick() == []
    assert all(f"{state}: a run is in flight" in tower.said for state in states)


def test_new_drops__a_backfill_over_a_range_is_in_flight(tower: Tower):
    add_drop_keys(tower.instance, ["a", "b", "c", "d"])
    for name in "abcd":
        tower.arrive(name)
    first, last = sensors.RANGE_TAGS
    tower.run(STATUS.STARTED, {first: "a", last: "c"})
    assert names(tower.tick()) == ["d"]


def test_new_drops__a_run_that_ends_during_the_tick_is_not_repeated(tower: Tower, monkeypatch):
    """Runs are asked for before manifests are listed: never is it neither running nor made."""
    tower.arrive("a")
    (request,) = tower.tick()
    real = sensors.find_in_flight

    def end_the_run(instance: dg.DagsterInstance) -> frozenset[str]:
        assert tower.execute(request).success
        return real(instance)

    monkeypatch.setattr(sensors, "find_in_flight", end_the_run)
    assert tower.tick() == []
    assert tower.said == "1 drop, 1 finished."


def test_new_drops__the_manifests_are_the_truth(tower: Tower):
    """What Dagster says was materialised is no proof, and a run that ended well is none."""
    tower.arrive("a")
    add_drop_keys(tower.instance, ["a"])
    for asset in ("images", "tiles", "embeddings"):
        tower.instance.report_runless_asset_event(
            dg.AssetMaterialization(asset_key=asset, partition="a")
        )
    (request,) = tower.tick()
    tower.run_of(request, STATUS.SUCCESS)
    (again,) = tower.tick()
    assert again.run_key == request.run_key[:-1] + "2"
    assert tower.execute(again).success
    assert tower.tick() == []
    # Given up by `verify --repair`: made again, and only what is missing.
    (key,) = [info.key for info in tower.store.list("manifests/embeddings")]
    tower.store.delete(key)
    (repair,) = tower.tick()
    assert tower.execute(repair).success
    assert tower.tick() == []
    # A drop that needs one again and again is not a matter for a sensor.
    tower.store.delete(manifest_key(OutputId("tiles", "a")))
    assert tower.tick() == []
    assert "a person must look: 3 runs did not finish it" in tower.said


# --- runs that end badly --------------------------------------------------------------------


def test_new_drops__three_failures_and_a_person(tower: Tower):
    tower.arrive("a")
    for attempt in (1, 2, 3):
        (request,) = tower.tick()
        assert request.run_key.endswith(f":{attempt}")
        assert request.tags[ATTEMPT_TAG] == str(attempt)
        last = tower.run_of(request, STATUS.FAILURE)
    assert tower.tick() == []
    assert "a: a person must look: 3 runs did not finish it" in tower.said
    assert last.run_id[:8] in tower.said


def test_new_drops__what_a_check_has_stopped_is_not_started_again(tower: Tower):
    tower.arrive("bad", b"no picture")
    tower.arrive("good")
    requests = {request.partition_key: request for request in tower.tick()}
    stopped = tower.execute(requests["bad"])
    assert not stopped.success
    tower.execute(requests["good"])
    assert tower.tick() == []
    assert tower.said.startswith(
        "2 drops, 1 finished: bad: a person must look: a check stopped run "
    )
    assert stopped.run_id[:8] in tower.said
    assert "0 of 1 files are usable" in tower.said
    # Other pictures are another matter; a touched marker is not.
    tower.put(f"bad/{MARKER}", b"again")
    assert tower.tick() == []
    tower.put("bad/DJI_0001.JPG")
    (request,) = tower.tick()
    assert request.run_key.endswith(":1")
    assert tower.execute(request).success
    assert tower.tick() == []
    assert tower.said == "2 drops, 2 finished."


def test_new_drops__a_deleted_run_gives_no_key_back(tower: Tower):
    """With its first run gone from the history, the next attempt must not take the second's key."""
    tower.arrive("a")
    first = tower.run_of(tower.tick()[0], STATUS.FAILURE)
    tower.run_of(tower.tick()[0], STATUS.FAILURE)
    tower.instance.delete_run(first.run_id)
    assert tower.tick()[0].run_key.endswith(":3")


def test_new_drops__failures_of_other_runs_do_not_count(tower: Tower):
    tower.arrive("a")
    content = look_at(str(tower.root / "inbox" / "a"), root=tower.root).content
    for status in (STATUS.FAILURE, STATUS.FAILURE, STATUS.FAILURE, STATUS.CANCELED):
        tower.run(status, {PARTITION_TAG: "a"})
        tower.run(status, {PARTITION_TAG: "other", CONTENT_TAG: content})
    (request,) = tower.tick()
    assert request.run_key.endswith(":1")


def test_new_drops__a_cancelled_run_is_left_alone(tower: Tower):
    tower.arrive("a")
    (request,) = tower.tick()
    run = tower.run_of(request, STATUS.STARTED)
    tower.instance.report_run_canceled(run)
    assert tower.tick() == []
    assert f"a: run {run.run_id[:8]} was cancelled, so it is not started again" in tower.said
    tower.put("a/DJI_0002.JPG")
    assert names(tower.tick()) == ["a"]


def test_new_drops__names_the_run_that_was_cancelled(tower: Tower):
    tower.arrive("a")
    (request,) = tower.tick()
    run = tower.run_of(request, STATUS.STARTED)
    tower.instance.report_run_canceled(run)
    later = tower.run_of(request, STATUS.FAILURE)  # a person tried once more, with the same tags
    assert tower.tick() == []
    assert f"a: run {run.run_id[:8]} was cancelled" in tower.said
    assert later.run_id[:8] not in tower.said


@pytest.mark.parametrize("is_ours", [True, False])
def test_new_drops__not_beside_a_retry_of_dagster(tower: Tower, is_ours: bool):
    tower.arrive("a")
    (request,) = tower.tick()
    tags = {**request.tags, RUN_KEY: str(request.run_key)} if is_ours else {PARTITION_TAG: "a"}
    run = tower.run(STATUS.STARTED, tags)
    tower.instance.report_run_failed(run, "killed")
    assert tower.instance.get_run_by_id(run.run_id).tags["dagster/will_retry"] == "true"
    # Between the failure and the retry nothing runs, and all the same it is Dagster's turn.
    assert tower.tick() == []
    assert "a: Dagster is about to start its crashed run again" in tower.said
    retry = tower.run(STATUS.STARTED, {**tags, "dagster/max_retries": "0"})
    tower.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": retry.run_id})
    assert tower.tick() == []
    assert "a: a run is in flight" in tower.said
    tower.instance.report_run_failed(retry, "killed again")
    (again,) = tower.tick()
    # Both count: they were about the same drop and the same files.
    assert again.run_key.endswith(":3" if is_ours else ":1")


def test_new_drops__a_retry_that_never_comes_holds_nothing_back(tower: Tower):
    tower.arrive("a")
    run = tower.run_of(tower.tick()[0], STATUS.STARTED)
    tower.instance.report_run_failed(run, "killed")
    assert tower.tick() == []
    now_s = time.time()
    assert tower.tick_at(now_s + sensors.RETRY_PATIENCE_S / 2).run_requests == []
    (request,) = tower.tick_at(now_s + sensors.RETRY_PATIENCE_S + 1).run_requests
    assert request.run_key.endswith(":2")


# --- what stands in the way -----------------------------------------------------------------


def test_new_drops__no_inbox_is_a_sentence(tower: Tower):
    tower.put("a/1.jpg")
    tower.tick()
    cursor = tower.cursor
    shutil.move(tower.root / "inbox", tower.root / "away")
    assert tower.tick() == []
    assert "there is no folder and no .csv or .txt list at 'inbox'" in tower.said
    assert tower.said.endswith("Nothing was looked at. The inbox is set by DINO_INBOX.")
    assert tower.cursor == cursor  # a mount that comes back has forgotten nothing


def test_new_drops__a_store_that_fails_is_a_failed_tick(tower: Tower):
    tower.arrive("a")
    store = tower.store.folder
    store.write_text("a file is in the way")
    with raising(StoreAccessError, store="data"):
        tower.tick()
    assert tower.instance.get_dynamic_partitions("drops") == []
    store.unlink()
    assert names(tower.tick()) == ["a"]


def test_new_drops__a_taken_name_stops_no_other(tower: Tower):
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
def test_new_drops__a_foreign_cursor_loses_nothing(tower: Tower, cursor: str):
    tower.arrive("a")
    tower.cursor = cursor
    assert names(tower.tick()) == ["a"]


def test_new_drops__the_cursor_carries_the_settle_time(tower: Tower):
    tower.put("a/1.jpg")
    assert "new or changed" in tower.tick_at(1000).skip_reason.skip_message
    assert "unchanged for 30 of 60 s" in tower.tick_at(1030).skip_reason.skip_message
    assert names(tower.tick_at(1060).run_requests) == ["a"]


def test_new_drops__many_at_once(tower: Tower):
    for n in range(12):
        tower.arrive(f"d{n:02d}")
    assert names(tower.tick()) == [f"d{n:02d}" for n in range(10)]
    assert names(tower.tick())[:3] == ["d10", "d11", "d00"]  # the cursor says whose turn it is


def test_new_drops__a_new_instance_learns_the_finished_drops(tower: Tower):
    """`.dagster` was moved away: what is committed stays, its keys come back."""
    tower.arrive("a")
    tower.execute(tower.tick()[0])
    shutil.rmtree(tower.root / ".dagster")
    with open_instance(tower.root) as empty:
        fresh = Tower(empty)
        assert fresh.tick() == []
        assert fresh.said == "1 drop, 1 finished."
        assert empty.get_dynamic_partitions("drops") == ["a"]


# --- what is defined ------------------------------------------------------------------------


def test_definitions__start_nothing_unasked(tower: Tower):
    sensor = tower.defs.resolve_sensor_def("new_drops")
    schedule = tower.defs.resolve_schedule_def("nightly_curate")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert (sensor.job_name, schedule.job_name) == ("ingest", "curate")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 3 * * *", "UTC")
    assert sensor.minimum_interval_seconds == 30


def test_nightly_curate__asks_for_one_run(tower: Tower):
    schedule = tower.defs.resolve_schedule_def("nightly_curate")
    with dg.build_schedule_context(instance=tower.instance) as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.partition_key is None


def test_new_drops__a_request_names_drop_and_model(tower: Tower):
    tower.arrive("flight-1")
    (request,) = tower.tick()
    assert request.tags[DROP_TAG] == "flight-1"
    assert request.tags[MODEL_TAG] == tower.settings.model
