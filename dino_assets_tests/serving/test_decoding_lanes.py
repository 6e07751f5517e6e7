"""Pictures decoded in two lanes, each as long as there is room."""

from collections.abc import Iterator

import pytest

from dino_assets.errors import UnusableImageError
from dino_assets.serving.computing.decoding import SMALL_BYTES, Decoding, Lane
from dino_assets_tests.worlds.serving import Decoder, wait_until


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def decoding(decoder: Decoder) -> Iterator[Decoding]:
    both = Decoding(decode=decoder)
    yield both
    decoder.gate.set()
    both.close()


def test_decoding__a_large_picture_holds_up_no_small_one(decoding, decoder):
    large = decoding.submit(b"large", SMALL_BYTES + 1)
    wait_until(lambda: decoder.seen == [b"large"])
    small = decoding.submit(b"small", SMALL_BYTES)
    wait_until(lambda: decoder.seen == [b"large", b"small"])
    decoder.gate.set()
    assert large.result(10).pixels.shape == small.result(10).pixels.shape == (1, 1, 3)


def test_decoding__cancelled_before_its_turn_it_is_never_decoded(decoding, decoder):
    first = decoding.submit(b"first", 1)
    wait_until(lambda: decoder.seen)
    gone, last = decoding.submit(b"gone", 1), decoding.submit(b"last", 1)
    assert gone.cancel()
    decoder.gate.set()
    first.result(10)
    last.result(10)
    assert decoder.seen == [b"first", b"last"]


def test_decoding__a_bad_picture_is_its_own_answer(decoding, decoder):
    decoder.gate.set()
    with pytest.raises(UnusableImageError):
        decoding.submit(b"bad", 7).result(10)
    assert decoding.small.held_bytes == 0
    decoding.submit(b"good", 7).result(10)


def test_lane__waits_until_there_is_room(decoder):
    decoder.gate.set()
    lane = Lane("test", 10, decode=decoder)
    both = Decoding(decode=decoder)
    both.small = lane
    held = [both.submit(name, 5) for name in (b"a", b"b", b"c")]
    first = held[0].result(10)
    held[1].result(10)
    assert not held[2].done()
    first.release()
    first.release()  # once is once
    held[2].result(10)
    assert lane.held_bytes == 10
    lane.close()


def test_lane__one_picture_is_decoded_whatever_it_takes(decoder):
    decoder.gate.set()
    both = Decoding(decode=decoder)
    both.large = lane = Lane("test", 10, decode=decoder)
    both.submit(b"huge", SMALL_BYTES * 9).result(10).release()
    assert lane.held_bytes == 0
    lane.close()


def test_lane__one_that_is_given_up_makes_way_for_those_behind_it(decoder):
    decoder.gate.set()
    both = Decoding(decode=decoder)
    both.small = lane = Lane("test", 10, decode=decoder)
    held = both.submit(b"held", 5).result(10)
    too_large, behind = both.submit(b"too large", 9), both.submit(b"behind", 3)
    assert not behind.done()
    assert too_large.cancel()
    behind.result(10)
    assert decoder.seen == [b"held", b"behind"]
    held.release()
    lane.close()
