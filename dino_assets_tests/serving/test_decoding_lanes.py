"""Decoding lanes: order, limits, cancelled and damaged pictures."""

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
    lanes = Decoding(decode=decoder)
    yield lanes
    decoder.gate.set()
    lanes.close()


def test_decoding__a_large_picture_does_not_delay_small_ones(decoding, decoder):
    large = decoding.submit(b"large", SMALL_BYTES + 1)
    wait_until(lambda: decoder.seen == [b"large"])
    small = decoding.submit(b"small", SMALL_BYTES)
    wait_until(lambda: decoder.seen == [b"large", b"small"])
    decoder.gate.set()
    assert large.result(10).pixels.shape == small.result(10).pixels.shape == (1, 1, 3)


def test_decoding__skips_a_cancelled_picture(decoding, decoder):
    first = decoding.submit(b"first", 1)
    wait_until(lambda: decoder.seen)
    cancelled, last = decoding.submit(b"gone", 1), decoding.submit(b"last", 1)
    assert cancelled.cancel()
    decoder.gate.set()
    first.result(10)
    last.result(10)
    assert decoder.seen == [b"first", b"last"]


def test_decoding__a_damaged_picture_fails_alone(decoding, decoder):
    decoder.gate.set()
    with pytest.raises(UnusableImageError):
        decoding.submit(b"bad", 7).result(10)
    assert decoding.small.held_bytes == 0
    decoding.submit(b"good", 7).result(10)


def test_lane__waits_until_there_is_room(decoder):
    decoder.gate.set()
    lane = Lane("test", 10, decode=decoder)
    lanes = Decoding(decode=decoder)
    lanes.small = lane
    futures = [lanes.submit(name, 5) for name in (b"a", b"b", b"c")]
    first_picture = futures[0].result(10)
    futures[1].result(10)
    assert not futures[2].done()
    first_picture.release()
    first_picture.release()  # a second release has no effect
    futures[2].result(10)
    assert lane.held_bytes == 10
    lane.close()


def test_lane__decodes_a_single_picture_above_its_limit(decoder):
    decoder.gate.set()
    lanes = Decoding(decode=decoder)
    lanes.large = lane = Lane("test", 10, decode=decoder)
    lanes.submit(b"huge", SMALL_BYTES * 9).result(10).release()
    assert lane.held_bytes == 0
    lane.close()


def test_lane__a_cancelled_picture_does_not_block_the_queue(decoder):
    decoder.gate.set()
    lanes = Decoding(decode=decoder)
    lanes.small = lane = Lane("test", 10, decode=decoder)
    held_picture = lanes.submit(b"held", 5).result(10)
    too_large, behind = lanes.submit(b"too large", 9), lanes.submit(b"behind", 3)
    assert not behind.done()
    assert too_large.cancel()
    behind.result(10)
    assert decoder.seen == [b"held", b"behind"]
    held_picture.release()
    lane.close()
