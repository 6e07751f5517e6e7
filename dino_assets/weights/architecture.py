"""Model architecture from ``config.json``, and its comparison with the shapes of tensors."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Any, cast, get_args

from dino_assets.errors import CheckpointNotFoundError, InvalidCheckpointError
from dino_assets.weights.records import Family

CONFIG = "config.json"
Shape = tuple[int, ...]
Shapes = dict[str, Shape]
_MOST = 10**6  # no size of a model is larger
_BOM = b"\xef\xbb\xbf"
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_LAYER = re.compile(r"((?:.*?\.)?layer\.(\d{1,6})\.)(.+)")
_PATCH = r"patch_embeddings(?:\.projection)?\.weight"


@dataclass(frozen=True)
class Architecture:
    """The family and sizes of a model; a size is None if the config leaves it to transformers' defaults."""

    family: Family
    dim: int
    layers: int
    heads: int
    patch_px: int
    channels: int
    registers: int
    mlp_width: int | None
    is_gated: bool
    image_px: int | None


def check_config(folder: Path, model: str) -> Architecture:
    """Read the architecture from a folder's ``config.json``; the weights may still be missing.

    Raises:
        CheckpointNotFoundError: the file does not exist.
        InvalidCheckpointError: the file is not JSON, its family is not supported, or a number in it is
            missing or impossible.
    """
    return read_architecture(read_object(folder / CONFIG, model), model)


def read_object(path: Path, model: str) -> dict[str, Any]:
    """Read the JSON object of a checkpoint's file, as strictly as transformers does.

    Raises:
        CheckpointNotFoundError: the file does not exist.
        InvalidCheckpointError: the file is not JSON, not UTF-8, or holds something else than an object.
    """
    if not path.is_file():
        raise CheckpointNotFoundError(
            f"{model!r}: {path.name} is missing. A checkpoint needs config.json, "
            "preprocessor_config.json and model.safetensors. Fetch or copy the missing file.",
            file=path.name,
        )
    data = path.read_bytes()
    if data.startswith(_BOM):
        raise InvalidCheckpointError(
            f"{model!r}: {path.name} begins with a byte order mark, which transformers cannot read. Save "
            "it as UTF-8 without one.",
            file=path.name,
            key="byte order mark",
            reason="unreadable",
        )
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise InvalidCheckpointError(
            f"{model!r}: {path.name} is not JSON ({err}). Fetch or copy it again.",
            file=path.name,
            reason="unreadable",
        ) from err
    if not isinstance(value, dict):
        raise InvalidCheckpointError(
            f"{model!r}: {path.name} holds a JSON {type(value).__name__}; an object is expected. Fetch or "
            "copy this file again.",
            file=path.name,
            reason="unsupported",
        )
    return value


def shorten(value: object) -> str:
    """Format a value for a message, shortened; unlike ``repr``, this works for deeply nested values."""
    return _SHORT.repr(value)


def read_architecture(config: Mapping[str, Any], model: str) -> Architecture:
    """Read the architecture from the object in ``config.json``.

    Raises:
        InvalidCheckpointError: the family is not supported, or a number is missing or impossible.
    """
    family = read_family(config, model)
    dim = _integer(config, "hidden_size", model)
    heads = _integer(config, "num_attention_heads", model)
    if dim % heads:
        raise _impossible(
            model,
            "num_attention_heads",
            f"has num_attention_heads={heads}, which does not divide hidden_size={dim}",
        )
    is_v3 = family == "dinov3_vit"
    return Architecture(
        family=family,
        dim=dim,
        layers=_integer(config, "num_hidden_layers", model),
        heads=heads,
        patch_px=_integer(config, "patch_size", model),
        channels=_integer(config, "num_channels", model, default=3),
        # Some configs spell it `num_registers`, transformers `num_register_tokens`.
        registers=_integer(
            config,
            "num_registers" if "num_registers" in config else "num_register_tokens",
            model,
            default=0,
            least=0,
        ),
        mlp_width=_mlp_width(config, dim, model, is_v3=is_v3),
        is_gated=config.get("use_gated_mlp" if is_v3 else "use_swiglu_ffn") is True,
        image_px=_integer_or_none(config, "image_size", model),
    )


def check_shapes(shapes: Shapes, architecture: Architecture, model: str) -> None:
    """Check that the config fits the shapes of those tensors that every model of its family has.

    Raises:
        InvalidCheckpointError: a tensor is missing, or has another shape than the config implies.
    """
    prefixes = {
        int(match[2]): match[1] for name in shapes if (match := _LAYER.fullmatch(name))
    }  # layer number → prefix of its tensors' names
    if len(prefixes) != architecture.layers or max(prefixes) != architecture.layers - 1:
        raise _misfit(model, "layers", f"{architecture.layers} layers", str(len(prefixes)))
    for what, pattern, shape in _list_outer_tensors(architecture):
        compiled = re.compile(rf"(?:^|\.){pattern}$")
        seen = [tensor for name, tensor in shapes.items() if compiled.search(name)]
        if what == "register tokens" and not shape and all(0 in tensor for tensor in seen):
            continue  # without registers transformers saves an empty tensor
        if seen != ([shape] if shape else []):
            text = ", ".join(map(str, seen)) or "none"
            raise _misfit(model, what, f"{what} {shape or 'none'}", text)
    layer_shapes = _list_layer_shapes(architecture)
    for _, prefix in sorted(prefixes.items()):
        for name, shape in layer_shapes.items():
            seen_shape = shapes.get(prefix + name)
            if seen_shape != shape:
                raise _misfit(
                    model, prefix + name, f"{prefix}{name} {shape}", str(seen_shape or "none")
                )


def _list_outer_tensors(architecture: Architecture) -> Iterator[tuple[str, str, Shape | None]]:
    dim, patch = architecture.dim, architecture.patch_px
    yield "patch embedding", _PATCH, (dim, architecture.channels, patch, patch)
    yield "cls token", "cls_token", (1, 1, dim)
    yield (
        "register tokens",
        "register_tokens",
        (1, architecture.registers, dim) if architecture.registers else None,
    )
    if architecture.family == "dinov3_vit":
        yield "norm.weight", r"norm\.weight", (dim,)
        return
    yield "layernorm.weight", r"layernorm\.weight", (dim,)
    if architecture.image_px:
        positions = 1 + (architecture.image_px // patch) ** 2
        yield "position embeddings", "position_embeddings", (1, positions, dim)


def _list_layer_shapes(architecture: Architecture) -> Shapes:
    dim, width = architecture.dim, architecture.mlp_width
    vectors = ("norm1.weight", "norm2.weight", "layer_scale1.lambda1", "layer_scale2.lambda1")
    wanted: Shapes = dict.fromkeys(vectors, (dim,))
    if architecture.family == "dinov3_vit":
        wanted |= {f"attention.{name}_proj.weight": (dim, dim) for name in "qkvo"}
        into, out = ["mlp.up_proj"] + ["mlp.gate_proj"] * architecture.is_gated, "mlp.down_proj"
    else:
        names = ("query", "key", "value")
        wanted |= {f"attention.attention.{name}.weight": (dim, dim) for name in names}
        wanted |= {"attention.output.dense.weight": (dim, dim)}
        into, out = (
            (["mlp.weights_in"], "mlp.weights_out")
            if architecture.is_gated
            else (["mlp.fc1"], "mlp.fc2")
        )
    if width:
        halves = 2 if into == ["mlp.weights_in"] else 1
        wanted |= {f"{name}.weight": (halves * width, dim) for name in into}
        wanted |= {f"{out}.weight": (dim, width)}
    return wanted


def _mlp_width(config: Mapping[str, Any], dim: int, model: str, *, is_v3: bool) -> int | None:
    if is_v3:
        return _integer_or_none(config, "intermediate_size", model)
    ratio = config.get("mlp_ratio")
    if not isinstance(ratio, int | float):
        return None
    if not 0 < ratio <= _MOST or not math.isfinite(ratio):
        raise _impossible(
            model,
            "mlp_ratio",
            f"has mlp_ratio={shorten(ratio)}; a number above 0 is expected, for example 4",
        )
    width = int(dim * ratio)
    # transformers' gated MLP has two thirds of the width, rounded up to a multiple of 8.
    return (int(width * 2 / 3) + 7) // 8 * 8 if config.get("use_swiglu_ffn") is True else width


def _misfit(model: str, key: str, wanted: str, seen: str) -> InvalidCheckpointError:
    return InvalidCheckpointError(
        f"{model!r}: {CONFIG} describes {wanted}, but the weights have {seen}. The files belong to "
        "different models. Fetch or copy them again.",
        file=CONFIG,
        key=key,
        reason="mismatch",
    )


def _impossible(model: str, key: str, sentence: str) -> InvalidCheckpointError:
    return InvalidCheckpointError(
        f"{model!r}: {CONFIG} {sentence}. Fetch or copy this file again.",
        file=CONFIG,
        key=key,
        reason="impossible",
    )


def read_family(config: Mapping[str, Any], model: str) -> Family:
    """Read the model family, such as ``dinov2``, from the object in ``config.json``.

    Raises:
        InvalidCheckpointError: the family is not supported.
    """
    kind = config.get("model_type")
    if kind not in get_args(Family):
        raise InvalidCheckpointError(
            f"{model!r}: {CONFIG} has model_type={shorten(kind)}; supported are "
            f"{', '.join(get_args(Family))}. Choose another model.",
            file=CONFIG,
            key="model_type",
            reason="unsupported",
        )
    return cast("Family", kind)


def _integer(
    config: Mapping[str, Any], name: str, model: str, *, default: int | None = None, least: int = 1
) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MOST:
        limit = f", at most {_MOST:,}" if isinstance(value, int) and value > _MOST else ""
        raise _impossible(
            model,
            name,
            f"has {name}={shorten(value)}; a whole number of at least {least} is expected{limit}",
        )
    return value


def _integer_or_none(config: Mapping[str, Any], name: str, model: str) -> int | None:
    """Read a whole number; return None if the key is missing or holds something else than a whole number."""
    return _integer(config, name, model) if isinstance(config.get(name), int) else None
