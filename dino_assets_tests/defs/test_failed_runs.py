"""The sensor for failed runs, with receivers that accept, refuse, are slow or are down."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg
import pytest

from dino_assets.definitions import make_definitions
from dino_assets.defs.alerts import AlertCursor, Post, report_failures
from dino_assets.defs.dead_runs import RETRY_DECISION_S, WILL_RETRY_TAG
from dino_assets.defs.execution import execute_run
from dino_assets.defs.plans import plan_runs
from dino_assets.defs.webhook import hide_all, post_json
from dino_assets.errors import ConfigError
from dino_assets.settings.environment import load_settings
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.servers import HOST, free_port
from dino_assets_tests.worlds.tower import fail_undecided

SECRET = "hunter2-very-secret"


class Receiver:
    """A webhook on this machine: the bodies that it received, and its answers."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.types: list[str] = []
        self.status, self.wait_s, self.location = 200, 0.0, ""
        self.url, self.refused_drop = "", "none"


@contextlib.contextmanager
def serving(receiver: Receiver, port: int = 0) -> Iterator[None]:
    """Run the receiver on a port, which may have been closed before."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.bodies.append(json.loads(data))
            receiver.types.append(self.headers["Content-Type"])
            time.sleep(receiver.wait_s)
            is_refused = receiver.bodies[-1].get("drop") == receiver.refused_drop
            with contextlib.suppress(OSError):  # the client has disconnected
                self.send_response(400 if is_refused else receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((HOST, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    receiver.url = f"http://{HOST}:{server.server_port}/hooks/{SECRET}"
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with serving(receiver):
        yield receiver


class Watch:
    """Ticks of the sensor, as the daemon makes them."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor = instance, None
        self.now_s = time.time()
        self.defs = make_definitions(load_settings())

    def tick(self) -> str:
        """Evaluate the sensor once; return its message."""
        with dg.build_sensor_context(
            instance_ref=self.instance.get_ref(), cursor=self.cursor, definitions=self.defs
        ) as context:
            data = self.defs.resolve_sensor_def("failed_runs").evaluate_tick(context)
        self.cursor = data.cursor
        return data.skip_message or ""

    def tick_later(self, seconds: float, post: Post = post_json) -> str:
        """Evaluate the sensor once, some seconds after the last tick."""
        self.now_s += seconds
        settings = load_settings()
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            problems = report_failures(
                context,
                url=settings.failure_webhook,
                ui=settings.ui_url,
                clock=lambda: self.now_s,
                post=post,
            )
            self.cursor = context.cursor
        return problems

    def fail_unseen(self, drop: str) -> str:
        """Record a failed run without executing it."""
        run = self.instance.create_run_for_job(
            self.defs.resolve_job_def("ingest"), tags={"dagster/partition": drop}
        )
        self.instance.report_run_failed(run, f"{drop} has ended: killed.")
        return run.run_id

    def fail(self, drop: str = "a") -> str:
        """Execute a run of a drop whose card is missing."""
        (planned_run,) = plan_runs([drop], ["weights", "images"])
        end = execute_run(
            self.defs, self.instance, planned_run, config={}, listen=lambda entry: None
        )
        assert end.status == "failed"
        return end.run_id


@pytest.fixture
def watch(project, card, tmp_path) -> Iterator[Watch]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        lineage = Lineage(instance)
        for name in ("a", "b"):
            folder = card(name, good=1)
            lineage.register(name, folder)
            folder.rename(folder.with_name(f"gone-{name}"))
        watch = Watch(instance)
        watch.tick()  # from here on
        yield watch


def test_failed_runs__body_of_an_alert(watch: Watch, receiver: Receiver, monkeypatch):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    monkeypatch.setenv("DINO_UI_URL", "https://dagster.example/")
    run_id = watch.fail()
    assert watch.tick() == "1 posted."
    (body,) = receiver.bodies
    assert receiver.types == ["application/json"]
    sentence = body.pop("sentence")
    assert body == {
        "job": "ingest",
        "run_id": run_id,
        "drop": "a",
        "url": f"https://dagster.example/runs/{run_id}",
    }
    assert sentence.startswith("images: SourceError: there is no folder")
    assert "Traceback" not in sentence
    # Each run once.
    watch.tick()
    assert len(receiver.bodies) == 1


def test_failed_runs__no_successful_and_no_earlier_runs(
    watch: Watch, receiver: Receiver, monkeypatch
):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    (planned_run,) = plan_runs([], ["weights"])
    assert (
        execute_run(watch.defs, watch.instance, planned_run, config={}, listen=print).status
        == "done"
    )
    watch.tick()
    assert receiver.bodies == []


def test_failed_runs__without_an_address(watch: Watch):
    watch.fail()
    assert "DINO_FAILURE_WEBHOOK is not set" in watch.tick()
    assert "failed" not in watch.tick()


def test_failed_runs__wait_while_the_receiver_is_down(watch: Watch, monkeypatch):
    receiver, port = Receiver(), free_port()
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", f"http://{HOST}:{port}/hooks/{SECRET}")
    first = watch.fail_unseen("a")
    message = watch.tick()
    assert (
        f"run {first} failed; the webhook did not accept the alert: Connection refused" in message
    )
    assert "1 waiting to be posted" in message
    assert SECRET not in message + str(watch.cursor)
    second = watch.fail_unseen("b")
    with serving(receiver, port):
        assert watch.tick() == "2 posted."
        assert watch.tick() == "Nothing to post."
    assert sorted(body["run_id"] for body in receiver.bodies) == sorted([first, second])


def test_report_failures__waits_longer_each_time_and_a_day_at_most(watch: Watch, monkeypatch):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", "http://127.0.0.1/")
    delays: list[float] = []

    def refuse(url: str, body: object) -> str:
        delays.append(watch.now_s - started_s)
        return "it answered 503"

    watch.fail_unseen("a")
    started_s = watch.now_s
    for _ in range(120):
        watch.tick_later(30, refuse)
    assert delays[:5] == [30, 60, 120, 240, 480]
    assert [later - earlier for earlier, later in zip(delays[-3:], delays[-2:], strict=False)] == [
        900,
        900,
    ]
    assert "1 waiting to be posted" in watch.tick_later(82_000, refuse)
    assert "its alert was given up" in watch.tick_later(3_000, refuse)
    assert watch.tick_later(30, refuse) == "Nothing to post."
    assert AlertCursor.load(watch.cursor).waiting == ()


def test_report_failures__all_waiting_alerts_follow_the_first_accepted_one(
    watch: Watch, receiver: Receiver, monkeypatch
):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    for number in range(3):
        watch.fail_unseen(f"d{number}")
    for _ in range(4):
        watch.tick_later(120, lambda url, body: "no answer in 4 s")
    watch.fail_unseen("new")
    assert watch.tick_later(30) == "4 posted."
    assert [body["drop"] for body in receiver.bodies] == ["new", "d0", "d1", "d2"]


def test_failed_runs__only_the_last_of_several_retries(
    watch: Watch, receiver: Receiver, monkeypatch
):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    first = watch.fail_unseen("a")
    watch.instance.add_run_tags(first, {"dagster/will_retry": "true"})
    last_run = watch.fail_unseen("a")
    watch.tick_later(30)
    assert [body["run_id"] for body in receiver.bodies] == [last_run]


def test_report_failures__no_alert_before_dagster_decides_whether_it_retries(
    watch: Watch, receiver: Receiver, monkeypatch
):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    monkeypatch.setattr(dg.DagsterInstance, "run_retries_enabled", True)
    retried_run, last_run = (
        watch.instance.create_run_for_job(watch.defs.resolve_job_def("ingest")) for _ in range(2)
    )
    fail_undecided(watch.instance, retried_run)
    watch.now_s = time.time()
    assert watch.tick_later(0) == "Nothing to post."
    watch.instance.add_run_tags(retried_run.run_id, {WILL_RETRY_TAG: "true"})
    assert watch.tick_later(1) == "Nothing to post."
    fail_undecided(watch.instance, last_run)
    assert watch.tick_later(1) == "Nothing to post."
    # Dagster was killed before it decided.
    assert watch.tick_later(RETRY_DECISION_S + 1) == "1 posted."
    assert [body["run_id"] for body in receiver.bodies] == [last_run.run_id]


def test_report_failures__refused_alert_does_not_delay_others(
    watch: Watch, receiver: Receiver, monkeypatch
):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    receiver.refused_drop = "a"
    watch.fail_unseen("a")
    assert "it answered 400" in watch.tick_later(30)
    watch.fail_unseen("b")
    watch.tick_later(30)
    assert [body["drop"] for body in receiver.bodies] == ["a", "b", "a"]


def test_report_failures__ends_within_its_time_budget(watch: Watch, monkeypatch):
    """The daemon ends a tick after a minute; the remaining alerts come first in the next tick."""
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", "http://127.0.0.1/")
    drops: list[str] = []

    def hang(url: str, body: Mapping[str, Any]) -> str:
        drops.append(body["drop"])
        watch.now_s += 9
        return "no answer in 4 s"

    for number in range(5):
        watch.fail_unseen(f"d{number}")
    watch.tick_later(30, hang)
    assert drops == ["d0", "d1", "d2"]
    watch.tick_later(30, hang)
    assert drops[3:] == ["d3", "d4", "d0"]


def test_report_failures__reads_the_cursor_of_an_earlier_version(
    watch: Watch, receiver: Receiver, monkeypatch
):
    """Earlier versions used the cursor of Dagster's sensor."""
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    watch.fail_unseen("a")
    (last_record,) = watch.instance.fetch_run_status_changes(
        dg.DagsterEventType.RUN_FAILURE, limit=1
    ).records
    watch.cursor = json.dumps(
        {"__class__": "RunStatusSensorCursor", "record_id": last_record.storage_id}
    )
    second = watch.fail_unseen("b")
    assert watch.tick_later(30) == "1 posted."
    assert [body["run_id"] for body in receiver.bodies] == [second]


def test_failed_runs__sentence_of_a_blocking_check(watch: Watch, receiver, card, monkeypatch):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    Lineage(watch.instance).register("bad", card("bad", good=1, bad=5))
    watch.fail("bad")
    assert watch.tick() == "1 posted."
    assert receiver.bodies[0]["sentence"].startswith("images_are_usable: bad: ")


def test_failed_runs__killed_run(watch: Watch, receiver: Receiver, monkeypatch):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    run = watch.instance.create_run_for_job(
        watch.defs.resolve_job_def("ingest"), tags={"dagster/partition": "a"}
    )
    watch.instance.report_run_failed(run, "This run has ended: killed.")
    assert watch.tick() == "1 posted."
    (body,) = receiver.bodies
    assert (body["drop"], body["sentence"]) == ("a", "This run has ended: killed.")


def test_failed_runs__not_of_another_project_on_the_instance(watch: Watch, receiver, monkeypatch):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    run = watch.instance.create_run_for_job(
        watch.defs.resolve_job_def("ingest"), tags={".dagster/repository": "__repository__@other"}
    )
    watch.instance.report_run_failed(run, "x")
    watch.tick()
    assert receiver.bodies == []


def pauses() -> tuple[list[float], Callable[[float], object]]:
    waits: list[float] = []
    return waits, waits.append


def test_post_json__slow_receiver(receiver: Receiver):
    receiver.wait_s = 2.0
    waits, sleep = pauses()
    start_s = time.monotonic()
    assert post_json(receiver.url, {}, timeout_s=0.2, sleep=sleep) == "no answer in 0.2 s"
    assert time.monotonic() - start_s < 2.0
    assert (len(receiver.bodies), len(waits)) == (2, 1)


@pytest.mark.parametrize(("status", "times"), [(500, 2), (503, 2), (404, 1), (302, 1)])
def test_post_json__refusing_receiver(receiver: Receiver, status: int, times: int):
    receiver.status, receiver.location = status, receiver.url
    assert post_json(receiver.url, {"a": 1}, sleep=lambda _: None) == f"it answered {status}"
    assert receiver.bodies == [{"a": 1}] * times


def test_hide_all__secrets_and_long_texts():
    assert hide_all("key abc, abcdef", ["abc", "abcdef"]) == "key …, …"
    assert len(hide_all("x" * 5000, [])) == 2000


def test_failed_runs__no_secret_in_a_sentence(watch: Watch, receiver: Receiver, monkeypatch):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    run = watch.instance.create_run_for_job(watch.defs.resolve_job_def("ingest"))
    watch.instance.report_run_failed(run, f"GET {receiver.url} with hf_abcdefgh: no")
    watch.tick()
    assert receiver.bodies[0]["sentence"] == "GET … with …: no"


@pytest.mark.parametrize(
    "value", ["ftp://x/y", "x.example/hook", "http:///hook", "http://h:0x/", "http://a b/"]
)
def test_load_settings__invalid_webhook_address(project, monkeypatch, value: str):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", value)
    with raising(ConfigError, setting="DINO_FAILURE_WEBHOOK", reason="no-address") as caught:
        load_settings()
    assert value not in str(caught.value)


def test_load_settings__webhook_is_never_shown(project, receiver: Receiver, monkeypatch):
    monkeypatch.setenv("DINO_FAILURE_WEBHOOK", receiver.url)
    settings = load_settings()
    assert settings.failure_webhook == receiver.url
    assert SECRET not in repr(settings)
