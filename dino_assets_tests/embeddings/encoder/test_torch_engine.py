"""PyTorch: the reference itself, the fallback, and what runs on a GPU."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dino_assets.embeddings.encoder.choosing import build_engine
from dino_assets.embeddings.encoder.engine import EngineSpec, fit_batch
from dino_assets.embeddings.encoder.gate import compare_with_reference, draw_gate_tiles
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS
from dino_assets.embeddings.encoder.torch_engine import TorchEncoder, pays_to_compile
from dino_assets.embeddings.encoder.vit import PER_HEAD, attend_per_head
from dino_assets.errors import DeviceMemoryError
from dino_assets_tests.worlds.networks import (
    Sample,
    assert_close,
    assert_same,
    compute_expected,
    draw_tiles,
    spec,
)

SIDE = 96


def test_encode__one_thread_per_call(one_tiny: Sample):
    """Also in threads that were started before the engine was built."""
    thread_counts: list[int] = []
    torch.set_num_threads(2)
    start_event, built_event = threading.Event(), threading.Event()
    encoders: list[TorchEncoder] = []

    def work() -> None:
        torch.zeros(3).sum()
        start_event.set()
        built_event.wait(60)
        encoders[0].encode(draw_tiles(1, SIDE))
        thread_counts.append(torch.get_num_threads())

    early_thread = threading.Thread(target=work)
    early_thread.start()
    start_event.wait(60)
    encoders.append(TorchEncoder(one_tiny.at(SIDE), spec("torch", "fp32")))
    built_event.set()
    early_thread.join()
    late_thread = threading.Thread(target=lambda: thread_counts.append(torch.get_num_threads()))
    late_thread.start()
    late_thread.join()
    assert thread_counts == [1, 1]


@pytest.mark.parametrize("numerics", ["bf16", "fp16"])
def test_encode__half_precision_is_near_float32_but_not_equal(tiny: Sample, numerics: str):
    tiles = draw_tiles(3, 6 * tiny.checkpoint.patch_px)
    reference = compute_expected(tiny, tiles)
    encoder = TorchEncoder(tiny.at(tiles.shape[1]), spec("torch", numerics))
    tokens = encoder.encode(tiles)
    assert_close(tokens, reference, atol=0.1)
    assert abs(tokens["cls"] - reference["cls"]).max() > 1e-4
    assert {tokens[name].dtype for name in ALL_TOKENS} == {np.dtype(np.float32)}


def test_encode__last_norm_is_float32(one_tiny: Sample):
    """What is stored does not come out of a type with eight bits."""
    encoder = TorchEncoder(one_tiny.at(SIDE), spec("torch", "bf16"))
    assert encoder.network.norm.weight.dtype == torch.float32
    cls = torch.from_numpy(encoder.encode(draw_tiles(2, SIDE))["cls"])
    assert (cls.to(torch.bfloat16).float() != cls).any()


def test_attention__head_by_head_on_a_cpu_in_half_precision(one_tiny: Sample):
    implementations = {
        numerics: TorchEncoder(one_tiny.at(SIDE), spec("torch", numerics))
        .network.layers[0]
        .attention.config._attn_implementation
        for numerics in ("fp32", "bf16")
    }
    assert implementations == {"fp32": "sdpa", "bf16": PER_HEAD}


def test_attend_per_head__equals_attention():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 5, 8)
    output, weights = attend_per_head(torch.nn.Identity(), query, key, value, scaling=0.3)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.3)
    assert weights is None
    torch.testing.assert_close(output, expected.transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_encode__out_of_memory_raises_our_error(one_tiny: Sample, caplog):
    """What a device says is caught, its cache emptied, and the batch halved."""
    tiles = draw_tiles(5, SIDE)
    encoder = TorchEncoder(one_tiny.at(SIDE), spec("torch", "fp32", 4))
    expected = encoder.encode(tiles)
    cache_events: list[str] = []
    network = encoder.network

    def crowded(planes: torch.Tensor) -> object:
        if len(planes) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")
        return network(planes)

    encoder.network = crowded
    encoder.device = SimpleNamespace(type="cuda")
    encoder.empty_cache = lambda: cache_events.append("emptied")
    encoder.run_on_device = lambda piece: tuple(
        each.numpy() for each in encoder.network(encoder.normalise_sent(torch.from_numpy(piece)))
    )
    tokens = encoder.encode(tiles)
    assert_close(tokens, expected)
    assert cache_events == ["emptied"] * 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    encoder.network = lambda planes: crowded(torch.cat([planes, planes]))
    with pytest.raises(DeviceMemoryError) as caught:
        encoder.encode(tiles)
    assert caught.value.device_said == "CUDA out of memory. Tried to allocate 2 GiB."


def test_normalise_sent__equals_normalise(one_tiny: Sample):
    from dino_assets.embeddings.encoder.tokens import normalise

    encoder = TorchEncoder(one_tiny.at(SIDE), spec("torch", "fp32"))
    tiles = draw_tiles(2, SIDE)
    planes = encoder.normalise_sent(torch.from_numpy(tiles)).numpy()
    np.testing.assert_allclose(planes, normalise(tiles, one_tiny.checkpoint), atol=2e-6)


@pytest.mark.parametrize(
    ("device", "compiler", "compiles"),
    [
        ("cuda", "/usr/bin/gcc", True),
        ("cuda:1", "/usr/bin/gcc", True),
        ("cuda", None, False),
        ("cpu", "/usr/bin/gcc", False),
        ("mps", "/usr/bin/gcc", False),
    ],
)
def test_pays_to_compile__on_cuda_with_a_compiler(device: str, compiler, compiles: bool):
    engine = EngineSpec("torch", device, "bf16", 1)
    assert pays_to_compile(engine, find_program=lambda name: compiler) is compiles


# --- on a GPU ---------------------------------------------------------------------------------

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def whole_gpu() -> Iterator[None]:
    """The device's memory, given back to all."""
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def on_gpu(numerics: str, batch: int, threads: int = 2) -> EngineSpec:
    return EngineSpec("torch", "cuda", numerics, batch, threads)  # type: ignore[arg-type]


@pytest.mark.gpu
@needs_cuda
@pytest.mark.filterwarnings("default")  # the compiler's own are not ours
@pytest.mark.parametrize("numerics", ["bf16", "fp16"])
@pytest.mark.parametrize("outputs", [ALL_TOKENS, ("cls",)])
@pytest.mark.parametrize("family", ["dinov2", "dinov2_with_registers", "dinov3_vit"])
def test_gpu__passes_the_gate(
    sample_of: Callable[..., Sample], family: str, numerics: str, outputs
):
    sample = sample_of(family, dim=128, layers=4, heads=4)
    side = 16 * sample.checkpoint.patch_px
    tiles = draw_gate_tiles(side)
    exact_spec = spec("torch", "fp32", fit_batch(sample.checkpoint, side))
    reference = TorchEncoder(sample.at(side), exact_spec).encode(tiles)
    tokens = build_engine(sample.at(side, outputs), on_gpu(numerics, 6)).encode(tiles)
    report = compare_with_reference(reference, tokens, "half")
    assert report.passed, report
    assert report.cls_cosine > 0.9999


@pytest.mark.gpu
@needs_cuda
@pytest.mark.filterwarnings("default")
def test_gpu__float32_is_the_reference(tiny: Sample):
    tiles = draw_tiles(5, 6 * tiny.checkpoint.patch_px)
    tokens = build_engine(tiny.at(tiles.shape[1]), on_gpu("fp32", 3)).encode(tiles)
    assert_close(tokens, compute_expected(tiny, tiles), atol=1e-4)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.filterwarnings("default")
def test_gpu__threads_and_neighbours_change_nothing(one_tiny: Sample):
    """Each thread has a stream and pinned memory of its own; nobody reads another's."""
    encoder = build_engine(one_tiny.at(SIDE), on_gpu("bf16", 4))
    pieces = [draw_tiles(1 + seed % 9, SIDE, seed=seed) for seed in range(60)]
    expected = [encoder.encode(piece) for piece in pieces]
    with ThreadPoolExecutor(2) as pool:
        for tokens, expected_tokens in zip(pool.map(encoder.encode, pieces), expected, strict=True):
            assert_same(tokens, expected_tokens)
    tile_tokens = encoder.encode(pieces[8][4:5])
    for name in ALL_TOKENS:
        assert np.array_equal(tile_tokens[name][0], expected[8][name][4])


@pytest.mark.gpu
@needs_cuda
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("numerics", ["fp32", "bf16"])
def test_gpu__compiled_is_close_to_not(one_tiny: Sample, numerics: str):
    tiles = draw_tiles(6, SIDE)
    compiled_tokens = build_engine(one_tiny.at(SIDE), on_gpu(numerics, 4)).encode(tiles)
    plain_tokens = TorchEncoder(one_tiny.at(SIDE), on_gpu(numerics, 4), is_compiled=False).encode(
        tiles
    )
    assert_close(compiled_tokens, plain_tokens, atol=0.1 if numerics == "bf16" else 1e-4)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.filterwarnings("default")
def test_gpu__halves_the_batch_when_out_of_memory(
    sample_of: Callable[..., Sample], whole_gpu: None, caplog
):
    sample = sample_of("dinov2", dim=384, layers=2, heads=6)
    tiles = np.repeat(draw_tiles(4, 518), 64, axis=0)
    # Compiled, each shape would be so anew.
    encoder = TorchEncoder(sample.at(518, ("cls",)), on_gpu("fp32", 256, 1), is_compiled=False)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    room = torch.cuda.memory_allocated() + 3 * 2**30  # 256 tiles want about 6 GiB
    torch.cuda.set_per_process_memory_fraction(room / total)
    tokens = encoder.encode(tiles)
    assert encoder.spec.batch < 256
    assert any(
        "out of memory at 256 tiles per call" in record.getMessage() for record in caplog.records
    )
    assert tokens["cls"].shape == (256, 384)
    np.testing.assert_allclose(tokens["cls"][:64], tokens["cls"][:1].repeat(64, axis=0), atol=1e-4)
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 2**22) / total)
    torch.cuda.empty_cache()
    with pytest.raises(DeviceMemoryError):
        encoder.encode(tiles[:1])
