"""Batches: padded, halved, none at all; and what a tile's numbers may depend on."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from dino_assets.embeddings.encoder.choosing import build_engine
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource, count_tokens
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS, TokenName, Tokens, Vectors, normalise
from dino_assets.embeddings.encoder.vit import load_network
from dino_assets.errors import ConfigError, DeviceMemoryError
from dino_assets_tests.worlds.networks import (
    Sample,
    assert_close,
    assert_same,
    compute_expected,
    draw_tiles,
    spec,
)

SampleOf = Callable[..., Sample]
CLS: tuple[TokenName, ...] = ("cls",)
SIDE = 96
HAS_AVX512 = "AVX512" in torch.backends.cpu.get_cpu_capability()
ENGINES = [
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
]


class SmallDevice(Encoder):
    """Computes with torch, on a device that has room for so many tiles."""

    version = "test"

    def __init__(self, source: NetworkSource, spec: EngineSpec, *, room: int) -> None:
        super().__init__(source, spec)
        self.network = load_network(
            source.folder, source.checkpoint, side_px=source.side_px, outputs=source.outputs
        )
        self.room = room
        self.calls: list[int] = []
        self.gate: threading.Barrier | None = None

    def run_batch(self, tiles: np.ndarray) -> tuple[Vectors, ...]:
        self.calls.append(len(tiles))
        if len(tiles) > self.room:
            if self.gate:
                self.gate.wait(10)  # both have tried before either halves
            raise DeviceMemoryError("tried to allocate 2 GiB")
        with torch.inference_mode():
            planes = torch.from_numpy(normalise(tiles, self.source.checkpoint))
            return tuple(each.numpy() for each in self.network(planes))


@pytest.fixture
def four_registers(sample_of: SampleOf) -> Sample:
    return sample_of("dinov2_with_registers")


def test_encode__halves_the_batch_until_it_fits(one_tiny: Sample, caplog):
    tiles = draw_tiles(7, SIDE)
    device = SmallDevice(one_tiny.at(SIDE), spec("torch", "fp32", 12), room=2)
    with caplog.at_level(logging.WARNING, "dino_assets"):
        tokens = device.encode(tiles)
    # 12 and 6 are too many, 3 still is; then one by one
    assert device.calls == [12, 6, 3, 1, 1, 1, 1, 1, 1, 1]
    assert_close(tokens, compute_expected(one_tiny, tiles))
    assert [record.getMessage() for record in caplog.records] == [
        f"torch fp32 on cpu: out of memory at {b} tiles per call, continuing with {b // 2}"
        for b in (12, 6, 3)
    ]
    assert device.spec.batch == 1


def test_encode__halves_the_batch_in_the_middle(one_tiny: Sample, caplog):
    """Somebody else took the room after the first call: nothing is lost, nothing comes twice."""
    tiles = draw_tiles(11, SIDE)
    device = SmallDevice(one_tiny.at(SIDE), spec("torch", "fp32", 4), room=4)
    run = device.run_batch

    def crowded(piece: np.ndarray) -> tuple[Vectors, ...]:
        device.room = 4 if not device.calls else 2
        return run(piece)

    device.run_batch = crowded  # type: ignore[method-assign]
    tokens = device.encode(tiles)
    assert device.calls == [4, 4, 2, 2, 2, 2]  # 4 done, 4 refused, then 2 2 2 1+1
    assert_close(tokens, compute_expected(one_tiny, tiles))
    assert len(caplog.records) == 1


def test_encode__keeps_the_batch_that_fitted(one_tiny: Sample, caplog):
    device = SmallDevice(one_tiny.at(SIDE, CLS), spec("torch", "fp32", 4), room=2)
    device.encode(draw_tiles(4, SIDE))
    device.calls.clear()
    device.encode(draw_tiles(4, SIDE))
    assert device.calls == [2, 2]
    assert len(caplog.records) == 1


def test_encode__refuses_if_one_tile_does_not_fit(one_tiny: Sample):
    device = SmallDevice(one_tiny.at(SIDE, CLS), spec("torch", "fp32", 2), room=0)
    sentence = (
        r"^torch fp32 on cpu: not enough memory for one tile of 96 px\. Choose a smaller model or tile, or "
        r"another device\. \(tried to allocate 2 GiB\)$"
    )
    with pytest.raises(DeviceMemoryError, match=sentence):
        device.encode(draw_tiles(3, SIDE))
    assert device.calls == [2, 1]


def test_encode__two_threads_halve_the_batch_once(one_tiny: Sample, caplog):
    tiles = [draw_tiles(5, SIDE, seed=seed) for seed in (1, 2)]
    device = SmallDevice(one_tiny.at(SIDE, CLS), spec("torch", "fp32", 4, 2), room=2)
    device.gate = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        batches_of_tokens = list(pool.map(device.encode, tiles))
    assert device.spec.batch == 2
    assert len(caplog.records) == 1
    for tokens, batch in zip(batches_of_tokens, tiles, strict=True):
        assert_close(tokens, compute_expected(one_tiny, batch))


def test_encode__pads_the_last_call(one_tiny: Sample):
    device = SmallDevice(one_tiny.at(SIDE, CLS), spec("torch", "fp32", 4), room=4)
    assert device.encode(draw_tiles(9, SIDE))["cls"].shape == (9, 48)
    assert device.calls == [4, 4, 4]


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_encode__no_tiles(four_registers: Sample, engine: str):
    encoder = build_engine(four_registers.at(56), spec(engine, "fp32"))
    empty_tokens = encoder.encode(np.zeros((0, 56, 56, 3), np.uint8))
    shapes = {name: empty_tokens[name].shape for name in ALL_TOKENS}
    assert shapes == {
        "cls": (0, 48),
        "mean": (0, 48),
        "registers": (0, 4, 48),
        "patches": (0, 16, 48),
    }
    tokens = encoder.encode(draw_tiles(1, 56))
    for name in ALL_TOKENS:
        assert empty_tokens[name].dtype == tokens[name].dtype == np.float32
        assert empty_tokens[name].shape[1:] == tokens[name].shape[1:]


def test_encode__refuses_other_tiles(one_tiny: Sample):
    device = SmallDevice(one_tiny.at(SIDE, CLS), spec("torch", "fp32", 1), room=1)
    with pytest.raises(ConfigError) as caught:
        device.encode(draw_tiles(1, 64))
    assert (caught.value.setting, caught.value.value) == ("side_px", (64, 64))
    assert not device.calls


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_build_engine__side_that_cuts_patches(one_tiny: Sample, engine: str):
    with pytest.raises(ConfigError) as caught:
        build_engine(one_tiny.at(70), spec(engine, "fp32"))
    assert (caught.value.setting, caught.value.value) == ("side_px", 70)


@pytest.mark.parametrize(("engine", "numerics"), ENGINES)
@pytest.mark.parametrize("outputs", [ALL_TOKENS, CLS])
@pytest.mark.parametrize("batch", [1, 3])
def test_encode__a_tile_does_not_depend_on_other_tiles(
    tiny: Sample, engine: str, numerics: str, outputs: tuple[TokenName, ...], batch: int
):
    """Not on its neighbours, its place in the call or how many are given: the very same bytes.

    MKL's kernels for AVX2 add up the last rows of a product in another order, so there a tile's place in
    the batch shows in the last bit (seen with Haswell's instructions: 2.4e-7).
    """
    if (engine, numerics) == ("torch", "fp32") and not HAS_AVX512:
        assert_equal = partial(assert_close, atol=1e-6)
    else:
        assert_equal = assert_same
    tiles = draw_tiles(7, 6 * tiny.checkpoint.patch_px)
    encoder = build_engine(tiny.at(tiles.shape[1], outputs), spec(engine, numerics, batch))
    tokens = encoder.encode(tiles)
    assert_equal(encoder.encode(tiles), tokens)
    for place in range(7):
        assert_equal(encoder.encode(tiles[place : place + 1]), _rows(tokens, [place]))
    for count in (2, 4, 6):
        assert_equal(encoder.encode(tiles[:count]), _rows(tokens, range(count)))
    order = np.random.default_rng(0).permutation(7)
    assert_equal(encoder.encode(tiles[order]), _rows(tokens, order))
    other_tiles = draw_tiles(7, tiles.shape[1], seed=9)
    other_tiles[4] = tiles[4]
    assert_equal(_rows(encoder.encode(other_tiles), [4]), _rows(tokens, [4]))


def _rows(tokens: Tokens, rows: object) -> Tokens:
    return Tokens(
        **{n: getattr(tokens, n)[rows] for n in ALL_TOKENS if getattr(tokens, n) is not None}
    )


# Another shape may take another path through the matrix products. Measured on an AVX-512 CPU with
# torch 2.13 and OpenVINO 2026.4, these and a ViT-S at 224 px: the very same bytes. Nobody promises it.
@pytest.mark.parametrize(
    ("engine", "numerics", "atol"),
    [
        ("torch", "fp32", 1e-5),
        ("torch", "bf16", 0.1),
        ("openvino", "fp32", 1e-5),
        ("openvino", "bf16", 0.1),
    ],
)
def test_encode__nearly_equal_at_any_batch(tiny: Sample, engine: str, numerics: str, atol: float):
    tiles = draw_tiles(5, 6 * tiny.checkpoint.patch_px)
    batches_of_tokens = [
        build_engine(tiny.at(tiles.shape[1]), spec(engine, numerics, batch)).encode(tiles)
        for batch in (1, 2, 5)
    ]
    for tokens in batches_of_tokens[1:]:
        assert_close(tokens, batches_of_tokens[0], atol=atol)


@pytest.mark.parametrize(("engine", "numerics"), ENGINES)
def test_encode__equal_bytes_with_any_number_of_threads(
    one_tiny: Sample, engine: str, numerics: str
):
    pieces = [draw_tiles(3 + seed % 3, SIDE, seed=seed) for seed in range(12)]
    single_threaded = build_engine(one_tiny.at(SIDE), spec(engine, numerics, 2))
    expected = [single_threaded.encode(piece) for piece in pieces]
    for threads in (1, 2):
        encoder = build_engine(one_tiny.at(SIDE), spec(engine, numerics, 2, threads))
        with ThreadPoolExecutor(2) as pool:
            for tokens, expected_tokens in zip(
                pool.map(encoder.encode, pieces), expected, strict=True
            ):
                assert_same(tokens, expected_tokens)


@pytest.mark.parametrize(("engine", "numerics"), ENGINES)
def test_encode__returns_new_arrays(one_tiny: Sample, engine: str, numerics: str):
    """Not the engine's buffers, which the next call writes over."""
    encoder = build_engine(one_tiny.at(SIDE), spec(engine, numerics, 2))
    tokens = encoder.encode(draw_tiles(2, SIDE))
    tokens_copy = replace(tokens, **{name: tokens[name].copy() for name in ALL_TOKENS})
    encoder.encode(draw_tiles(2, SIDE, seed=5))
    assert_same(tokens, tokens_copy)


def test_engine_spec__as_a_phrase():
    assert str(EngineSpec("openvino", "cpu", "bf16", 1)) == "openvino bf16 on cpu"


def test_count_tokens__cls_registers_patches(one_tiny: Sample, sample_of: SampleOf):
    assert count_tokens(one_tiny.checkpoint, 224) == 1 + 4 + 14 * 14
    assert count_tokens(sample_of("dinov2").checkpoint, 518) == 1 + 37 * 37


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_to_half__rounds_as_numpy_does(one_tiny: Sample, engine: str):
    """All kinds of numbers: too small, too large, between two others, infinite; from two threads at once."""
    bits = np.random.default_rng(0).integers(0, 2**32, 400_000, np.uint32)
    drawn = bits.view(np.float32)
    values = np.concatenate(
        [drawn[~np.isnan(drawn)], np.float32([0, -0.0, 65519.99, 65520, 2.98e-8])]
    )
    values = values[: len(values) // 8 * 8].reshape(1, -1, 8)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    encoder = build_engine(one_tiny.at(SIDE), spec(engine, "fp32", 1))
    with ThreadPoolExecutor(2) as pool:
        for halves in pool.map(encoder.to_half, [values] * 4):
            np.testing.assert_array_equal(halves.view(np.uint16), expected.view(np.uint16))
    few = encoder.to_half(values[:, :1])
    np.testing.assert_array_equal(few.view(np.uint16), expected[:, :1].view(np.uint16))
