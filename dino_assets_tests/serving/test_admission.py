"""Admission control: accepted and refused pictures, and the time to try again."""

from dataclasses import replace

import pytest

from dino_assets.serving.problems import Problem
from dino_assets.serving.requests.admission import DECODE_PX_PER_S, Admission, Limits, forecast_wait
from dino_assets.serving.requests.options import EmbedOptions
from dino_assets.serving.requests.planning import plan_upload
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.serving import SMALL, Painter, form_request, make_settings, wait_until

PLAN = plan_upload(photo_bytes(40, 40, kind="PNG"), EmbedOptions(), SMALL)  # 16 tiles
DECODING_S = 40 * 40 / DECODE_PX_PER_S


def make_admission(
    queue_s: float = 10, *, tile_s: float = 1.0, threads: int = 2, free: int = 10**12, **limits: int
) -> Admission:
    all_limits = replace(Limits(queue_s), **limits)
    return Admission(all_limits, tile_s=lambda: tile_s, threads=threads, free_bytes=lambda: free)


def test_forecast_s__tiles_times_seconds_over_threads():
    admission = make_admission(100)
    with admission.admit(PLAN) as share:
        assert admission.forecast_s() == pytest.approx(8 + DECODING_S / 2)
        share.decoded()
        share.computed(6)
        assert admission.forecast_s() == pytest.approx(5)
        with admission.admit(PLAN):
            assert admission.forecast_s() == pytest.approx(13 + DECODING_S / 2)
    assert admission.forecast_s() == 0
    assert vars(admission.load) == {"requests": 0, "tiles": 0, "pixels": 0, "token_bytes": 0}


def test_check__above_the_limit_says_when_half_is_free():
    admission = make_admission(10)
    with admission.admit(PLAN), admission.admit(PLAN):  # 16 s
        with raising(Problem, slug="busy", retry_after_s=12) as caught, admission.admit(PLAN):
            pass  # in 11 s half of the limit of 10 s is free; the pixels add a little
        assert caught.value.more == {"waiting_s": 16.0}
    with admission.admit(PLAN):
        pass


def test_check__refuses_until_half_of_the_limit_is_free():
    """The announced time is thus the time when uploads are accepted again."""
    admission = make_admission(10, threads=1)
    with admission.admit(PLAN) as share:  # 16 s
        share.decoded()
        for tiles, is_refused in ((0, True), (7, True), (3, True), (1, False), (0, False)):
            share.computed(tiles)  # 16, 9, 6 and 5 s
            if is_refused:
                with raising(Problem, slug="busy"):
                    admission.check()
            else:
                admission.check()


def test_check__an_empty_queue_accepts_any_picture():
    admission = make_admission(1, tile_s=60)
    with admission.admit(PLAN):
        assert admission.forecast_s() > 400
        with raising(Problem, slug="busy"):
            admission.check()


@pytest.mark.parametrize(("waiting_s", "wait_s"), [(11, 6), (60.2, 56), (1e9, 3600), (5.1, 1)])
def test_forecast_wait__whole_seconds(waiting_s, wait_s):
    assert forecast_wait(waiting_s, 10) == wait_s


def test_check__limits_the_number_of_pictures():
    admission = make_admission(10**6, requests=2)
    with admission.admit(PLAN), admission.admit(PLAN), raising(Problem, slug="busy"):
        admission.check()


def test_admit__limits_bytes_until_they_are_stored():
    admission = make_admission(10**6, token_bytes=PLAN.token_bytes)
    with admission.admit(PLAN) as share:
        share.computed(16)  # computed, and not stored yet
        with raising(Problem, slug="busy"), admission.admit(PLAN):
            pass


def test_admit__disk_full():
    admission = make_admission(free=PLAN.token_bytes - 1)
    with raising(Problem, slug="disk-full", retry_after_s=60), admission.admit(PLAN):
        pass


def test_embed__refuses_before_decoding(serve: Serve, tmp_path):
    """The refusal comes before the body is read, so it costs neither memory nor time."""
    engine = Painter(is_held=True)
    settings = make_settings(tmp_path, queue_s=1)
    served = serve(engine, settings=settings, tile_s=1.0)
    with served.connect() as line:
        line.sendall(form_request(photo_bytes(40, 40, kind="PNG")))
        wait_until(lambda: engine.calls)
        answer = served.embed(photo_bytes(40, 40, seed=2, kind="PNG"))
        assert (answer.status_code, answer.json()["slug"]) == (503, "busy")
        assert (
            8 <= int(answer.headers["retry-after"]) <= 17
        )  # 16 tiles of one second, the first one begun
        head = b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n"
        with served.connect() as second_line:
            second_line.sendall(head)
            assert second_line.recv(9999).startswith(b"HTTP/1.1 503 ")  # no "100 Continue" first
        engine.gate.set()


def test_embed__load_returns_to_zero(serve: Serve):
    served = serve(Painter(threads=2))
    for seed in range(5):
        served.embed(photo_bytes(40, 40, seed=seed, kind="PNG"))
    served.embed(b"no picture")
    served.embed(photo_bytes(40, 40, kind="PNG")[:-20])
    load = served.service.admission.load
    wait_until(lambda: vars(load) == {"requests": 0, "tiles": 0, "pixels": 0, "token_bytes": 0})
    assert served.running.room.held_bytes == 0
    lanes = served.service.decoding
    assert (lanes.small.held_bytes, lanes.large.held_bytes) == (0, 0)


def test_embed__too_many_uploads_at_the_same_time(serve: Serve):
    served = serve()
    served.running.room.most_bytes = 5000
    with served.connect() as line:
        line.sendall(
            b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b"
        )
        wait_until(lambda: served.running.room.held_bytes == 4000)
        answer = served.embed(photo_bytes(40, 40, kind="PNG"))
        assert (answer.status_code, answer.json()["slug"]) == (503, "busy")
        assert answer.headers["retry-after"]
    wait_until(lambda: served.running.room.held_bytes == 0)
    assert served.embed(photo_bytes(16, 16, kind="PNG")).status_code == 200
