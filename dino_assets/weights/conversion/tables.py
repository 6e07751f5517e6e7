"""Tables of checkpoint formats: which source tensor becomes which tensor of transformers.

Taken from dinov2/models/vision_transformer.py and dinov3/models/vision_transformer.py (Meta), timm's
vision_transformer.py (DINOv2) and eva.py (DINOv3), and transformers' conversion scripts and models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dino_assets.weights.records import Family

ROPE_BASE = 100.0
# Meta stores the periods rounded to bfloat16, whose relative step is 2⁻⁸.
_BFLOAT16_STEP = 2**-8

Values = NDArray[np.float32]
Check = Callable[[Values], str]  # returns "" or the fault of the values


@dataclass(frozen=True)
class Rule:
    """The shape of one source tensor, and the tensors that it becomes.

    ``shape`` has one word per axis: a number, or a size's letter with an optional factor, such as ``3d``.
    The letters are d (width), p (patch side), h (MLP width), n (positions), r (registers) and f (rotary
    periods). The rows are divided evenly among ``targets``. Rows whose target is ``None`` are not used, nor
    is a tensor without targets; ``leftover`` says why. If an optional tensor is missing, its target is all
    zeros.
    """

    shape: str
    targets: tuple[str | None, ...] = ()
    becomes: str = ""  # the target's shape, if it differs from that of the rows
    is_optional: bool = False
    starts_with_zeros: bool = False  # a zero position is added at the start
    leftover: str = ""
    check: Check | None = None


@dataclass(frozen=True)
class RuleSet:
    """A group of rules, with the tensors that give their sizes and the config keys they imply."""

    rules: Mapping[str, Rule]
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # letter → tensor, axis
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One checkpoint format of one family: a readable name and its rule sets."""

    name: str
    family: Family
    parts: tuple[RuleSet, ...]
    has_cls_position: bool = False

    @property
    def rules(self) -> dict[str, Rule]:
        """Every tensor that may occur; ``#`` stands for the block's number."""
        return {name: rule for part in self.parts for name, rule in part.rules.items()}


def check_bias_mask(mask: Values) -> str:
    """Check the mask by which Meta multiplies the joint bias of q, k and v; return "" or the fault.

    The mask must set k's third of the bias to zero, and nothing else.
    """
    third = len(mask) // 3
    expected = np.repeat(np.array([1, 0, 1], np.float32), third)
    return "" if np.array_equal(mask, expected) else "do not mask the bias of k, and only that"


def check_periods(periods: Values) -> str:
    """Check that rotary periods equal those of ``ROPE_BASE``; return "" or the fault.

    transformers does not read the periods from the file, but computes them from this base.
    """
    expected = ROPE_BASE ** (np.arange(len(periods)) / len(periods))
    if np.allclose(periods, expected, rtol=_BFLOAT16_STEP, atol=0):
        return ""
    return f"are not the rotary periods of base {ROPE_BASE:g}"


def _linear(source: str, target: str, shape: str) -> dict[str, Rule]:
    return {
        f"{source}.weight": Rule(shape, (f"{target}.weight",)),
        f"{source}.bias": Rule(shape.split()[0], (f"{target}.bias",)),
    }


def _norm(source: str, target: str) -> dict[str, Rule]:
    return _linear(source, target, "d")


def _in_blocks(prefix: str, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Make the rules of one block apply to block ``#``, with the prefix before each target."""
    return {
        f"blocks.#.{name}": Rule(
            rule.shape,
            tuple(target and f"{prefix}layer.#.{target}" for target in rule.targets),
            leftover=rule.leftover,
            check=rule.check,
        )
        for name, rule in rules.items()
    }


def _scales(first: str, second: str) -> dict[str, Rule]:
    targets = {first: "layer_scale1.lambda1", second: "layer_scale2.lambda1"}
    return {source: Rule("d", (target,)) for source, target in targets.items()}


def _block(
    prefix: str, attention: Sequence[str], out_of: str, others: Mapping[str, Rule]
) -> RuleSet:
    rules = {
        **_norm("norm1", "norm1"),
        **_norm("norm2", "norm2"),
        "attn.qkv.weight": Rule("3d d", tuple(f"{name}.weight" for name in attention)),
        **_linear("attn.proj", out_of, "d d"),
    }
    return RuleSet(_in_blocks(prefix, {**rules, **others}))


def _stem(patches: str, norm: str, mask_token: str) -> RuleSet:
    return RuleSet(
        {
            "cls_token": Rule("1 1 d", ("embeddings.cls_token",)),
            # timm leaves it out. Only pre-training uses it, so zeros change no output.
            "mask_token": Rule(
                "1 d", ("embeddings.mask_token",), becomes=mask_token, is_optional=True
            ),
            **_linear("patch_embed.proj", f"embeddings.{patches}", "d 3 p p"),
            **_norm("norm", norm),
        },
        sizes={"d": ("cls_token", 2), "p": ("patch_embed.proj.weight", 3)},
    )


def _registers(source: str) -> RuleSet:
    rule = Rule("1 r d", ("embeddings.register_tokens",))
    return RuleSet({source: rule}, sizes={"r": (source, 1)})


def _positions(*, starts_with_zeros: bool = False) -> RuleSet:
    rule = Rule("1 n d", ("embeddings.position_embeddings",), starts_with_zeros=starts_with_zeros)
    return RuleSet({"pos_embed": rule}, sizes={"n": ("pos_embed", 1)})


def _mlp(prefix: str, rules: Mapping[str, Rule], last: str, **config: object) -> RuleSet:
    """Make the rules of an MLP; ``last`` is its linear layer back to width d."""
    return RuleSet(
        _in_blocks(prefix, rules), sizes={"h": (f"blocks.0.mlp.{last}.weight", 1)}, config=config
    )


# Tables of DINOv2.

_V2_STEM = _stem("patch_embeddings.projection", "layernorm", "1 d")
_V2_ATTENTION = [f"attention.attention.{which}" for which in ("query", "key", "value")]
_V2_BLOCK = _block(
    "encoder.",
    _V2_ATTENTION,
    "attention.output.dense",
    {
        "attn.qkv.bias": Rule("3d", tuple(f"{name}.bias" for name in _V2_ATTENTION)),
        **_scales("ls1.gamma", "ls2.gamma"),
    },
)


def _v2_mlp(into: str, out_of: str, *, gated: bool) -> RuleSet:
    kind, width = (("weights_in", "weights_out"), "2h d") if gated else (("fc1", "fc2"), "h d")
    rules = {
        **_linear(f"mlp.{into}", f"mlp.{kind[0]}", width),
        **_linear(f"mlp.{out_of}", f"mlp.{kind[1]}", "d h"),
    }
    return _mlp("encoder.", rules, out_of, use_swiglu_ffn=gated)


# Suffix of the format's name → the MLP.
_V2_PLAIN = {"": _v2_mlp("fc1", "fc2", gated=False)}
_V2_META = _V2_PLAIN | {", SwiGLU": _v2_mlp("w12", "w3", gated=True)}
_V2_PACKED = _v2_mlp("fc1", "fc2", gated=True)  # timm's


def _v2(
    name: str,
    family: Family,
    mlps: Mapping[str, RuleSet],
    *others: RuleSet,
    has_cls_position: bool = True,
) -> Iterator[Format]:
    for word, mlp in mlps.items():
        parts = (_V2_STEM, *others, _V2_BLOCK, mlp)
        yield Format(f"{name}{word}", family, parts, has_cls_position=has_cls_position)


# Tables of DINOv3.

_V3_STEM = _stem("patch_embeddings", "norm", "1 1 d")
_V3_ATTENTION = [f"attention.{which}" for which in ("q_proj", "k_proj", "v_proj")]


def _v3_mlp(up: str, down: str, gate: str = "") -> RuleSet:
    rules = {
        **(_linear(f"mlp.{gate}", "mlp.gate_proj", "h d") if gate else {}),
        **_linear(f"mlp.{up}", "mlp.up_proj", "h d"),
        **_linear(f"mlp.{down}", "mlp.down_proj", "d h"),
    }
    activation = "silu" if gate else "gelu"
    return _mlp("", rules, down, use_gated_mlp=bool(gate), hidden_act=activation)


_Q_BIAS, _K_BIAS, _V_BIAS = (f"{name}.bias" for name in _V3_ATTENTION)


def _biases(rules: Mapping[str, Rule]) -> RuleSet:
    targets = {target for rule in rules.values() for target in rule.targets}
    names = {"query_bias": _Q_BIAS, "key_bias": _K_BIAS, "value_bias": _V_BIAS}
    return RuleSet(
        _in_blocks("", rules), config={name: target in targets for name, target in names.items()}
    )


_NO_BIASES = _biases({})
_MASKED_BIASES = _biases(
    {
        "attn.qkv.bias": Rule(
            "3d", (_Q_BIAS, None, _V_BIAS), leftover="k's bias, which bias_mask sets to zero"
        ),
        "attn.qkv.bias_mask": Rule(
            "3d", leftover="the mask itself, after it is applied", check=check_bias_mask
        ),
    }
)
_ALL_BIASES = _biases({"attn.qkv.bias": Rule("3d", (_Q_BIAS, _K_BIAS, _V_BIAS))})
_QV_BIASES = _biases({"attn.q_bias": Rule("d", (_Q_BIAS,)), "attn.v_bias": Rule("d", (_V_BIAS,))})
_CROPS = "a norm for the small crops of training, not used afterwards"
_V3_BUFFERS = RuleSet(
    {
        "rope_embed.periods": Rule(
            "f",
            is_optional=True,
            leftover="transformers computes the rotary periods itself, in float32",
            check=check_periods,
        ),
        "local_cls_norm.weight": Rule("d", is_optional=True, leftover=_CROPS),
        "local_cls_norm.bias": Rule("d", is_optional=True, leftover=_CROPS),
    },
    sizes={"f": ("rope_embed.periods", 0)},
)
_V3_PLAIN = {"": _v3_mlp("fc1", "fc2")}
_V3_META = _V3_PLAIN | {", SwiGLU": _v3_mlp("w2", "w3", gate="w1")}
_V3_TIMM = _V3_PLAIN | {", SwiGLU": _v3_mlp("fc1_x", "fc2", gate="fc1_g")}


def _v3(
    name: str,
    mlps: Mapping[str, RuleSet],
    biases: Sequence[RuleSet],
    registers: str,
    scales: Mapping[str, Rule],
    *others: RuleSet,
) -> Iterator[Format]:
    block = _block("", _V3_ATTENTION, "attention.o_proj", scales)
    for (word, mlp), bias in product(mlps.items(), biases):
        parts = (_V3_STEM, _registers(registers), block, bias, mlp, *others)
        yield Format(f"{name}{word}", "dinov3_vit", parts)


FORMATS = (
    *_v2(
        "DINOv2 of Meta or timm",
        "dinov2",
        _V2_META | {", packed SwiGLU": _V2_PACKED},
        _positions(),
    ),
    *_v2(
        "Meta's DINOv2 with registers",
        "dinov2_with_registers",
        _V2_META,
        _positions(),
        _registers("register_tokens"),
    ),
    # timm has added the position of cls to cls_token and removed it from pos_embed.
    *_v2(
        "timm's DINOv2 with registers",
        "dinov2_with_registers",
        _V2_PLAIN | {", SwiGLU": _V2_PACKED},
        _positions(starts_with_zeros=True),
        _registers("reg_token"),
        has_cls_position=False,
    ),
    *_v3(
        "Meta's DINOv3",
        _V3_META,
        (_MASKED_BIASES, _NO_BIASES, _ALL_BIASES),
        "storage_tokens",
        _scales("ls1.gamma", "ls2.gamma"),
        _V3_BUFFERS,
    ),
    *_v3(
        "timm's DINOv3",
        _V3_TIMM,
        (_NO_BIASES, _QV_BIASES),
        "reg_token",
        _scales("gamma_1", "gamma_2"),
    ),
)
