"""Faults that the numerics gate must not let through.

They are planted in an engine of torch in float32: nothing but the fault is away from the reference.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dino_assets.embeddings.encoder.choosing import build_engine
from dino_assets.embeddings.encoder.gate import compare_with_reference
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS, TokenName, Tokens
from dino_assets.embeddings.encoder.torch_engine import TorchEncoder
from dino_assets_tests.worlds.networks import spec
from dino_assets_tests.worlds.trials import Trial


def refuse(trial: Trial, engine: Any, reason: str) -> None:
    report = trial.judge(engine)
    assert not report.passed, f"let through: {report}"
    assert reason in str(report.fault), report
    assert str(report.fault) in str(report)


def test_gate__mean_and_std_swapped(trial: Trial):
    engine = trial.engine(("cls",))
    checkpoint = trial.sample.checkpoint
    swapped_checkpoint = replace(checkpoint, mean=checkpoint.std, std=checkpoint.mean)
    engine.source = replace(engine.source, checkpoint=swapped_checkpoint)
    refuse(trial, engine, "cls: c")


def test_gate__statistics_of_another_model(trial: Trial):
    engine = trial.engine(("cls",))
    sat_checkpoint = replace(
        trial.sample.checkpoint, mean=(0.430, 0.411, 0.296), std=(0.213, 0.156, 0.143)
    )
    engine.source = replace(engine.source, checkpoint=sat_checkpoint)
    refuse(trial, engine, "cls: c")


TILE_FAULTS = {
    "blue first": lambda tiles: tiles[..., ::-1],
    "transposed": lambda tiles: tiles.transpose(0, 2, 1, 3),
    "mirrored": lambda tiles: tiles[:, :, ::-1],
    "upside down": lambda tiles: tiles[:, ::-1],
    "turned": lambda tiles: np.rot90(tiles, axes=(1, 2)),
    "the neighbour's": lambda tiles: np.roll(tiles, 1, axis=0),
}


@pytest.mark.parametrize("fault", TILE_FAULTS)
@pytest.mark.parametrize("outputs", [ALL_TOKENS, ("cls",)])
def test_gate__transformed_tiles(trial: Trial, fault: str, outputs: tuple[TokenName, ...]):
    engine = trial.engine(outputs)
    run = engine.run_batch
    engine.run_batch = lambda tiles: run(np.ascontiguousarray(TILE_FAULTS[fault](tiles)))  # type: ignore[method-assign]
    refuse(trial, engine, "cls: ")


class Resliced(nn.Module):
    """A network that cuts its tokens out of the last layer with a given function."""

    def __init__(self, network: Any, outputs: tuple[TokenName, ...], cut: Callable[..., Any]):
        super().__init__()
        self.network, self.names, self.cut = network, outputs, cut
        network.outputs = ("cls", "registers", "patches")

    def forward(self, planes: Tensor) -> tuple[Tensor, ...]:
        cls, registers, patches = self.network(planes)
        hidden = torch.cat([cls[:, None], registers, patches], dim=1)
        tensors = self.cut(hidden, registers.shape[1])
        return tuple(tensors[name] for name in self.names)


def cut_shifted(by: int) -> Callable[..., Any]:
    """Registers and patches begin too early or too late; their number is right."""

    def cut(hidden: Tensor, registers: int) -> dict[str, Tensor]:
        first_patch = 1 + registers + by
        patches = torch.roll(hidden, -first_patch, dims=1)[:, : hidden.shape[1] - 1 - registers]
        register_tokens = torch.roll(hidden, -1 - by, dims=1)[:, :registers]
        return {
            "cls": hidden[:, 0],
            "mean": patches.mean(1),
            "registers": register_tokens,
            "patches": patches,
        }

    return cut


def cut_pooled(pool: Callable[[Tensor, int], Tensor]) -> Callable[..., Any]:
    """All is right but the mean."""

    def cut(hidden: Tensor, registers: int) -> dict[str, Tensor]:
        return {
            "cls": hidden[:, 0],
            "mean": pool(hidden, registers),
            "registers": hidden[:, 1 : 1 + registers],
            "patches": hidden[:, 1 + registers :],
        }

    return cut


LEAK_MESSAGE = "mean: it includes CLS or registers; only patches are expected"
POOLING_FAULTS = {
    "with CLS": (
        lambda h, r: torch.cat([h[:, :1], h[:, 1 + r :]], 1).mean(1),
        LEAK_MESSAGE,
    ),
    "with all": (lambda h, r: h.mean(1), LEAK_MESSAGE),
    "with registers": (lambda h, r: h[:, 1:].mean(1), LEAK_MESSAGE),
    "with a register": (lambda h, r: h[:, r:].mean(1), LEAK_MESSAGE),
    "without the first": (lambda h, r: h[:, 2 + r :].mean(1), "mean: it omits the first patch"),
    "without the last": (lambda h, r: h[:, 1 + r : -1].mean(1), "mean: it omits the last patch"),
    "CLS": (lambda h, r: h[:, 0], "mean: c"),
    "maximum": (lambda h, r: h[:, 1 + r :].amax(1), "mean: c"),
}


def needs_registers(trial: Trial, fault: str) -> None:
    if fault in ("with registers", "with a register") and not trial.sample.checkpoint.registers:
        pytest.skip("has no registers")


@pytest.mark.parametrize("fault", POOLING_FAULTS)
@pytest.mark.parametrize("outputs", [ALL_TOKENS, ("cls", "mean"), ("mean",)])
def test_gate__wrong_pooling(trial: Trial, fault: str, outputs: tuple[TokenName, ...]):
    needs_registers(trial, fault)
    if fault.startswith("without") and "patches" not in outputs:
        pytest.skip("a missing patch is found only with the engine's own patches")
    pool, reason = POOLING_FAULTS[fault]
    engine = trial.engine()
    engine.source = replace(engine.source, outputs=outputs)
    engine.network = Resliced(engine.network, outputs, cut_pooled(pool))
    refuse(trial, engine, reason)


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("outputs", [ALL_TOKENS, ("registers", "cls"), ("patches",)])
def test_gate__registers_off_by_one(trial: Trial, by: int, outputs: tuple[TokenName, ...]):
    if "patches" not in outputs and not trial.sample.checkpoint.registers:
        pytest.skip("has no registers")
    engine = trial.engine()
    engine.source = replace(engine.source, outputs=outputs)
    engine.network = Resliced(engine.network, outputs, cut_shifted(by))
    refuse(trial, engine, "cosine")


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize(
    ("outputs", "reason"), [(ALL_TOKENS, "shape"), (("cls", "mean"), "mean: ")]
)
def test_gate__network_that_miscounts_registers(trial: Trial, by: int, outputs, reason: str):
    if not trial.sample.checkpoint.registers:
        pytest.skip("has no registers")
    if by == 1 and "patches" not in outputs:
        pytest.skip("a missing patch is found only with the engine's own patches")
    engine = trial.engine(outputs)
    engine.network.registers += by
    refuse(trial, engine, reason)


def test_gate__cls_alone_with_keys_at_wrong_positions(trial_of: Callable[..., Trial]):
    trial = trial_of("dinov3_vit", is_sharp=True)
    engine = trial.engine(("cls",))
    network = engine.network
    network.cos, network.sin = (torch.roll(t, 1, dims=-2) for t in (network.cos, network.sin))
    refuse(trial, engine, "cls: centred")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gate__not_a_number(trial: Trial, value: float):
    engine = trial.engine()
    engine.network.norm.bias[3] = value
    refuse(trial, engine, "cls: NaN or infinity; mean: NaN or infinity")


def test_gate__reference_of_nan(trial: Trial):
    """A network that is broken itself passes nothing."""
    broken_reference = replace(trial.reference, cls=trial.reference["cls"] * np.float32("nan"))
    assert not compare_with_reference(
        broken_reference, trial.engine(("cls",)).encode(trial.tiles), "half"
    ).passed


def test_gate__wrong_shape(trial: Trial):
    engine = trial.engine(("cls",))
    run = engine.run_batch
    engine.run_batch = lambda tiles: tuple(each[:, :-1] for each in run(tiles))  # type: ignore[method-assign]
    refuse(trial, engine, "cls: shape (16, 127), (16, 128) expected")


def test_gate__missing_tiles(trial: Trial):
    tokens = trial.engine(("cls",)).encode(trial.tiles[:-1])
    report = compare_with_reference(trial.reference, tokens, "half")
    assert report.fault == "cls: shape (15, 128), (16, 128) expected"


def test_gate__no_tokens_at_all(trial: Trial):
    report = compare_with_reference(trial.reference, Tokens(), "half")
    assert report.fault == "the engine returned no tokens"


def test_gate__registers_of_a_model_without_registers(trial_of: Callable[..., Trial]):
    trial = trial_of("dinov2")
    assert trial.reference["registers"].shape == (16, 0, 128)
    tokens_with_register = replace(trial.reference, registers=np.ones((16, 1, 128), np.float32))
    report = compare_with_reference(trial.reference, tokens_with_register, "half")
    assert report.fault == "registers: shape (16, 1, 128), (16, 0, 128) expected"


@pytest.mark.parametrize("bits", [3, 4])
def test_gate__weights_with_too_few_bits(trial: Trial, bits: int):
    engine = trial.engine(("cls",))
    for tensor in engine.network.parameters():
        if tensor.ndim > 1:
            step = tensor.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
            tensor.copy_((tensor / step).round() * step)
    refuse(trial, engine, "cls: ")


def test_gate__activations_with_too_few_bits(trial: Trial):
    """As if the residual were kept in an 8-bit float: 3 bits of mantissa."""
    engine = trial.engine(("cls",))

    def coarsen(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        mantissa, exponent = torch.frexp(output)
        return torch.ldexp((mantissa * 8).round() / 8, exponent)

    for layer in engine.network.layers[:-1]:
        layer.register_forward_hook(coarsen)
    refuse(trial, engine, "cls: ")


def test_gate__outputs_with_too_few_bits(trial: Trial):
    engine = trial.engine(("cls",))
    run = engine.run_batch
    engine.run_batch = lambda tiles: tuple((each * 2).round() / 2 for each in run(tiles))  # type: ignore[method-assign]
    refuse(trial, engine, "cls: c")


def test_gate__positions_of_another_side(sharp_trial: Trial):
    """Those of a wider grid, cut off where these end."""
    engine, other_network = sharp_trial.engine(), try_network(sharp_trial, sharp_trial.side * 2)
    network = engine.network
    for name in ("positions", "cos", "sin"):
        buffer = getattr(network, name)
        if buffer is not None:
            network.register_buffer(
                name, getattr(other_network, name)[..., : buffer.shape[-2], :].clone()
            )
    refuse(sharp_trial, engine, "cosine")


def try_network(trial: Trial, side: int) -> Any:
    return TorchEncoder(trial.sample.at(side), spec("torch", "fp32", 1)).network


def test_gate__positions_column_by_column(sharp_trial: Trial):
    engine = sharp_trial.engine(("cls", "mean"))
    network = engine.network
    for name in ("positions", "cos", "sin"):
        buffer = getattr(network, name)
        if buffer is not None:
            grid = buffer.reshape(7, 7, -1).transpose(0, 1).reshape(buffer.shape)
            network.register_buffer(name, grid.clone())
    refuse(sharp_trial, engine, "cosine")


def test_gate__a_block_left_out(trial: Trial):
    engine = trial.engine(("cls",))
    engine.network.layers = engine.network.layers[1:]
    refuse(trial, engine, "cls: c")


def test_gate__attention_not_scaled(trial: Trial):
    engine = trial.engine(("cls",))
    for layer in engine.network.layers:
        layer.attention.scaling = 1.0
    refuse(trial, engine, "cls: c")


def test_gate__missing_register_tokens(sharp_trial: Trial):
    if not sharp_trial.sample.checkpoint.registers:
        pytest.skip("has no registers")
    engine = sharp_trial.engine(("cls", "mean"))
    engine.network.prefix[:, 1:] = 0
    refuse(sharp_trial, engine, "cls: c")


# --- at real size -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("family", ["dinov2", "dinov3_vit"])
def test_gate__real_size(trial_of: Callable[..., Trial], family: str):
    """Three blocks of ViT-S at 518 and 224 px: with a thousand patches a single wrong one still shows."""
    patches = 14 if family == "dinov3_vit" else 37
    native = 224 if family == "dinov3_vit" else 518
    trial = trial_of(family, patches=patches, dim=384, layers=3, heads=6, native_px=native)
    engine = build_engine(trial.sample.at(trial.side), spec("openvino", "bf16", trial.batch))
    tokens = engine.encode(trial.tiles)
    report = compare_with_reference(trial.reference, tokens, "half")
    assert report.passed, report
    assert report.cls_cosine > 0.9999
    hidden = torch.from_numpy(
        np.concatenate([tokens["cls"][:, None], tokens["registers"], tokens["patches"]], 1)
    )
    for fault, (pool, reason) in POOLING_FAULTS.items():
        if "register" in fault and family == "dinov2":
            continue
        cut = cut_pooled(pool)(hidden, trial.sample.checkpoint.registers)
        fault_report = compare_with_reference(
            trial.reference, Tokens(**{n: cut[n].numpy() for n in ALL_TOKENS}), "half"
        )
        assert reason in str(fault_report.fault), f"{fault}: {fault_report}"


@pytest.mark.slow
def test_gate__real_size_with_transformed_tiles(trial_of: Callable[..., Trial]):
    """One engine, converted once, sees the tiles in every wrong way."""
    trial = trial_of("dinov3_vit", patches=14, dim=384, layers=3, heads=6, native_px=224)
    engine = build_engine(trial.sample.at(224, ("cls",)), spec("openvino", "bf16", trial.batch))
    for fault, transform in TILE_FAULTS.items():
        tokens = engine.encode(np.ascontiguousarray(transform(trial.tiles)))
        report = compare_with_reference(trial.reference, tokens, "half")
        assert not report.passed, f"{fault} let through: {report}"
        assert str(report.fault).startswith("cls: "), report
