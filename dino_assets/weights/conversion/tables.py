"""Which tensor of which format becomes which tensor of transformers' layout: tables, no code.

Read off dinov2/models/vision_transformer.py and dinov3/models/vision_transformer.py (Meta), timm's
vision_transformer.py (DINOv2) and eva.py (DINOv3), and transformers' conversion scripts and models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dino_assets.weights.records import Family

ROPE_BASE = 100.0
# Meta keeps the periods rounded to bfloat16, whose steps are 2⁻⁸ of a number.
_BFLOAT16_STEP = 2**-8

Values = NDArray[np.float32]
Check = Callable[[Values], str]  # "" or what is wrong with the values


@dataclass(frozen=True)
class Rule:
    """What one source tensor looks like, and what becomes of it.

    ``shape`` has a word per axis: a number, or a size's letter with a factor. The letters are d
    (width), p (patch side), h (MLP width), n (positions), r (registers) and f (rotary periods).
    The rows are dealt out evenly to ``targets``; ``None`` and no targets at all mean that they are
    left over, and ``leftover`` says why. An optional tensor with a target is zeros when absent.
    """

    shape: str
    targets: tuple[str | None, ...] = ()
    becomes: str = ""  # the target's shape where it is not that of the rows
    is_optional: bool = False
    starts_with_zeros: bool = False  # one zero position before the others
    leftover: str = ""
    check: Check | None = None


@dataclass(frozen=True)
class Part:
    """Rules that come together, where their sizes are read, and what they mean for the config."""

    rules: Mapping[str, Rule]
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # letter → tensor, axis
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One format of one family: a name for people, and all of its parts."""

    name: str
    family: Family
    parts: tuple[Part, ...]
    has_cls_position: bool = False

    @property
    def rules(self) -> dict[str, Rule]:
        """Every tensor that may occur; ``#`` stands for the number of the block."""
        return {name: rule for part in self.parts for name, rule in part.rules.items()}


def check_bias_mask(mask: Values) -> str:
    """Meta multiplies the fused bias by this mask: it must cut out k's third and nothing else."""
    third = len(mask) // 3
    expected = np.repeat(np.array([1, 0, 1], np.float32), third)
    return "" if np.array_equal(mask, expected) else "does not mask the bias of k, and only that"


def check_periods(periods: Values) -> str:
    """Rotary periods must be those that transformers computes from its base."""
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
    """The same rules in block ``#``; targets get the prefix."""
    return {
        f"blocks.#.{name}": Rule(
            rule.shape,
            tuple(target and f"{prefix}layer.#.{target}" for target in rule.targets),
            leftover=rule.leftover,
            check=rule.check,
        )
        for name, rule in rules.items()
    }


def _stem(patches: str, norm: str, mask_token: str) -> Part:
    return Part(
        {
            "cls_token": Rule("1 1 d", ("embeddings.cls_token",)),
            # timm drops it; only pre-training looks at it, so zeros change no output.
            "mask_token": Rule(
                "1 d", ("embeddings.mask_token",), becomes=mask_token, is_optional=True
            ),
            **_linear("patch_embed.proj", f"embeddings.{patches}", "d 3 p p"),
            **_norm("norm", norm),
        },
        sizes={"d": ("cls_token", 2), "p": ("patch_embed.proj.weight", 3)},
    )


def _registers(source: str) -> Part:
    rule = Rule("1 r d", ("embeddings.register_tokens",))
    return Part({source: rule}, sizes={"r": (source, 1)})


def _positions(*, starts_with_zeros: bool = False) -> Part:
    rule = Rule("1 n d", ("embeddings.position_embeddings",), starts_with_zeros=starts_with_zeros)
    return Part({"pos_embed": rule}, sizes={"n": ("pos_embed", 1)})


def _mlp(prefix: str, rules: Mapping[str, Rule], last: str, **config: object) -> Part:
    """``last`` is the linear layer that leads back to d."""
    return Part(
        _in_blocks(prefix, rules), sizes={"h": (f"blocks.0.mlp.{last}.weight", 1)}, config=config
    )


# --- DINOv2 ---------------------------------------------------------------------------------

_V2_STEM = _stem("patch_embeddings.projection", "layernorm", "1 d")
_V2_ATTENTION = [f"attention.attention.{which}" for which in ("query", "key", "value")]
_V2_BLOCK = Part(
    _in_blocks(
        "encoder.",
        {
            **_norm("norm1", "norm1"),
            **_norm("norm2", "norm2"),
            "attn.qkv.weight": Rule("3d d", tuple(f"{name}.weight" for name in _V2_ATTENTION)),
            "attn.qkv.bias": Rule("3d", tuple(f"{name}.bias" for name in _V2_ATTENTION)),
            **_linear("attn.proj", "attention.output.dense", "d d"),
            "ls1.gamma": Rule("d", ("layer_scale1.lambda1",)),
            "ls2.gamma": Rule("d", ("layer_scale2.lambda1",)),
        },
    )
)
_V2_PLAIN = _mlp(
    "encoder.",
    {**_linear("mlp.fc1", "mlp.fc1", "h d"), **_linear("mlp.fc2", "mlp.fc2", "d h")},
    "fc2",
    use_swiglu_ffn=False,
)


def _v2_gated(into: str, out_of: str) -> Part:
    rules = {
        **_linear(f"mlp.{into}", "mlp.weights_in", "2h d"),
        **_linear(f"mlp.{out_of}", "mlp.weights_out", "d h"),
    }
    return _mlp("encoder.", rules, out_of, use_swiglu_ffn=True)


_V2_META = {"": _V2_PLAIN, ", SwiGLU": _v2_gated("w12", "w3")}
_V2_TIMM = {"": _V2_PLAIN, ", SwiGLU": _v2_gated("fc1", "fc2")}

_V2 = (
    *(
        Format(
            f"DINOv2 of Meta or timm{gated}",
            "dinov2",
            (_V2_STEM, _positions(), _V2_BLOCK, mlp),
            has_cls_position=True,
        )
        for gated, mlp in [*_V2_META.items(), (", packed SwiGLU", _V2_TIMM[", SwiGLU"])]
    ),
    *(
        Format(
            f"Meta's DINOv2 with registers{gated}",
            "dinov2_with_registers",
            (_V2_STEM, _positions(), _registers("register_tokens"), _V2_BLOCK, mlp),
            has_cls_position=True,
        )
        for gated, mlp in _V2_META.items()
    ),
    *(
        Format(
            f"timm's DINOv2 with registers{gated}",
            "dinov2_with_registers",
            # timm has added cls's position to cls_token and cut it off.
            (
                _V2_STEM,
                _positions(starts_with_zeros=True),
                _registers("reg_token"),
                _V2_BLOCK,
                mlp,
            ),
        )
        for gated, mlp in _V2_TIMM.items()
    ),
)

# --- DINOv3 ---------------------------------------------------------------------------------

_V3_STEM = _stem("patch_embeddings", "norm", "1 1 d")
_V3_ATTENTION = [f"attention.{which}" for which in ("q_proj", "k_proj", "v_proj")]
_V3_BLOCK = Part(
    _in_blocks(
        "",
        {
            **_norm("norm1", "norm1"),
            **_norm("norm2", "norm2"),
            "attn.qkv.weight": Rule("3d d", tuple(f"{name}.weight" for name in _V3_ATTENTION)),
            **_linear("attn.proj", "attention.o_proj", "d d"),
        },
    )
)
_V3_PLAIN = _mlp(
    "",
    {**_linear("mlp.fc1", "mlp.up_proj", "h d"), **_linear("mlp.fc2", "mlp.down_proj", "d h")},
    "fc2",
    use_gated_mlp=False,
    hidden_act="gelu",
)


def _v3_gated(gate: str, up: str, down: str) -> Part:
    rules = {
        **_linear(f"mlp.{gate}", "mlp.gate_proj", "h d"),
        **_linear(f"mlp.{up}", "mlp.up_proj", "h d"),
        **_linear(f"mlp.{down}", "mlp.down_proj", "d h"),
    }
    return _mlp("", rules, down, use_gated_mlp=True, hidden_act="silu")


def _scales(first: str, second: str) -> Part:
    rules = {
        first: Rule("d", ("layer_scale1.lambda1",)),
        second: Rule("d", ("layer_scale2.lambda1",)),
    }
    return Part(_in_blocks("", rules))


def _biases(rules: Mapping[str, Rule], *, query: bool, key: bool, value: bool) -> Part:
    config = {"query_bias": query, "key_bias": key, "value_bias": value}
    return Part(_in_blocks("", rules), config=config)


_Q_BIAS, _K_BIAS, _V_BIAS = (f"{name}.bias" for name in _V3_ATTENTION)
_NO_BIASES = _biases({}, query=False, key=False, value=False)
_MASKED_BIASES = _biases(
    {
        "attn.qkv.bias": Rule(
            "3d", (_Q_BIAS, None, _V_BIAS), leftover="k's bias, which bias_mask sets to zero"
        ),
        "attn.qkv.bias_mask": Rule(
            "3d", leftover="the mask itself, once it is applied", check=check_bias_mask
        ),
    },
    query=True,
    key=False,
    value=True,
)
_ALL_BIASES = _biases(
    {"attn.qkv.bias": Rule("3d", (_Q_BIAS, _K_BIAS, _V_BIAS))}, query=True, key=True, value=True
)
_QV_BIASES = _biases(
    {"attn.q_bias": Rule("d", (_Q_BIAS,)), "attn.v_bias": Rule("d", (_V_BIAS,))},
    query=True,
    key=False,
    value=True,
)
_CROPS = "a norm for the small crops of training, unused afterwards"
_V3_BUFFERS = Part(
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
_V3_META = {"": _V3_PLAIN, ", SwiGLU": _v3_gated("w1", "w2", "w3")}
_V3_TIMM = {"": _V3_PLAIN, ", SwiGLU": _v3_gated("fc1_g", "fc1_x", "fc2")}

_V3 = (
    *(
        Format(
            f"Meta's DINOv3{gated}",
            "dinov3_vit",
            (
                _V3_STEM,
                _registers("storage_tokens"),
                _V3_BLOCK,
                _scales("ls1.gamma", "ls2.gamma"),
                biases,
                mlp,
                _V3_BUFFERS,
            ),
        )
        for (gated, mlp), biases in product(
            _V3_META.items(), (_MASKED_BIASES, _NO_BIASES, _ALL_BIASES)
        )
    ),
    *(
        Format(
            f"timm's DINOv3{gated}",
            "dinov3_vit",
            (
                _V3_STEM,
                _registers("reg_token"),
                _V3_BLOCK,
                _scales("gamma_1", "gamma_2"),
                biases,
                mlp,
            ),
        )
        for (gated, mlp), biases in product(_V3_TIMM.items(), (_NO_BIASES, _QV_BIASES))
    ),
)

FORMATS = (*_V2, *_V3)
