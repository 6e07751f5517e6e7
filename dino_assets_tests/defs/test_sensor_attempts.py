"""The sensor for new drops: failed runs, failed launches, cancelled runs and unfit files."""

import time

import dagster as dg
import pytest

from dino_assets.defs import sensors
from dino_assets.defs.dead_runs import RETRY_DECISION_S
from dino_assets.defs.execution import find_verdict
from dino_assets.defs.sensors import ATTEMPT_TAG, CONTENT_TAG, PARTITION_TAG, InstanceRuns
from dino_assets.drops.arrivals import MARKER, read_folder_state
from dino_assets_tests.worlds.tower import RUN_KEY, STATUS, Tower, fail_undecided, names


def test_new_drops__three_failures_need_a_person(tower: Tower):
    tower.arrive("a")
    for attempt in (1, 2, 3):
        (request,) = tower.tick()
        assert request.run_key.endswith(f":{attempt}")
        assert request.tags[ATTEMPT_TAG] == str(attempt)
        last_run = tower.run_of(request, STATUS.FAILURE)
    assert tower.tick() == []
    assert "a: a person must look: 3 runs did not finish it" in tower.said
    assert last_run.run_id[:8] in tower.said


def test_new_drops__drop_stopped_by_a_check_is_not_run_again(tower: Tower):
    tower.arrive("bad", b"no picture")
    tower.arrive("good")
    requests = {request.partition_key: request for request in tower.tick()}
    stopped_result = tower.execute(requests["bad"])
    assert not stopped_result.success
    tower.execute(requests["good"])
    assert tower.tick() == []
    assert tower.said.startswith(
        "2 drops, 1 finished: bad: a person must look: a check stopped run "
    )
    assert stopped_result.run_id[:8] in tower.said
    assert "0 of 1 files are usable" in tower.said
    # Other pictures are new content; a touched marker is not.
    tower.put(f"bad/{MARKER}", b"again")
    assert tower.tick() == []
    tower.put("bad/DJI_0001.JPG")
    (request,) = tower.tick()
    assert request.run_key.endswith(":1")
    assert tower.execute(request).success
    assert tower.tick() == []
    assert tower.said == "2 drops, 2 finished."


def test_new_drops__failed_launches_are_no_attempts(tower: Tower):
    """Without a code server, the daemon fails the launch, and no run of the drop has started."""
    tower.arrive("a")
    now_s = time.time()
    for number in (1, 2, 3, 4):
        (request,) = tower.tick_at(now_s + 1000 * number).run_requests
        assert request.run_key.endswith(f":{number}")
        assert request.tags[ATTEMPT_TAG] == "1"
        tags = {**request.tags, PARTITION_TAG: "a", RUN_KEY: str(request.run_key)}
        launched_run = tower.run(STATUS.STARTING, tags)
        tower.instance.add_run_tags(launched_run.run_id, {"dagster/max_retries": "0"})
        tower.instance.report_run_failed(launched_run, "no code server")
    result = tower.tick_at(time.time() + 1)
    assert result.run_requests == []
    message = result.skip_reason.skip_message
    assert (
        "a: 4 launches did not become a run, which does not count as an attempt; the next launch is in 2"
        in message
    )
    # A run that started counts as an attempt.
    tower.run(STATUS.FAILURE, tags)
    (request,) = tower.tick()
    assert (request.run_key[-2:], request.tags[ATTEMPT_TAG]) == (":5", "2")


def test_new_drops__unfit_files_are_reported_once(tower: Tower):
    tower.arrive("bad", b"no picture")
    (request,) = tower.tick()
    first = tower.execute(request)
    assert tower.tick() == []
    assert f"a check stopped run {first.run_id[:8]}" in tower.said
    sentence = "1 drop, 0 finished, 1 stopped by a check (`dino-assets drops list` shows why)."
    for _ in range(2):
        assert tower.tick() == []
        assert tower.said == sentence
    # A failed launch changes nothing; another run reports it again.
    tower.run_of(request, STATUS.STARTING)
    (launched_run,) = tower.instance.get_runs(dg.RunsFilter(statuses=[STATUS.STARTING]))
    tower.instance.add_run_tags(launched_run.run_id, {"dagster/max_retries": "0"})
    tower.instance.report_run_failed(launched_run, "no code server")
    assert tower.tick() == []
    assert tower.said == sentence
    second_result = tower.execute(request)
    assert tower.tick() == []
    assert f"a check stopped run {second_result.run_id[:8]}" in tower.said


def test_find_verdict__of_a_step_without_its_check(tower: Tower):
    tower.arrive("bad", b"no picture")
    (request,) = tower.tick()
    run_id = tower.execute(request).run_id
    by_check = find_verdict(tower.instance, run_id, drop="bad")
    result = tower.job.execute_in_process(
        instance=tower.instance,
        partition_key="bad",
        asset_selection=[dg.AssetKey("tiles")],
        raise_on_error=False,
    )
    sentence = "0 of 1 files are usable photographs, 1 quarantined: expected at least one usable photograph"
    assert by_check == sentence
    by_step = find_verdict(tower.instance, result.run_id, drop="bad")
    assert by_step.startswith(sentence)
    assert find_verdict(tower.instance, result.run_id, drop="another") == ""


def test_new_drops__deleted_run_does_not_free_its_key(tower: Tower):
    """If the first run was deleted, the next attempt must not use the key of the second run."""
    tower.arrive("a")
    first = tower.run_of(tower.tick()[0], STATUS.FAILURE)
    tower.run_of(tower.tick()[0], STATUS.FAILURE)
    tower.instance.delete_run(first.run_id)
    assert tower.tick()[0].run_key.endswith(":3")


def test_new_drops__failures_of_other_runs_do_not_count(tower: Tower):
    tower.arrive("a")
    content = read_folder_state(str(tower.root / "inbox" / "a"), root=tower.root).content
    for status in (STATUS.FAILURE, STATUS.FAILURE, STATUS.FAILURE, STATUS.CANCELED):
        tower.run(status, {PARTITION_TAG: "a"})
        tower.run(status, {PARTITION_TAG: "other", CONTENT_TAG: content})
    (request,) = tower.tick()
    assert request.run_key.endswith(":1")


def test_new_drops__cancelled_run_is_not_repeated(tower: Tower):
    tower.arrive("a")
    (request,) = tower.tick()
    run = tower.run_of(request, STATUS.STARTED)
    tower.instance.report_run_canceled(run)
    assert tower.tick() == []
    assert f"a: run {run.run_id[:8]} was cancelled, so no new run is started" in tower.said
    tower.put("a/DJI_0002.JPG")
    assert names(tower.tick()) == ["a"]


def test_new_drops__names_the_cancelled_run(tower: Tower):
    tower.arrive("a")
    (request,) = tower.tick()
    run = tower.run_of(request, STATUS.STARTED)
    tower.instance.report_run_canceled(run)
    later_run = tower.run_of(
        request, STATUS.FAILURE
    )  # a person launched another run, with the same tags
    assert tower.tick() == []
    assert f"a: run {run.run_id[:8]} was cancelled" in tower.said
    assert later_run.run_id[:8] not in tower.said


@pytest.mark.parametrize("is_ours", [True, False])
def test_new_drops__no_run_while_dagster_retries(tower: Tower, is_ours: bool):
    tower.arrive("a")
    (request,) = tower.tick()
    tags = {**request.tags, RUN_KEY: str(request.run_key)} if is_ours else {PARTITION_TAG: "a"}
    run = tower.run(STATUS.STARTED, tags)
    tower.instance.report_run_failed(run, "killed")
    assert tower.instance.get_run_by_id(run.run_id).tags["dagster/will_retry"] == "true"
    # Between the failure and Dagster's retry no run is in flight, but none may be requested.
    assert tower.tick() == []
    assert "a: Dagster is about to start its crashed run again" in tower.said
    retry = tower.run(STATUS.STARTED, {**tags, "dagster/max_retries": "0"})
    tower.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": retry.run_id})
    assert tower.tick() == []
    assert "a: its run has not ended yet" in tower.said
    tower.instance.report_run_failed(retry, "killed again")
    (second_request,) = tower.tick()
    # Both count: they had the same drop and the same files.
    assert second_request.run_key.endswith(":3" if is_ours else ":1")


def test_instance_runs__retry_after_the_start_of_the_tick(tower: Tower):
    tower.arrive("a")
    (request,) = tower.tick()
    crashed_run = tower.run_of(request, STATUS.STARTED)
    tower.instance.report_run_failed(crashed_run, "killed")
    runs = InstanceRuns(tower.instance, clock=time.time)
    assert runs.in_flight == frozenset()
    retry = tower.run_of(request, STATUS.QUEUED)
    tower.instance.add_run_tags(crashed_run.run_id, {"dagster/auto_retry_run_id": retry.run_id})
    past = runs.past("a", request.tags[CONTENT_TAG])
    assert (past.ended, past.is_running, past.is_retrying) == (1, True, False)


def test_new_drops__no_run_before_dagster_decides_whether_it_retries(tower: Tower):
    tower.arrive("a")
    run = tower.run_of(tower.tick()[0], STATUS.STARTED)
    fail_undecided(tower.instance, run)
    assert tower.instance.get_run_by_id(run.run_id).status == STATUS.FAILURE
    now_s = time.time()
    assert tower.tick_at(now_s).run_requests == []
    # Dagster was killed in between.
    (request,) = tower.tick_at(now_s + RETRY_DECISION_S + 1).run_requests
    assert request.run_key.endswith(":2")


def test_new_drops__an_instance_without_retries_decides_nothing(tower: Tower, monkeypatch):
    tower.arrive("a")
    run = tower.run_of(tower.tick()[0], STATUS.STARTED)
    fail_undecided(tower.instance, run)
    monkeypatch.setattr(dg.DagsterInstance, "run_retries_enabled", False)
    assert names(tower.tick_at(time.time()).run_requests) == ["a"]


def test_new_drops__missing_retry_does_not_block_the_drop(tower: Tower):
    tower.arrive("a")
    run = tower.run_of(tower.tick()[0], STATUS.STARTED)
    tower.instance.report_run_failed(run, "killed")
    assert tower.tick() == []
    now_s = time.time()
    assert tower.tick_at(now_s + sensors.RETRY_PATIENCE_S / 2).run_requests == []
    (request,) = tower.tick_at(now_s + sensors.RETRY_PATIENCE_S + 1).run_requests
    assert request.run_key.endswith(":2")
