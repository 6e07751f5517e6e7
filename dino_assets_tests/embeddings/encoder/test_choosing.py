"""Which engines are tried, in which order, with how many tiles per call."""

import sys
from dataclasses import replace
from typing import get_args

import pytest

from dino_assets.compute.settings import ComputeSettings, EngineName
from dino_assets.embeddings.encoder import choosing
from dino_assets.embeddings.encoder.choosing import (
    DEVICE_TOKENS,
    build_engine,
    choose_half,
    list_engines,
    torch_has_bf16,
)
from dino_assets.embeddings.encoder.engine import EngineSpec, fit_batch
from dino_assets.embeddings.encoder.openvino_engine import OpenVinoEncoder
from dino_assets.embeddings.encoder.torch_engine import TorchEncoder
from dino_assets.errors import ConfigError
from dino_assets_tests.worlds.networks import Sample, draw_tiles, spec


def machine(
    *, openvino: bool = True, bf16: bool = True, torch_bf16: bool = True
) -> choosing.Machine:
    """A machine that can do this and not that."""
    return choosing.Machine(
        openvino=lambda: openvino,
        openvino_bf16=lambda: bf16,
        torch_bf16=lambda: torch_bf16,
        half=lambda device: "bf16" if device == "cuda" else "fp16",
    )


def pairs(
    sample: Sample, on: choosing.Machine | None = None, **settings: object
) -> list[tuple[str, str]]:
    compute = ComputeSettings(**{"device": "cpu", **settings})  # type: ignore[arg-type]
    specs = list(list_engines(compute, sample.checkpoint, side_px=224, machine=on or machine()))
    assert all(each.device == compute.device for each in specs)
    return [(each.engine, each.numerics) for each in specs]


OV16, OV32 = ("openvino", "bf16"), ("openvino", "fp32")
T16, T32 = ("torch", "bf16"), ("torch", "fp32")


@pytest.mark.parametrize(
    ("precision", "engine", "wanted"),
    [
        ("half", "auto", [OV16, T16, OV32, T32]),
        ("fp32", "auto", [OV32, T32]),
        ("half", "openvino", [OV16, OV32, T32]),
        ("fp32", "openvino", [OV32, T32]),
        ("half", "torch", [T16, T32]),
        ("fp32", "torch", [T32]),
    ],
)
def test_list_engines__best_first(one_tiny: Sample, precision, engine, wanted):
    assert pairs(one_tiny, precision=precision, engine=engine) == wanted


@pytest.mark.parametrize(
    ("precision", "wanted"),
    [
        ("half", [T16, T32]),
        ("fp32", [T32]),
    ],
)
def test_list_engines__without_openvino(one_tiny: Sample, precision, wanted):
    machine_without_openvino = machine(openvino=False)
    assert pairs(one_tiny, machine_without_openvino, precision=precision) == wanted


def test_list_engines__without_bf16_in_the_processor(one_tiny: Sample):
    old_machine = machine(bf16=False, torch_bf16=False)
    assert pairs(one_tiny, old_machine) == [OV32, T32]
    assert pairs(one_tiny, old_machine, engine="openvino") == [OV32, T32]
    assert pairs(one_tiny, machine(openvino=False, torch_bf16=False)) == [T32]


def test_list_engines__named_engine_checks_no_other(one_tiny: Sample):
    """Who names torch need not load OpenVINO."""

    def refuse() -> bool:
        raise AssertionError("looked for it")

    cautious_machine = replace(machine(), openvino=refuse)
    assert pairs(one_tiny, cautious_machine, engine="torch") == [T16, T32]


@pytest.mark.parametrize("precision", ["half", "fp32"])
def test_list_engines__torch_is_checked_last(one_tiny: Sample, precision: str):
    """Where OpenVINO is the best and is used, PyTorch is not imported for what it could do."""

    def refuse() -> bool:
        raise AssertionError("imported torch")

    compute = ComputeSettings(device="cpu", precision=precision)  # type: ignore[arg-type]
    cautious_machine = replace(machine(), torch_bf16=refuse)
    best_spec = next(
        list_engines(compute, one_tiny.checkpoint, side_px=224, machine=cautious_machine)
    )
    assert (best_spec.engine, best_spec.numerics) == (
        "openvino",
        {"half": "bf16"}.get(precision, "fp32"),
    )


def test_engines__has_every_engine_name():
    assert set(choosing.ENGINES) == set(get_args(EngineName))


@pytest.mark.parametrize(
    ("device", "precision", "wanted"),
    [
        ("cuda", "half", [T16, ("torch", "fp16"), T32]),
        ("mps", "half", [("torch", "fp16"), T32]),
        ("cuda", "fp32", [T32]),
    ],
)
def test_list_engines__on_accelerators(one_tiny: Sample, device, precision, wanted):
    assert pairs(one_tiny, device=device, precision=precision) == wanted
    assert pairs(one_tiny, device=device, precision=precision, engine="torch") == wanted


def test_list_engines__batch_and_threads(one_tiny: Sample):
    def first(**settings: object) -> EngineSpec:
        compute = ComputeSettings(**settings)  # type: ignore[arg-type]
        return next(list_engines(compute, one_tiny.checkpoint, side_px=224, machine=machine()))

    engine_spec = first(device="cpu")
    assert (engine_spec.batch, engine_spec.threads) == (7, 1)
    engine_spec = first(device="cpu", threads=4, batch=3)
    assert (engine_spec.batch, engine_spec.threads) == (3, 4)
    engine_spec = first(device="cuda", threads=16)
    assert (engine_spec.batch, engine_spec.threads) == (256, 2)  # one copies, one computes
    assert first(device="cuda", batch=5).batch == 5
    specs = list_engines(ComputeSettings(device="cpu", batch=9), one_tiny.checkpoint, side_px=224)
    assert {each.batch for each in specs} == {9}


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
def test_fit_batch__known_models(sample_of, family: str, side: int, tokens: int, batch: int):
    assert fit_batch(sample_of(family).checkpoint, side, tokens=tokens) == batch
    if tokens == 1600:
        assert fit_batch(sample_of(family).checkpoint, side) == batch


@pytest.mark.parametrize(
    ("settings", "on"),
    [
        ({"device": "cuda", "engine": "openvino"}, machine()),
        ({"device": "mps", "engine": "openvino"}, machine()),
        ({"engine": "openvino"}, machine(openvino=False)),
    ],
)
def test_list_engines__refuses_missing_engines(
    one_tiny: Sample, settings: dict, on: choosing.Machine
):
    with pytest.raises(ConfigError) as caught:
        pairs(one_tiny, on, **settings)
    assert (caught.value.setting, caught.value.value) == ("engine", "openvino")


def test_list_engines__torch_without_bf16_named(one_tiny: Sample):
    """On an old processor torch computes half as float32: there is nothing better to do."""
    assert pairs(one_tiny, machine(torch_bf16=False), engine="torch") == [T32]


def test_choose_half__devices():
    emulations: list[bool] = []

    def is_supported(including_emulation: bool) -> bool:
        emulations.append(including_emulation)
        return len(emulations) <= 2

    devices = ("cuda", "cuda:1", "mps", "cuda")
    precisions = [choose_half(device, supports_bf16=is_supported) for device in devices]
    assert precisions == ["bf16", "bf16", "fp16", "fp16"]
    assert emulations == [False] * 3


def test_torch_has_bf16__without_onednn():
    assert not torch_has_bf16(has_onednn=False)


def test_build_engine__builds_the_named_engine(one_tiny: Sample):
    kinds = {"torch": TorchEncoder, "openvino": OpenVinoEncoder}
    for name, kind in kinds.items():
        encoder = build_engine(one_tiny.at(64, ("cls",)), spec(name, "fp32", 1))
        assert type(encoder) is kind
        assert encoder.version == sys.modules[name].__version__.partition("-")[0]
        assert encoder.outputs == ("cls",)
        assert encoder.encode(draw_tiles(1, 64))["cls"].shape == (1, 48)
