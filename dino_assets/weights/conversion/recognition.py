"""Recognition of a checkpoint's format by tensor names and shapes, and conversion to transformers' format."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dino_assets.errors import InvalidCheckpointError
from dino_assets.weights.architecture import CONFIG, Shapes
from dino_assets.weights.conversion.tables import FORMATS, ROPE_BASE, Check, Format, Rule
from dino_assets.weights.records import Family

if TYPE_CHECKING:
    import torch

UNDERSTOOD = (
    "Supported are Meta's .pth and timm's .safetensors files of DINOv2, DINOv2 with registers and DINOv3 "
    "(ViTs only), and Hugging Face's folders of these models."
)
_HEAD_DIM = 64
_HEADS = {4096: 32}  # only the 7B model has 128 dims per head
_DINOV3_IMAGE_PX = 224  # as in the Hub's configs; rotary positions have no native size
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_WORD = re.compile(r"(\d*)([a-z]?)")
_MAX_MLP_RATIO = 16

Sizes = dict[str, int]


@dataclass(frozen=True)
class Piece:
    """One tensor to write: share number ``part`` (from 0) of ``parts`` equal shares of a source's rows.

    Without a source, the tensor is all zeros. ``starts_with_zeros`` adds a position of zeros at the start.
    """

    name: str
    shape: tuple[int, ...]
    source: str | None
    part: int = 0
    parts: int = 1
    starts_with_zeros: bool = False


@dataclass(frozen=True)
class Recognised:
    """The recognised format of a file, and the tensors to make from it."""

    format: str
    family: Family
    config: Mapping[str, object]  # as transformers reads it, without the family and the dtype
    pieces: tuple[Piece, ...]
    leftovers: Mapping[str, str]  # unused source tensors or shares → reason
    checks: Mapping[str, Check]  # tensors whose values must be checked


def recognise(shapes: Shapes, *, model: str) -> Recognised:
    """Find the checkpoint format that has exactly these tensor names and shapes.

    Raises:
        InvalidCheckpointError: no format fits; the message lists the differences to the nearest one.
    """
    if any(name.startswith(("embeddings.", "encoder.layer.")) for name in shapes):
        raise InvalidCheckpointError(
            f"{model!r} has Hugging Face's tensor names already. Put its config.json beside it and "
            "import the folder.",
            file=CONFIG,
            reason="missing",
        )
    layers = len({match[1] for name in shapes if (match := _BLOCK.match(name))})
    # Names identify a format better than shapes do, so they are compared first.
    candidates = [
        (_compare_names(form, shapes, layers), _compare_shapes(form, shapes, layers), form)
        for form in FORMATS
    ]
    names, misfits, form = min(candidates, key=lambda each: (len(each[0]), len(each[1])))
    sizes = _read_sizes(form, shapes)
    if problems := {**names, **misfits} or dict(_find_contradictions(form, sizes, layers)):
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InvalidCheckpointError(
            f"{model!r} is not a checkpoint that can be imported. The nearest format is {form.name}, "
            f"but {'; '.join(list(problems.values())[:3])}{more}. {UNDERSTOOD}",
            key=next(iter(problems)),
            reason="unsupported",
        )
    rules = _expand(form, layers)
    return Recognised(
        format=form.name,
        family=form.family,
        config=_make_config(form, sizes, layers),
        pieces=tuple(_plan_pieces(rules, shapes, sizes)),
        leftovers={n: rule.leftover for n, rule in rules.items() if rule.leftover and n in shapes},
        checks={n: rule.check for n, rule in rules.items() if rule.check and n in shapes},
    )


def _make_config(form: Format, sizes: Sizes, layers: int) -> dict[str, object]:
    of_parts = {name: value for part in form.parts for name, value in part.config.items()}
    config: dict[str, object] = {
        "hidden_size": sizes["d"],
        "num_hidden_layers": layers,
        "num_attention_heads": _count_heads(sizes),
        "patch_size": sizes["p"],
        "image_size": _count_side(form, sizes) * sizes["p"] if "n" in sizes else _DINOV3_IMAGE_PX,
        "num_channels": 3,
        **of_parts,
    }
    if form.family == "dinov3_vit":
        return config | {
            "architectures": ["DINOv3ViTModel"],
            "intermediate_size": sizes["h"],
            "num_register_tokens": sizes["r"],
            "layer_norm_eps": 1e-5,
            "rope_theta": ROPE_BASE,
            "proj_bias": True,
            "mlp_bias": True,
        }
    is_gated = bool(of_parts["use_swiglu_ffn"])
    config |= {
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "mlp_ratio": _find_mlp_ratio(sizes["d"], sizes["h"], is_gated=is_gated),
    }
    if form.family == "dinov2":
        return config | {"architectures": ["Dinov2Model"], "use_mask_token": True}
    return config | {
        "architectures": ["Dinov2WithRegistersModel"],
        "num_register_tokens": sizes["r"],
    }


def check_values(
    recognised: Recognised, read: Callable[[str], "torch.Tensor"], *, model: str
) -> None:
    """Check the tensors that may be left out of the converted model only if they have certain values.

    Raises:
        InvalidCheckpointError: a tensor has other values, so leaving it out would change the outputs.
    """
    for name, check in recognised.checks.items():
        if problem := check(read(name).float().numpy()):
            raise InvalidCheckpointError(
                f"{model!r} looks like {recognised.format}, but the values of {name!r} {problem}. The "
                "converted model would have other outputs, so it was not imported.",
                key=name,
                reason="unsupported",
            )


def convert(
    piece: Piece, read: Callable[[str], "torch.Tensor"], dtype: "torch.dtype"
) -> "torch.Tensor":
    """Make the tensor that ``piece`` describes; ``dtype`` applies only to a piece without a source."""
    import torch

    if piece.source is None:
        return torch.zeros(piece.shape, dtype=dtype)
    tensor = read(piece.source)
    rows = tensor.shape[0] // piece.parts
    share = tensor[piece.part * rows : (piece.part + 1) * rows]
    if piece.starts_with_zeros:
        share = torch.cat((torch.zeros_like(share[:, :1]), share), dim=1)
    return share.reshape(piece.shape).contiguous()


def _expand(form: Format, layers: int) -> dict[str, Rule]:
    """Write out the rules with ``#`` once for each layer, with its number in place of ``#``."""
    expanded = {}
    for name, rule in form.rules.items():
        for number in range(layers) if "#" in name else (0,):
            expanded[name.replace("#", str(number))] = rule
    return expanded


def _read_sizes(form: Format, shapes: Shapes) -> Sizes:
    sizes = {}
    for part in form.parts:
        for letter, (name, axis) in part.sizes.items():
            shape = shapes.get(name, ())
            if axis < len(shape):
                sizes[letter] = shape[axis]
    return sizes


def _compare_names(form: Format, shapes: Shapes, layers: int) -> dict[str, str]:
    """List missing and unknown tensors, each with a message."""
    rules = _expand(form, layers)
    missing = {
        name: f"{name!r} is missing"
        for name, rule in rules.items()
        if name not in shapes and not rule.is_optional
    }
    return missing | {name: f"{name!r} is unknown" for name in shapes if name not in rules}


def _compare_shapes(form: Format, shapes: Shapes, layers: int) -> dict[str, str]:
    """List tensors of wrong shape, each with a message."""
    sizes = _read_sizes(form, shapes)
    return {
        name: f"{name!r} is {shapes[name]}, not {expected}"
        for name, rule in _expand(form, layers).items()
        if name in shapes
        and (expected := _read_shape(rule.shape, sizes)) is not None
        and shapes[name] != expected
    }


def _find_contradictions(form: Format, sizes: Sizes, layers: int) -> Iterator[tuple[str, str]]:
    """List sizes that do not fit each other, each with a message."""
    if layers == 0 or min(sizes.values()) < 1:
        yield "sizes", f"some sizes are zero: {sizes | {'layers': layers}}"
        return
    if not _count_heads(sizes):
        yield "heads", f"a width of {sizes['d']} is not a multiple of a head's {_HEAD_DIM} dims"
    if "n" in sizes and not _count_side(form, sizes):
        yield "pos_embed", f"'pos_embed' has {sizes['n']} positions, which is not a square grid"
    gated = [
        part.config["use_swiglu_ffn"] for part in form.parts if "use_swiglu_ffn" in part.config
    ]
    if gated and not _find_mlp_ratio(sizes["d"], sizes["h"], is_gated=bool(gated[0])):
        yield (
            "mlp_ratio",
            f"an MLP width of {sizes['h']} is not a whole multiple (mlp_ratio) of a width of {sizes['d']}",
        )


def _read_shape(words: str, sizes: Sizes) -> tuple[int, ...] | None:
    """Compute a rule's shape: ``3d d`` for d = 64 is (192, 64); None if a size is unknown."""
    shape = []
    for word in words.split():
        match = _WORD.fullmatch(word)
        number, letter = match.groups() if match else ("", "")
        if letter and letter not in sizes:
            return None
        shape.append(int(number or 1) * (sizes[letter] if letter else 1))
    return tuple(shape)


def _count_heads(sizes: Sizes) -> int:
    """Find the number of heads by stored rotary periods, else as in published models; 0 if none fits."""
    dim = sizes["d"]
    per_head = dim // _HEADS[dim] if dim in _HEADS else _HEAD_DIM
    if "f" in sizes:
        per_head = 4 * sizes["f"]
    return dim // per_head if dim % per_head == 0 else 0


def _count_side(form: Format, sizes: Sizes) -> int:
    """Count the patches along one side of the position grid; 0 if it is not a square."""
    patches = sizes["n"] - form.has_cls_position
    side = math.isqrt(max(0, patches))
    return side if side * side == patches else 0


def _find_mlp_ratio(dim: int, width: int, *, is_gated: bool) -> int:
    """Compute the whole number ``mlp_ratio`` for DINOv2's config.json from the two widths; 0 if none fits."""
    for ratio in range(1, _MAX_MLP_RATIO + 1):
        gated_width = (int(dim * ratio * 2 / 3) + 7) // 8 * 8
        if width == (gated_width if is_gated else dim * ratio):
            return ratio
    return 0


def _plan_pieces(rules: Mapping[str, Rule], shapes: Shapes, sizes: Sizes) -> Iterator[Piece]:
    for name, rule in rules.items():
        number = match[1] if (match := _BLOCK.match(name)) else ""
        for part, target in enumerate(rule.targets):
            if target is None:
                continue
            yield Piece(
                target.replace("#", number),
                _find_target_shape(rule, sizes),
                name if name in shapes else None,
                part,
                len(rule.targets),
                rule.starts_with_zeros,
            )


def _find_target_shape(rule: Rule, sizes: Sizes) -> tuple[int, ...]:
    rows, *others = _read_shape(rule.becomes or rule.shape, sizes) or ()
    if rule.starts_with_zeros:
        others[0] += 1
    return (rows // len(rule.targets), *others)
