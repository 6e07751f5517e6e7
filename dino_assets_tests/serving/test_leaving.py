"""Clients that close their connection: work stops unless another client waits for it."""

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


def leave_when(served: Served, condition) -> None:
    """Send an upload, and close the connection once a condition holds."""
    with served.connect() as line:
        line.sendall(form_request(LONG))
        wait_until(condition)


def is_idle(served: Served) -> bool:
    load = served.service.admission.load
    return not (served.service._computations or load.requests or load.tiles or load.pixels)


def test_leaving__running_work_stops(serve: Serve, local_store):
    engine = Painter(is_held=True, threads=2)
    served = serve(engine)
    leave_when(served, lambda: len(engine.calls) == 2)
    wait_until(lambda: served.service.scheduler.waiting == 0)
    engine.gate.set()
    wait_until(lambda: is_idle(served))
    assert served.embed(SHORT).status_code == 200
    assert len(engine.calls) == 3  # two calls of the first client, one of the next
    assert served.running.room.held_bytes == 0
    assert not [info.key for info in local_store.list() if info.key.startswith("embed")][2:]


def test_leaving__queued_work_never_starts(serve: Serve):
    decoder = Decoder()
    served = serve(decoding=Decoding(decode=decoder))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(served.embed, SHORT)
        wait_until(lambda: decoder.seen)
        leave_when(served, lambda: served.service.admission.load.requests == 2)
        wait_until(lambda: served.service.admission.load.requests == 1)
        decoder.gate.set()
        future.result()
    wait_until(lambda: is_idle(served))
    assert decoder.seen == [SHORT]


def test_leaving__work_continues_for_another_client(serve: Serve):
    engine = Painter(is_held=True)
    served = serve(engine)
    with ThreadPoolExecutor(1) as pool:
        with served.connect() as line:
            line.sendall(form_request(LONG))
            wait_until(lambda: engine.calls)
            future = pool.submit(served.embed, LONG)
            (computation,) = served.service._computations.values()
            wait_until(lambda: computation.waiting == 2)
        wait_until(lambda: computation.waiting == 1)
        engine.gate.set()
        assert future.result().status_code == 200
    assert sum(engine.calls) == 576


def test_leaving__a_later_client_starts_a_new_computation(serve: Serve):
    engine = Painter(is_held=True)
    served = serve(engine)
    leave_when(served, lambda: engine.calls)
    wait_until(lambda: not served.service._computations)
    engine.gate.set()
    assert served.embed(LONG).status_code == 200


def test_leaving__while_sending_the_body(serve: Serve):
    served = serve()
    with served.connect() as line:
        line.sendall(form_request(LONG)[:20_000])
        wait_until(lambda: served.running.room.held_bytes)
    wait_until(lambda: not served.running.room.held_bytes)
    assert served.embed(SHORT).status_code == 200


def test_leaving__is_logged(serve: Serve):
    engine = Painter(is_held=True)
    served = serve(engine)
    with noting_lines() as lines:
        leave_when(served, lambda: engine.calls)
        wait_until(lambda: lines)
    assert (lines[0]["status"], lines[0]["slug"]) == (499, "client-gone")


@pytest.mark.parametrize("bytes_sent", [0, 10])
def test_leaving__a_connection_without_request(serve: Serve, bytes_sent):
    served = serve()
    lines: list[socket.socket] = []
    for _ in range(50):
        with served.connect() as line:
            line.sendall(b"POST /embe"[:bytes_sent])
            lines.append(line)
    assert served.embed(SHORT).status_code == 200
    assert threading.active_count() < 40


def test_leaving__the_end_of_cancelled_work_keeps_a_later_computation(serve: Serve):
    """While cancelled work ends, a new computation of the same picture starts, and others share it."""
    engine = Painter(is_held=True)
    served = serve(engine)
    leave_when(served, lambda: engine.calls)
    wait_until(lambda: not served.service._computations)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(served.embed, LONG)]
        wait_until(lambda: served.service._computations)
        (computation,) = served.service._computations.values()
        wait_until(lambda: served.service.admission.load.requests == 1)
        futures.append(pool.submit(served.embed, LONG))
        wait_until(lambda: computation.waiting == 2)
        engine.gate.set()
        assert [each.result().status_code for each in futures] == [200, 200]
    assert sum(engine.calls) == 1 + 576


def test_leaving__first_client_before_decoding(serve: Serve, local_store):
    """Others wait for the same picture, so the first client's bytes are still used."""
    absent = Absent(local_store)
    served = serve(store=absent)
    absent.hanging.clear()
    with ThreadPoolExecutor(1) as pool:
        with served.connect() as line:
            line.sendall(form_request(LONG))
            wait_until(lambda: served.service._computations)
            future = pool.submit(served.embed, LONG)
            (computation,) = served.service._computations.values()
            wait_until(lambda: computation.waiting == 2)
        wait_until(lambda: computation.waiting == 1)
        absent.hanging.set()
        assert future.result().status_code == 200
