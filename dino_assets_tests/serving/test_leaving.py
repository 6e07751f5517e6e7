"""Clients that leave: what waits for nobody is not computed, and what others wait for is."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dino_assets.serving.computing.decoding import Decoding
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.serving import (
    Absent,
    Decoder,
    Painter,
    Served,
    form_request,
    noting_lines,
    wait_until,
)

LONG = photo_bytes(200, 200, kind="PNG")  # 576 tiles
SHORT = photo_bytes(16, 16, kind="PNG")


def leave_once(served: Served, is_so) -> None:
    """Send an upload, and go away when something has come so far."""
    with served.connect() as line:
        line.sendall(form_request(LONG))
        wait_until(is_so)


def is_idle(served: Served) -> bool:
    load = served.service.admission.load
    return not (served.service._flights or load.requests or load.tiles or load.pixels)


def test_leaving__running_work_stops(serve: Serve, local_store):
    engine = Painter(is_held=True, threads=2)
    served = serve(engine)
    leave_once(served, lambda: len(engine.calls) == 2)
    wait_until(lambda: served.service.scheduler.waiting == 0)
    engine.gate.set()
    wait_until(lambda: is_idle(served))
    assert served.embed(SHORT).status_code == 200
    assert len(engine.calls) == 3  # the two that ran, and the next client's
    assert served.running.room.held_bytes == 0
    assert not [info.key for info in local_store.list() if info.key.startswith("embed")][2:]


def test_leaving__queued_work_never_starts(serve: Serve):
    decoder = Decoder()
    served = serve(decoding=Decoding(decode=decoder))
    with ThreadPoolExecutor(1) as other:
        first = other.submit(served.embed, SHORT)
        wait_until(lambda: decoder.seen)
        leave_once(served, lambda: served.service.admission.load.requests == 2)
        wait_until(lambda: served.service.admission.load.requests == 1)
        decoder.gate.set()
        first.result()
    wait_until(lambda: is_idle(served))
    assert decoder.seen == [SHORT]


def test_leaving__what_another_client_waits_for_goes_on(serve: Serve):
    engine = Painter(is_held=True)
    served = serve(engine)
    with ThreadPoolExecutor(1) as other:
        with served.connect() as line:
            line.sendall(form_request(LONG))
            wait_until(lambda: engine.calls)
            staying = other.submit(served.embed, LONG)
            (flight,) = served.service._flights.values()
            wait_until(lambda: flight.waiting == 2)
        wait_until(lambda: flight.waiting == 1)
        engine.gate.set()
        assert staying.result().status_code == 200
    assert sum(engine.calls) == 576


def test_leaving__whoever_comes_after_begins_anew(serve: Serve):
    engine = Painter(is_held=True)
    served = serve(engine)
    leave_once(served, lambda: engine.calls)
    wait_until(lambda: not served.service._flights)
    engine.gate.set()
    assert served.embed(LONG).status_code == 200


def test_leaving__while_the_body_comes(serve: Serve):
    served = serve()
    with served.connect() as line:
        line.sendall(form_request(LONG)[:20_000])
        wait_until(lambda: served.running.room.held_bytes)
    wait_until(lambda: not served.running.room.held_bytes)
    assert served.embed(SHORT).status_code == 200


def test_leaving__is_in_the_log(serve: Serve):
    engine = Painter(is_held=True)
    served = serve(engine)
    with noting_lines() as lines:
        leave_once(served, lambda: engine.calls)
        wait_until(lambda: lines)
    assert (lines[0]["status"], lines[0]["slug"]) == (499, "client-gone")


@pytest.mark.parametrize("bytes_sent", [0, 10])
def test_leaving__a_bare_connection_costs_nothing(serve: Serve, bytes_sent):
    served = serve()
    lines: list[socket.socket] = []
    for _ in range(50):
        with served.connect() as line:
            line.sendall(b"POST /embe"[:bytes_sent])
            lines.append(line)
    assert served.embed(SHORT).status_code == 200
    assert threading.active_count() < 40


def test_leaving__the_end_of_what_was_given_up_ends_nobody_elses(serve: Serve):
    """One who comes while the work of one who left winds down is joined by others as usual."""
    engine = Painter(is_held=True)
    served = serve(engine)
    leave_once(served, lambda: engine.calls)
    wait_until(lambda: not served.service._flights)
    with ThreadPoolExecutor(2) as others:
        asking = [others.submit(served.embed, LONG)]
        wait_until(lambda: served.service._flights)
        (flight,) = served.service._flights.values()
        wait_until(lambda: served.service.admission.load.requests == 1)
        asking.append(others.submit(served.embed, LONG))
        wait_until(lambda: flight.waiting == 2)
        engine.gate.set()
        assert [each.result().status_code for each in asking] == [200, 200]
    assert sum(engine.calls) == 1 + 576


def test_leaving__the_first_one_before_its_picture_is_looked_at(serve: Serve, local_store):
    """Others wait for the same picture: the bytes that came first are theirs, too."""
    absent = Absent(local_store)
    served = serve(store=absent)
    absent.hanging.clear()
    with ThreadPoolExecutor(1) as other:
        with served.connect() as line:
            line.sendall(form_request(LONG))
            wait_until(lambda: served.service._flights)
            staying = other.submit(served.embed, LONG)
            (flight,) = served.service._flights.values()
            wait_until(lambda: flight.waiting == 2)
        wait_until(lambda: flight.waiting == 1)
        absent.hanging.set()
        assert staying.result().status_code == 200
