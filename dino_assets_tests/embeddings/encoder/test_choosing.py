"""Which engines are tried, in which order, with how many tiles per call."""

import sys

import pytest

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder import build_engine, choosing, fit_batch, list_engines
from dino_assets.embeddings.encoder.choosing import DEVICE_TOKENS, _half_of, torch_has_bf16
from dino_assets.embeddings.encoder.engine import EngineSpec
from dino_assets.embeddings.encoder.onnx_engine import OnnxEncoder
from dino_assets.embeddings.encoder.openvino_engine import OpenVinoEncoder
from dino_assets.embeddings.encoder.torch_engine import TorchEncoder
from dino_assets.errors import ConfigError
from dino_assets_tests.worlds.networks import Sample, draw_tiles, spec


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """A machine that can do this and not that."""

    def have(*, openvino: bool = True, bf16: bool = True, torch_bf16: bool = True) -> None:
        monkeypatch.setattr(choosing, "has_openvino", lambda: openvino)
        monkeypatch.setattr(choosing, "has_bf16", lambda: bf16)
        monkeypatch.setattr(choosing, "torch_has_bf16", lambda: torch_bf16)
        monkeypatch.setattr(
            choosing, "_half_of", lambda device: "bf16" if device == "cuda" else "fp16"
        )

    have()
    return have


def pairs(sample: Sample, **settings: object) -> list[tuple[str, str]]:
    compute = ComputeSettings(**{"device": "cpu", **settings})  # type: ignore[arg-type]
    found = list_engines(compute, sample.checkpoint, side_px=224)
    assert all(each.device == compute.device for each in found)
    return [(each.engine, each.numerics) for each in found]


OV16, OV32 = ("openvino", "bf16"), ("openvino", "fp32")
T16, T32 = ("torch", "bf16"), ("torch", "fp32")
ORT32, ORT8 = ("onnxruntime", "fp32"), ("onnxruntime", "int8")


@pytest.mark.parametrize(
    ("precision", "engine", "wanted"),
    [
        ("half", "auto", [OV16, T16, OV32, T32]),
        ("fp32", "auto", [OV32, T32]),
        ("int8", "auto", [ORT8]),  # nothing else belongs into its space
        ("half", "openvino", [OV16, OV32, T32]),
        ("fp32", "openvino", [OV32, T32]),
        ("half", "torch", [T16, T32]),
        ("fp32", "torch", [T32]),
        ("half", "onnxruntime", [ORT32, T32]),
        ("fp32", "onnxruntime", [ORT32, T32]),
        ("int8", "onnxruntime", [ORT8]),
    ],
)
def test_list_engines__best_first(one_tiny: Sample, machine, precision, engine, wanted):
    assert pairs(one_tiny, precision=precision, engine=engine) == wanted


@pytest.mark.parametrize(
    ("precision", "wanted"),
    [
        ("half", [T16, T32]),
        ("fp32", [T32]),
        ("int8", [ORT8]),
    ],
)
def test_list_engines__without_openvino(one_tiny: Sample, machine, precision, wanted):
    machine(openvino=False)
    assert pairs(one_tiny, precision=precision) == wanted


def test_list_engines__processor_without_bf16(one_tiny: Sample, machine):
    machine(bf16=False, torch_bf16=False)
    assert pairs(one_tiny) == [OV32, T32]
    assert pairs(one_tiny, engine="openvino") == [OV32, T32]
    assert pairs(one_tiny, precision="int8") == [ORT8]
    machine(openvino=False, torch_bf16=False)
    assert pairs(one_tiny) == [T32]


def test_list_engines__does_not_look_for_what_was_not_asked(one_tiny: Sample, machine, monkeypatch):
    """Who names torch need not load OpenVINO."""

    def refuse() -> bool:
        raise AssertionError("looked for it")

    monkeypatch.setattr(choosing, "has_openvino", refuse)
    assert pairs(one_tiny, engine="torch") == [T16, T32]


@pytest.mark.parametrize(
    ("device", "precision", "wanted"),
    [
        ("cuda", "half", [T16, ("torch", "fp16"), T32]),
        ("mps", "half", [("torch", "fp16"), T32]),
        ("cuda", "fp32", [T32]),
    ],
)
def test_list_engines__accelerators(one_tiny: Sample, machine, device, precision, wanted):
    assert pairs(one_tiny, device=device, precision=precision) == wanted
    assert pairs(one_tiny, device=device, precision=precision, engine="torch") == wanted


def test_list_engines__batch_and_threads(one_tiny: Sample, machine):
    def first(**settings: object) -> EngineSpec:
        compute = ComputeSettings(**settings)  # type: ignore[arg-type]
        return list_engines(compute, one_tiny.checkpoint, side_px=224)[0]

    chosen = first(device="cpu")
    assert (chosen.batch, chosen.threads) == (7, 1)
    chosen = first(device="cpu", threads=4, batch=3)
    assert (chosen.batch, chosen.threads) == (3, 4)
    chosen = first(device="cuda", threads=16)
    assert (chosen.batch, chosen.threads) == (256, 2)  # one copies, one computes
    assert first(device="cuda", batch=5).batch == 5
    every = list_engines(ComputeSettings(device="cpu", batch=9), one_tiny.checkpoint, side_px=224)
    assert {each.batch for each in every} == {9}


@pytest.mark.parametrize(
    ("family", "side", "tokens", "batch"),
    [
        ("dinov2", 518, 1600, 1),  # 1370 tokens each
        ("dinov2", 224, 1600, 6),  # 257
        ("dinov2_with_registers", 518, 1600, 1),
        ("dinov3_vit", 512, 1600, 1),  # 1029
        ("dinov3_vit", 224, 1600, 7),  # 201
        ("dinov3_vit", 1024, 1600, 1),  # 4101, more than fit
        ("dinov3_vit", 16, 1600, 256),  # 6: no more than 256
        ("dinov2", 518, DEVICE_TOKENS, 47),
        ("dinov2", 224, DEVICE_TOKENS, 255),
    ],
)
def test_fit_batch__figures(sample_of, family: str, side: int, tokens: int, batch: int):
    assert fit_batch(sample_of(family).checkpoint, side, tokens=tokens) == batch
    if tokens == 1600:
        assert fit_batch(sample_of(family).checkpoint, side) == batch


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"device": "cuda", "engine": "openvino"},
            "engine 'openvino' does not compute 'half' on 'cuda' here; engine: auto takes what does",
        ),
        (
            {"device": "mps", "engine": "onnxruntime"},
            "engine 'onnxruntime' does not compute 'half' on 'mps'",
        ),
        ({"device": "cuda", "precision": "int8"}, "int8 is computed on a CPU only, not on 'cuda'"),
        (
            {"precision": "int8", "engine": "openvino"},
            "'openvino' does not compute 'int8' on 'cpu' here",
        ),
        ({"precision": "int8", "engine": "torch"}, "'torch' does not compute 'int8' on 'cpu' here"),
    ],
)
def test_list_engines__refuses(one_tiny: Sample, machine, settings, sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        pairs(one_tiny, **settings)


def test_list_engines__torch_without_bf16_named(one_tiny: Sample, machine):
    """On an old processor torch computes half as float32: there is nothing better to do."""
    machine(torch_bf16=False)
    assert pairs(one_tiny, engine="torch") == [T32]


def test_list_engines__openvino_named_and_not_installed(one_tiny: Sample, machine):
    machine(openvino=False)
    with pytest.raises(ConfigError, match=r"engine 'openvino' is not installed here .*auto takes"):
        pairs(one_tiny, engine="openvino")


def test_half_of__devices(monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert (_half_of("cuda"), _half_of("cuda:1"), _half_of("mps")) == ("bf16", "bf16", "fp16")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert _half_of("cuda") == "fp16"


def test_torch_has_bf16__without_onednn(monkeypatch: pytest.MonkeyPatch):
    import torch

    torch_has_bf16.cache_clear()
    monkeypatch.setattr(torch._C, "_has_mkldnn", False)
    assert not torch_has_bf16()
    torch_has_bf16.cache_clear()


def test_build_engine__of_a_name(one_tiny: Sample):
    kinds = {"torch": TorchEncoder, "openvino": OpenVinoEncoder, "onnxruntime": OnnxEncoder}
    for name, kind in kinds.items():
        encoder = build_engine(one_tiny.at(64, ("cls",)), spec(name, "fp32", 1))
        assert type(encoder) is kind
        assert encoder.version == sys.modules[name].__version__.partition("-")[0]
        assert encoder.outputs == ("cls",)
        assert encoder.encode(draw_tiles(1, 64))["cls"].shape == (1, 48)
