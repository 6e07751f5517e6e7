"""What a ``config.json`` says a model is, and whether tensors of these shapes are that model."""

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
_MOST = 10**6  # no measure of a model is more, and a product of two still has a name
_BOM = b"\xef\xbb\xbf"
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_LAYER = re.compile(r"((?:.*?\.)?layer\.(\d{1,6})\.)(.+)")
_PATCH = r"patch_embeddings(?:\.projection)?\.weight"


@dataclass(frozen=True)
class Architecture:
    """A model's measures; None where the config leaves one to transformers' defaults."""

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
    """The measures that a folder's ``config.json`` names, before there are any weights.

    Raises:
        CheckpointNotFoundError: it is not there.
        InvalidCheckpointError: it is no JSON, another family, or a number is missing or impossible.
    """
    return read_architecture(read_object(folder / CONFIG, model), model)


def read_object(path: Path, model: str) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint, read as strictly as transformers reads it.

    Raises:
        CheckpointNotFoundError: it is not there.
        InvalidCheckpointError: it is no JSON, not UTF-8, or no object.
    """
    if not path.is_file():
        raise CheckpointNotFoundError(
            f"{model!r}: {path.name} is missing. A checkpoint needs config.json, "
            "preprocessor_config.json and model.safetensors.",
            file=path.name,
        )
    data = path.read_bytes()
    if data.startswith(_BOM):
        raise InvalidCheckpointError(
            f"{model!r}: {path.name} begins with a byte order mark, at which transformers stops. Save "
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
            f"{model!r}: {path.name} holds no JSON object", file=path.name, reason="unsupported"
        )
    return value


def shorten(value: object) -> str:
    """A value for a message; of what nests too deeply, repr itself raises."""
    return _SHORT.repr(value)


def read_architecture(config: Mapping[str, Any], model: str) -> Architecture:
    """The measures that ``config.json`` names.

    Raises:
        InvalidCheckpointError: it is another family, or a number is missing or impossible.
    """
    family = read_family(config, model)
    dim = _integer(config, "hidden_size", model)
    heads = _integer(config, "num_attention_heads", model)
    if dim % heads:
        raise _impossible(
            model,
            "num_attention_heads",
            f"calls for {heads} heads, and a width of {dim} does not divide into them",
        )
    is_v3 = family == "dinov3_vit"
    return Architecture(
        family=family,
        dim=dim,
        layers=_integer(config, "num_hidden_layers", model),
        heads=heads,
        patch_px=_integer(config, "patch_size", model),
        channels=_integer(config, "num_channels", model, default=3),
        # The documents spell it `num_registers`, transformers `num_register_tokens`.
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
    """Compare the tensors that every model of the family has with what the config calls for.

    Raises:
        InvalidCheckpointError: one is missing, or has another shape.
    """
    prefixes = {
        int(match[2]): match[1] for name in shapes if (match := _LAYER.fullmatch(name))
    }  # of a layer's tensors
    if len(prefixes) != architecture.layers or max(prefixes) != architecture.layers - 1:
        raise _misfit(model, "layers", f"{architecture.layers} layers", str(len(prefixes)))
    for what, pattern, shape in _wanted(architecture):
        compiled = re.compile(rf"(?:^|\.){pattern}$")
        seen = [tensor for name, tensor in shapes.items() if compiled.search(name)]
        if what == "register tokens" and not shape and all(0 in tensor for tensor in seen):
            continue  # transformers saves a tensor of none
        if seen != ([shape] if shape else []):
            text = ", ".join(map(str, seen)) or "none"
            raise _misfit(model, what, f"{what} {shape or 'none'}", text)
    wanted_in_a_layer = _wanted_in_a_layer(architecture)
    for _, prefix in sorted(prefixes.items()):
        for name, shape in wanted_in_a_layer.items():
            seen_shape = shapes.get(prefix + name)
            if seen_shape != shape:
                raise _misfit(
                    model, prefix + name, f"{prefix}{name} {shape}", str(seen_shape or "none")
                )


def _wanted(architecture: Architecture) -> Iterator[tuple[str, str, Shape | None]]:
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


def _wanted_in_a_layer(architecture: Architecture) -> Shapes:
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
            f"has mlp_ratio={shorten(ratio)}; a number above 0 is expected, such as 4",
        )
    width = int(dim * ratio)
    # transformers' gated form has two thirds of it, in multiples of eight.
    return (int(width * 2 / 3) + 7) // 8 * 8 if config.get("use_swiglu_ffn") is True else width


def _misfit(model: str, key: str, wanted: str, seen: str) -> InvalidCheckpointError:
    return InvalidCheckpointError(
        f"{model!r}: {CONFIG} calls for {wanted}, the weights have {seen}. The files belong to "
        "different models.",
        file=CONFIG,
        key=key,
        reason="mismatch",
    )


def _impossible(model: str, key: str, sentence: str) -> InvalidCheckpointError:
    return InvalidCheckpointError(
        f"{model!r}: {CONFIG} {sentence}", file=CONFIG, key=key, reason="impossible"
    )


def read_family(config: Mapping[str, Any], model: str) -> Family:
    """The family that a config names.

    Raises:
        InvalidCheckpointError: it is none of ours.
    """
    kind = config.get("model_type")
    if kind not in get_args(Family):
        raise InvalidCheckpointError(
            f"{model!r}: {CONFIG} names a {shorten(kind)} model (model_type); "
            f"{', '.join(get_args(Family))} are supported",
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
            f"has {name}={shorten(value)}; a whole number from {least} is expected{limit}",
        )
    return value


def _integer_or_none(config: Mapping[str, Any], name: str, model: str) -> int | None:
    """None where it is left open, or said in a form that only transformers reads."""
    return _integer(config, name, model) if isinstance(config.get(name), int) else None
