"""The numerics gate: what it lets through, and faults that it must not.

Faults are planted in an engine of torch in float32: nothing but the fault is away from the reference.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dino_assets.core.encoder import ALL_TOKENS, TokenName, Tokens, build_engine, fit_batch
from dino_assets.core.encoder.gate import GATE_TILES, GateReport, draw_gate_tiles, hold_against
from dino_assets.core.encoder.torch_engine import TorchEncoder
from dino_assets_tests.core.encoder.networks import FAMILIES, Sample, spec

SampleOf = Callable[..., Sample]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Trial:
    """A network, and what the reference says of the gate's tiles."""

    sample: Sample
    tiles: np.ndarray
    reference: Tokens
    batch: int

    def engine(self, outputs: tuple[TokenName, ...] = ALL_TOKENS) -> TorchEncoder:
        """The engine that a fault is planted in."""
        return TorchEncoder(self.sample.at(self.side, outputs), spec("torch", "fp32", self.batch))

    @property
    def side(self) -> int:
        return int(self.tiles.shape[1])

    def judge(self, engine: Any, precision: str = "half") -> GateReport:
        """The gate's word."""
        return hold_against(self.reference, engine.encode(self.tiles), precision)  # type: ignore[arg-type]


def try_out(sample: Sample, side: int) -> Trial:
    tiles = draw_gate_tiles(side)
    batch = fit_batch(sample.checkpoint, side)
    encoder = TorchEncoder(sample.at(side), spec("torch", "fp32", batch))
    return Trial(sample, tiles, encoder.encode(tiles), batch)


@pytest.fixture(scope="module")
def trial_of(sample_of: SampleOf) -> Callable[..., Trial]:
    known: dict[str, Trial] = {}

    def get(family: str, *, patches: int = 7, **options: object) -> Trial:
        key = f"{family} {patches} {sorted(options.items())}"
        if key not in known:
            sizes = {"dim": 128, "layers": 4, "heads": 4, "statistics": IMAGENET, **options}
            sample = sample_of(family, **sizes)
            known[key] = try_out(sample, patches * sample.checkpoint.patch_px)
        return known[key]

    return get


@pytest.fixture(params=FAMILIES)
def sharp_trial(request: pytest.FixtureRequest, trial_of: Callable[..., Trial]) -> Trial:
    """Places and registers are told by attention alone: here it is as uneven as a trained one's."""
    return trial_of(request.param, is_sharp=True)


@pytest.fixture(params=FAMILIES)
def trial(request: pytest.FixtureRequest, trial_of: Callable[..., Trial]) -> Trial:
    return trial_of(request.param)


# --- what passes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "numerics", "precision"),
    [
        ("openvino", "bf16", "half"),
        ("openvino", "fp32", "fp32"),
        ("torch", "bf16", "half"),
        ("torch", "fp32", "fp32"),
    ],
)
def test_gate__passes(trial: Trial, engine: str, numerics: str, precision: str):
    built = build_engine(trial.sample.at(trial.side), spec(engine, numerics, trial.batch))
    report = trial.judge(built, precision)
    assert report.passed, report
    assert report.fault is None
    assert report.tiles == GATE_TILES >= 16
    assert report.token_cosine <= report.cls_cosine
    assert report.token_centred <= report.cls_centred
    least = 0.9999999 if precision == "fp32" else 0.9999
    assert report.cls_cosine > least


def test_gate__bf16_is_not_fp32(trial: Trial):
    """The limits of the exact class are tight: bfloat16 does not hold them."""
    built = build_engine(trial.sample.at(trial.side), spec("torch", "bf16", trial.batch))
    report = trial.judge(built, "fp32")
    assert not report.passed
    assert "cosine 0.9999" in str(report.fault)
    assert "0.999999 expected" in str(report.fault)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_gate__passes_other_weights(trial_of: Callable[..., Trial], engine: str, seed: int):
    trial = trial_of(FAMILIES[seed % 3], seed=seed, is_lively=seed != 1)
    built = build_engine(trial.sample.at(trial.side), spec(engine, "bf16", trial.batch))
    report = trial.judge(built)
    assert report.passed, report


@pytest.mark.parametrize("outputs", [("cls",), ("mean",), ("cls", "mean")])
def test_gate__judges_what_is_there(trial: Trial, outputs: tuple[TokenName, ...]):
    report = trial.judge(trial.engine(outputs), "fp32")
    assert report.passed, report
    assert set(report.norms) == set(outputs)


def test_gate__norms_by_hand():
    tokens = Tokens(
        cls=np.float32([[3, 4], [-6, 8], [0, 1]]),
        mean=np.float32([[1, 0], [0, 2], [3, 0]]),
        registers=np.zeros((3, 0, 2), np.float32),
        patches=np.float32([[[1, 0]], [[0, 2]], [[3, 0]]]),
    )
    report = hold_against(tokens, tokens, "fp32")
    assert report.norms == {"cls": (1, 10), "mean": (1, 3), "patches": (1, 3)}
    assert report.passed
    assert str(report) == (
        "CLS cosine 1.000000, centred 1.00000, any token 1.000000, centred 1.00000 over 3 tiles"
    )


def test_gate__figures_by_hand():
    """A right angle: cosine 0 in one tile of three."""
    wanted = Tokens(
        cls=np.float32([[1, 0], [0, 1], [2, 2]]),
        mean=np.float32([[1, 0], [0, 1], [1, 1]]),
        registers=np.zeros((3, 0, 2), np.float32),
        patches=np.float32([[[1, 0]], [[0, 1]], [[1, 1]]]),
    )
    turned = np.float32([[1, 0], [0, 1], [2, -2]])
    report = hold_against(wanted, Tokens(cls=turned), "half")
    assert report.cls_cosine == pytest.approx(0, abs=1e-9)
    assert report.fault is not None
    assert str(report).startswith("cls: cosine 0, at least 0.999 expected; cls: centred cosine ")
    assert str(report).endswith(" over 3 tiles)")


# --- faults -----------------------------------------------------------------------------------


def refuse(trial: Trial, engine: Any, reason: str) -> None:
    report = trial.judge(engine)
    assert not report.passed, f"let through: {report}"
    assert reason in str(report.fault), report
    assert str(report.fault) in str(report)


def test_gate__mean_and_std_swapped(trial: Trial):
    engine = trial.engine(("cls",))
    known = trial.sample.checkpoint
    swapped = replace(known, mean=known.std, std=known.mean)
    engine.source = replace(engine.source, checkpoint=swapped)
    refuse(trial, engine, "cls: c")


def test_gate__statistics_of_another_model(trial: Trial):
    engine = trial.engine(("cls",))
    sat = replace(trial.sample.checkpoint, mean=(0.430, 0.411, 0.296), std=(0.213, 0.156, 0.143))
    engine.source = replace(engine.source, checkpoint=sat)
    refuse(trial, engine, "cls: c")


SEEN_WRONG = {
    "blue first": lambda tiles: tiles[..., ::-1],
    "transposed": lambda tiles: tiles.transpose(0, 2, 1, 3),
    "mirrored": lambda tiles: tiles[:, :, ::-1],
    "upside down": lambda tiles: tiles[:, ::-1],
    "turned": lambda tiles: np.rot90(tiles, axes=(1, 2)),
    "the neighbour's": lambda tiles: np.roll(tiles, 1, axis=0),
}


@pytest.mark.parametrize("fault", SEEN_WRONG)
@pytest.mark.parametrize("outputs", [ALL_TOKENS, ("cls",)])
def test_gate__tiles_seen_wrong(trial: Trial, fault: str, outputs: tuple[TokenName, ...]):
    engine = trial.engine(outputs)
    run = engine._run
    engine._run = lambda tiles: run(np.ascontiguousarray(SEEN_WRONG[fault](tiles)))  # type: ignore[method-assign]
    refuse(trial, engine, "cls: ")


class Resliced(nn.Module):
    """Takes its tokens out of the last layer in a way of its own."""

    def __init__(self, network: Any, outputs: tuple[TokenName, ...], cut: Callable[..., Any]):
        super().__init__()
        self.network, self.names, self.cut = network, outputs, cut
        network.outputs = ("cls", "registers", "patches")

    def forward(self, planes: Tensor) -> tuple[Tensor, ...]:
        cls, registers, patches = self.network(planes)
        hidden = torch.cat([cls[:, None], registers, patches], dim=1)
        found = self.cut(hidden, registers.shape[1])
        return tuple(found[name] for name in self.names)


def cut_shifted(by: int) -> Callable[..., Any]:
    """Registers and patches begin too early or too late; their number is right."""

    def cut(hidden: Tensor, registers: int) -> dict[str, Tensor]:
        ahead = 1 + registers + by
        patches = torch.roll(hidden, -ahead, dims=1)[:, : hidden.shape[1] - 1 - registers]
        own = torch.roll(hidden, -1 - by, dims=1)[:, :registers]
        return {"cls": hidden[:, 0], "mean": patches.mean(1), "registers": own, "patches": patches}

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


LEAKS = "mean: CLS or registers are in it; only patches belong there"
POOLED_WRONG = {
    "with CLS": (
        lambda h, r: torch.cat([h[:, :1], h[:, 1 + r :]], 1).mean(1),
        LEAKS,
    ),
    "with all": (lambda h, r: h.mean(1), LEAKS),
    "with registers": (lambda h, r: h[:, 1:].mean(1), LEAKS),
    "with a register": (lambda h, r: h[:, r:].mean(1), LEAKS),
    "without the first": (lambda h, r: h[:, 2 + r :].mean(1), "the first patch is not in it"),
    "without the last": (lambda h, r: h[:, 1 + r : -1].mean(1), "the last patch is not in it"),
    "CLS": (lambda h, r: h[:, 0], "mean: c"),
    "maximum": (lambda h, r: h[:, 1 + r :].amax(1), "mean: c"),
}


def needs_registers(trial: Trial, fault: str) -> None:
    if fault in ("with registers", "with a register") and not trial.sample.checkpoint.registers:
        pytest.skip("has no registers")


@pytest.mark.parametrize("fault", POOLED_WRONG)
@pytest.mark.parametrize("outputs", [ALL_TOKENS, ("cls", "mean"), ("mean",)])
def test_gate__pooled_wrong(trial: Trial, fault: str, outputs: tuple[TokenName, ...]):
    needs_registers(trial, fault)
    if fault.startswith("without") and "patches" not in outputs:
        pytest.skip("one patch of many is told to lack by the engine's own patches alone")
    pool, reason = POOLED_WRONG[fault]
    engine = trial.engine()
    engine.source = replace(engine.source, outputs=outputs)
    engine._network = Resliced(engine._network, outputs, cut_pooled(pool))
    refuse(trial, engine, reason)


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("outputs", [ALL_TOKENS, ("registers", "cls"), ("patches",)])
def test_gate__registers_off_by_one(trial: Trial, by: int, outputs: tuple[TokenName, ...]):
    if "patches" not in outputs and not trial.sample.checkpoint.registers:
        pytest.skip("has no registers")
    engine = trial.engine()
    engine.source = replace(engine.source, outputs=outputs)
    engine._network = Resliced(engine._network, outputs, cut_shifted(by))
    refuse(trial, engine, "cosine")


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize(
    ("outputs", "reason"), [(ALL_TOKENS, "shape"), (("cls", "mean"), "mean: ")]
)
def test_gate__network_that_miscounts_registers(trial: Trial, by: int, outputs, reason: str):
    if not trial.sample.checkpoint.registers:
        pytest.skip("has no registers")
    if by == 1 and "patches" not in outputs:
        pytest.skip("one patch of many is told to lack by the engine's own patches alone")
    engine = trial.engine(outputs)
    engine._network.registers += by
    refuse(trial, engine, reason)


def test_gate__cls_alone_with_keys_of_other_places(trial_of: Callable[..., Trial]):
    trial = trial_of("dinov3_vit", is_sharp=True)
    engine = trial.engine(("cls",))
    network = engine._network
    network.cos, network.sin = (torch.roll(t, 1, dims=-2) for t in (network.cos, network.sin))
    refuse(trial, engine, "cls: centred")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gate__not_a_number(trial: Trial, value: float):
    engine = trial.engine()
    engine._network.norm.bias[3] = value
    refuse(trial, engine, "cls: NaN or infinity; mean: NaN or infinity")


def test_gate__reference_of_nan(trial: Trial):
    """A network that is broken itself passes nothing."""
    lame = replace(trial.reference, cls=trial.reference["cls"] * np.float32("nan"))
    assert not hold_against(lame, trial.engine(("cls",)).encode(trial.tiles), "half").passed


def test_gate__wrong_shape(trial: Trial):
    engine = trial.engine(("cls",))
    run = engine._run
    engine._run = lambda tiles: tuple(each[:, :-1] for each in run(tiles))  # type: ignore[method-assign]
    refuse(trial, engine, "cls: shape (16, 127), (16, 128) expected")


def test_gate__tiles_lost(trial: Trial):
    found = trial.engine(("cls",)).encode(trial.tiles[:-1])
    report = hold_against(trial.reference, found, "half")
    assert report.fault == "cls: shape (15, 128), (16, 128) expected"


def test_gate__no_tokens_at_all(trial: Trial):
    report = hold_against(trial.reference, Tokens(), "half")
    assert report.fault == "it gave no tokens at all"


def test_gate__registers_of_a_model_without(trial_of: Callable[..., Trial]):
    trial = trial_of("dinov2")
    assert trial.reference["registers"].shape == (16, 0, 128)
    odd = replace(trial.reference, registers=np.ones((16, 1, 128), np.float32))
    report = hold_against(trial.reference, odd, "half")
    assert report.fault == "registers: shape (16, 1, 128), (16, 0, 128) expected"


@pytest.mark.parametrize("bits", [3, 4])
def test_gate__too_few_bits_of_weights(trial: Trial, bits: int):
    engine = trial.engine(("cls",))
    for tensor in engine._network.parameters():
        if tensor.ndim > 1:
            step = tensor.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
            tensor.copy_((tensor / step).round() * step)
    refuse(trial, engine, "cls: ")


def test_gate__too_few_bits_between_the_blocks(trial: Trial):
    """As if the residual were kept in an 8-bit float: 3 bits of mantissa."""
    engine = trial.engine(("cls",))

    def coarsen(module: nn.Module, given: Any, found: Tensor) -> Tensor:
        mantissa, exponent = torch.frexp(found)
        return torch.ldexp((mantissa * 8).round() / 8, exponent)

    for layer in engine._network.layers[:-1]:
        layer.register_forward_hook(coarsen)
    refuse(trial, engine, "cls: ")


def test_gate__too_few_bits_of_what_comes_out(trial: Trial):
    engine = trial.engine(("cls",))
    run = engine._run
    engine._run = lambda tiles: tuple((each * 2).round() / 2 for each in run(tiles))  # type: ignore[method-assign]
    refuse(trial, engine, "cls: c")


def test_gate__positions_of_another_side(sharp_trial: Trial):
    """Those of a wider grid, cut off where these end."""
    engine, other = sharp_trial.engine(), try_network(sharp_trial, sharp_trial.side * 2)
    network = engine._network
    for name in ("positions", "cos", "sin"):
        mine = getattr(network, name)
        if mine is not None:
            network.register_buffer(name, getattr(other, name)[..., : mine.shape[-2], :].clone())
    refuse(sharp_trial, engine, "cosine")


def try_network(trial: Trial, side: int) -> Any:
    return TorchEncoder(trial.sample.at(side), spec("torch", "fp32", 1))._network


def test_gate__positions_column_by_column(sharp_trial: Trial):
    engine = sharp_trial.engine(("cls", "mean"))
    network = engine._network
    for name in ("positions", "cos", "sin"):
        mine = getattr(network, name)
        if mine is not None:
            grid = mine.reshape(7, 7, -1).transpose(0, 1).reshape(mine.shape)
            network.register_buffer(name, grid.clone())
    refuse(sharp_trial, engine, "cosine")


def test_gate__a_block_left_out(trial: Trial):
    engine = trial.engine(("cls",))
    engine._network.layers = engine._network.layers[1:]
    refuse(trial, engine, "cls: c")


def test_gate__attention_not_scaled(trial: Trial):
    engine = trial.engine(("cls",))
    for layer in engine._network.layers:
        layer.attention.scaling = 1.0
    refuse(trial, engine, "cls: c")


def test_gate__register_tokens_lost(sharp_trial: Trial):
    if not sharp_trial.sample.checkpoint.registers:
        pytest.skip("has no registers")
    engine = sharp_trial.engine(("cls", "mean"))
    engine._network.prefix[:, 1:] = 0
    refuse(sharp_trial, engine, "cls: c")


# --- its tiles --------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [64, 98, 224, 518])
def test_draw_gate_tiles__are_of_use(side: int):
    tiles = draw_gate_tiles(side)
    assert tiles.shape == (GATE_TILES, side, side, 3)
    assert tiles.dtype == np.uint8
    assert GATE_TILES >= 16
    assert np.array_equal(tiles, draw_gate_tiles(side))
    assert len({tile.tobytes() for tile in tiles}) == GATE_TILES
    for tile in tiles:
        for other in (
            tile.transpose(1, 0, 2),
            tile[:, ::-1],
            tile[::-1],
            tile[::-1, ::-1],
            tile[..., ::-1],
        ):
            assert not np.array_equal(tile, other)
        assert tile.std() > 5  # there is something to see
    # drawn ones have few colours, textured ones many
    colours = [
        len({bytes(pixel) for pixel in tile[::2, ::2].reshape(-1, 3)[:4096]}) for tile in tiles
    ]
    assert max(colours[::2]) < 20
    assert min(colours[1::2]) > 500


def test_draw_gate_tiles__others_of_another_seed():
    one, other = draw_gate_tiles(64), draw_gate_tiles(64, seed=1)
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert draw_gate_tiles(64, count=3).shape[0] == 3


# --- at real size -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("family", ["dinov2", "dinov3_vit"])
def test_gate__real_size(trial_of: Callable[..., Trial], family: str):
    """ViT-S at 518 and 224 px: with a thousand patches a single wrong one still shows."""
    patches = 14 if family == "dinov3_vit" else 37
    native = 224 if family == "dinov3_vit" else 518
    trial = trial_of(family, patches=patches, dim=384, layers=12, heads=6, native_px=native)
    right = build_engine(trial.sample.at(trial.side), spec("openvino", "bf16", trial.batch))
    found = right.encode(trial.tiles)
    report = hold_against(trial.reference, found, "half")
    assert report.passed, report
    assert report.cls_cosine > 0.9999
    hidden = torch.from_numpy(
        np.concatenate([found["cls"][:, None], found["registers"], found["patches"]], 1)
    )
    for fault, (pool, reason) in POOLED_WRONG.items():
        if "register" in fault and family == "dinov2":
            continue
        cut = cut_pooled(pool)(hidden, trial.sample.checkpoint.registers)
        wrong = hold_against(
            trial.reference, Tokens(**{n: cut[n].numpy() for n in ALL_TOKENS}), "half"
        )
        assert reason in str(wrong.fault), f"{fault}: {wrong}"


@pytest.mark.slow
@pytest.mark.parametrize("fault", SEEN_WRONG)
def test_gate__real_size_seen_wrong(trial_of: Callable[..., Trial], fault: str):
    trial = trial_of("dinov3_vit", patches=14, dim=384, layers=12, heads=6, native_px=224)
    engine = build_engine(trial.sample.at(224, ("cls",)), spec("openvino", "bf16", trial.batch))
    run = engine._run
    engine._run = lambda tiles: run(np.ascontiguousarray(SEEN_WRONG[fault](tiles)))  # type: ignore[method-assign]
    refuse(trial, engine, "cls: ")
