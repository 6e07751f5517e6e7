"""Meta's and timm's DINO models, written down a second time for tests, from their own sources.

``as_meta_*`` and ``as_timm_*`` turn a transformers model into the state dict that upstream would
hold. ``run_*`` computes, from such a state dict alone, what the upstream model computes: Meta's
dinov2/dinov3 ``models/vision_transformer.py``, timm's ``vision_transformer.py`` and ``eva.py``.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def make_model(
    family: str,
    *,
    dim: int = 64,
    layers: int = 2,
    heads: int | None = None,
    grid: int = 4,
    gated: bool = False,
    seed: int = 0,
    **options: Any,
) -> Any:
    """A transformers model in which every parameter is random, so that no two can be exchanged."""
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
        DINOv3ViTConfig,
        DINOv3ViTModel,
    )

    sizes = {
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads or dim // 64,
    }
    if family == "dinov3_vit":
        sizes |= {"num_register_tokens": 4, "patch_size": 16}
        sizes |= {"use_gated_mlp": gated, "hidden_act": "silu" if gated else "gelu"}
        config: Any = DINOv3ViTConfig(**sizes, **({"intermediate_size": 4 * dim} | options))
        kind: Any = DINOv3ViTModel
    else:
        sizes |= {"image_size": 14 * grid, "patch_size": 14, "use_swiglu_ffn": gated}
        if family == "dinov2":
            config, kind = Dinov2Config(**sizes, **options), Dinov2Model
        else:
            config = Dinov2WithRegistersConfig(**sizes, **({"num_register_tokens": 4} | options))
            kind = Dinov2WithRegistersModel
    model = kind(config).eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if not parameter.is_meta:
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.2)
    return model


# --- transformers → upstream ----------------------------------------------------------------


def _block_parts(model: Any, number: int) -> Any:
    return (model.model.layer if hasattr(model, "model") else model.encoder.layer)[number]


def _common(model: Any) -> State:
    """What all four formats call the same."""
    embeddings, is_v3 = model.embeddings, hasattr(model, "model")
    patches = embeddings.patch_embeddings if is_v3 else embeddings.patch_embeddings.projection
    norm = model.norm if is_v3 else model.layernorm
    state = {
        "cls_token": embeddings.cls_token.data,
        "patch_embed.proj.weight": patches.weight.data,
        "patch_embed.proj.bias": patches.bias.data,
        "norm.weight": norm.weight.data,
        "norm.bias": norm.bias.data,
    }
    for i in range(model.config.num_hidden_layers):
        layer, prefix = _block_parts(model, i), f"blocks.{i}."
        for name in ("norm1", "norm2"):
            state[f"{prefix}{name}.weight"] = getattr(layer, name).weight.data
            state[f"{prefix}{name}.bias"] = getattr(layer, name).bias.data
        attention = layer.attention
        linears = (attention.q_proj, attention.k_proj, attention.v_proj)
        state[f"{prefix}attn.qkv.weight"] = torch.cat([linear.weight.data for linear in linears])
        state[f"{prefix}attn.proj.weight"] = attention.o_proj.weight.data
        state[f"{prefix}attn.proj.bias"] = attention.o_proj.bias.data
    return state


def _put(state: State, at: str, linear: Any) -> None:
    state[f"{at}.weight"], state[f"{at}.bias"] = linear.weight.data, linear.bias.data


def as_meta_v2(model: Any) -> State:
    state = _common(model) | {
        "mask_token": model.embeddings.mask_token.data,
        "pos_embed": model.embeddings.position_embeddings.data,
    }
    if hasattr(model.embeddings, "register_tokens"):
        state["register_tokens"] = model.embeddings.register_tokens.data
    for i in range(model.config.num_hidden_layers):
        layer, prefix = _block_parts(model, i), f"blocks.{i}."
        state[f"{prefix}ls1.gamma"] = layer.layer_scale1.lambda1.data
        state[f"{prefix}ls2.gamma"] = layer.layer_scale2.lambda1.data
        a, m = layer.attention, layer.mlp
        biases = [linear.bias.data for linear in (a.q_proj, a.k_proj, a.v_proj)]
        state[f"{prefix}attn.qkv.bias"] = torch.cat(biases)
        if model.config.use_swiglu_ffn:
            for kind in ("weight", "bias"):
                tensors = [getattr(linear, kind).data for linear in (m.gate_proj, m.up_proj)]
                state[f"{prefix}mlp.w12.{kind}"] = torch.cat(tensors)
            _put(state, f"{prefix}mlp.w3", m.down_proj)
        else:
            _put(state, f"{prefix}mlp.fc1", m.fc1)
            _put(state, f"{prefix}mlp.fc2", m.fc2)
    return state


def as_timm_v2(model: Any) -> State:
    """What timm's ``_convert_dinov2`` makes of Meta's names."""
    state = as_meta_v2(model)
    del state["mask_token"]
    if "register_tokens" in state:
        state["reg_token"] = state.pop("register_tokens")
        state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
        state["pos_embed"] = state["pos_embed"][:, 1:].clone()
    names = {"mlp.w12": "mlp.fc1", "mlp.w3": "mlp.fc2"}
    for old, new in names.items():
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    return state


def as_meta_v3(model: Any, *, masks_k: bool = True) -> State:
    """k's bias is random junk where a mask makes it nothing, as a released file may have it."""
    config = model.config
    state = _common(model) | {
        "mask_token": model.embeddings.mask_token.data[0],
        "storage_tokens": model.embeddings.register_tokens.data,
    }
    quarter = config.hidden_size // config.num_attention_heads // 4
    state["rope_embed.periods"] = 100.0 ** (2 * torch.arange(quarter) / (2 * quarter))
    for i in range(config.num_hidden_layers):
        layer, prefix = _block_parts(model, i), f"blocks.{i}."
        state[f"{prefix}ls1.gamma"] = layer.layer_scale1.lambda1.data
        state[f"{prefix}ls2.gamma"] = layer.layer_scale2.lambda1.data
        a, m = layer.attention, layer.mlp
        if config.query_bias:
            k = torch.full((config.hidden_size,), 7.0) if masks_k else a.k_proj.bias.data
            state[f"{prefix}attn.qkv.bias"] = torch.cat([a.q_proj.bias.data, k, a.v_proj.bias.data])
        if config.query_bias and masks_k:
            ones = torch.ones(config.hidden_size)
            state[f"{prefix}attn.qkv.bias_mask"] = torch.cat([ones, 0 * ones, ones])
        if config.use_gated_mlp:
            _put(state, f"{prefix}mlp.w1", m.gate_proj)
            _put(state, f"{prefix}mlp.w2", m.up_proj)
            _put(state, f"{prefix}mlp.w3", m.down_proj)
        else:
            _put(state, f"{prefix}mlp.fc1", m.up_proj)
            _put(state, f"{prefix}mlp.fc2", m.down_proj)
    return state


def as_timm_v3(model: Any) -> State:
    """What timm's eva ``checkpoint_filter_fn`` makes of Meta's names; no buffer is stored."""
    width, state = model.config.hidden_size, {}
    for name, tensor in as_meta_v3(model).items():
        if name == "mask_token" or name.endswith(("periods", "bias_mask")):
            continue
        if name.endswith("qkv.bias"):
            state[name.replace("qkv.bias", "q_bias")] = tensor[:width]
            state[name.replace("qkv.bias", "v_bias")] = tensor[-width:]
            continue
        for old, new in {
            "ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2", "storage_tokens": "reg_token",
            "mlp.w1": "mlp.fc1_g", "mlp.w2": "mlp.fc1_x", "mlp.w3": "mlp.fc2",
        }.items():  # fmt: skip
            name = name.replace(old, new)
        state[name] = tensor
    return state


# --- what upstream computes -----------------------------------------------------------------


def _patches(s: State, pixels: Tensor) -> Tensor:
    weight = s["patch_embed.proj.weight"]
    x = F.conv2d(pixels, weight, s["patch_embed.proj.bias"], stride=weight.shape[-1])
    return x.flatten(2).transpose(1, 2)


def _norm(s: State, at: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], s[f"{at}.weight"], s[f"{at}.bias"], eps)


def _linear(s: State, at: str, x: Tensor) -> Tensor:
    return F.linear(x, s[f"{at}.weight"], s[f"{at}.bias"])


def _attend(qkv: Tensor, heads: int, rope: tuple[Tensor, Tensor] | None) -> Tensor:
    batch, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = qkv.reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    if rope is not None:
        q, k = _rotate(q, *rope), _rotate(k, *rope)
    weights = (q @ k.transpose(-2, -1) / math.sqrt(width // heads)).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(batch, tokens, width)


def _rotate(x: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
    prefix = x.shape[-2] - sin.shape[-2]  # cls and registers have no place in the picture
    head, tail = x[..., :prefix, :], x[..., prefix:, :]
    first_half, second_half = tail.chunk(2, -1)
    return torch.cat([head, tail * cos + torch.cat([-second_half, first_half], -1) * sin], -2)


def _rope(periods: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    ys = 2 * torch.arange(0.5, rows) / rows - 1
    xs = 2 * torch.arange(0.5, columns) / columns - 1
    places = torch.stack(torch.meshgrid(ys, xs, indexing="ij"), -1).flatten(0, 1)
    angles = (2 * math.pi * places[:, :, None] / periods).flatten(1, 2).tile(2)
    return angles.sin(), angles.cos()


def _mlp(s: State, at: str, x: Tensor) -> Tensor:
    if f"{at}.w12.weight" in s:  # Meta's DINOv2 giant
        gate, up = _linear(s, f"{at}.w12", x).chunk(2, -1)
        return _linear(s, f"{at}.w3", F.silu(gate) * up)
    if f"{at}.w1.weight" in s:  # Meta's DINOv3 plus and 7B
        gate, up = _linear(s, f"{at}.w1", x), _linear(s, f"{at}.w2", x)
        return _linear(s, f"{at}.w3", F.silu(gate) * up)
    if f"{at}.fc1_g.weight" in s:  # timm's DINOv3 plus and 7B
        gate, up = _linear(s, f"{at}.fc1_g", x), _linear(s, f"{at}.fc1_x", x)
        return _linear(s, f"{at}.fc2", F.silu(gate) * up)
    hidden = _linear(s, f"{at}.fc1", x)
    if hidden.shape[-1] == 2 * s[f"{at}.fc2.weight"].shape[1]:  # timm's SwiGLUPacked
        gate, up = hidden.chunk(2, -1)
        return _linear(s, f"{at}.fc2", F.silu(gate) * up)
    return _linear(s, f"{at}.fc2", F.gelu(hidden))


def _blocks(
    s: State, x: Tensor, heads: int, eps: float, rope: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    layers = len({name.split(".")[1] for name in s if name.startswith("blocks.")})
    for i in range(layers):
        block = f"blocks.{i}"
        bias = s.get(f"{block}.attn.qkv.bias")
        if f"{block}.attn.qkv.bias_mask" in s:
            bias = bias * s[f"{block}.attn.qkv.bias_mask"]
        if f"{block}.attn.q_bias" in s:
            q, v = s[f"{block}.attn.q_bias"], s[f"{block}.attn.v_bias"]
            bias = torch.cat([q, torch.zeros_like(q), v])
        scales = ("ls1.gamma", "ls2.gamma") if f"{block}.ls1.gamma" in s else ("gamma_1", "gamma_2")
        qkv = F.linear(_norm(s, f"{block}.norm1", x, eps), s[f"{block}.attn.qkv.weight"], bias)
        x = x + s[f"{block}.{scales[0]}"] * _linear(
            s, f"{block}.attn.proj", _attend(qkv, heads, rope)
        )
        x = x + s[f"{block}.{scales[1]}"] * _mlp(
            s, f"{block}.mlp", _norm(s, f"{block}.norm2", x, eps)
        )
    return _norm(s, "norm", x, eps)


def run_v2(s: State, pixels: Tensor, *, heads: int) -> Tensor:
    """All tokens of Meta's or timm's DINOv2 at its native side: cls, registers, patches."""
    x = _patches(s, pixels)
    if "reg_token" in s:  # timm: no position but the patches'
        x = torch.cat(
            [_repeat(s["cls_token"], x), _repeat(s["reg_token"], x), x + s["pos_embed"]], 1
        )
    else:
        x = torch.cat([_repeat(s["cls_token"], x), x], 1) + s["pos_embed"]
    if "register_tokens" in s:
        x = torch.cat([x[:, :1], _repeat(s["register_tokens"], x), x[:, 1:]], 1)
    return _blocks(s, x, heads, 1e-6)


def run_v3(s: State, pixels: Tensor, *, heads: int) -> Tensor:
    """All tokens of Meta's or timm's DINOv3."""
    registers = s.get("storage_tokens", s.get("reg_token"))
    x = _patches(s, pixels)
    x = torch.cat([_repeat(s["cls_token"], x), _repeat(registers, x), x], 1)
    quarter = s["cls_token"].shape[-1] // heads // 4
    periods = s.get("rope_embed.periods", 100.0 ** (torch.arange(quarter) / quarter))
    rope = _rope(periods, pixels.shape[2] // 16, pixels.shape[3] // 16)
    return _blocks(s, x, heads, 1e-5, rope)


def _repeat(token: Tensor, like: Tensor) -> Tensor:
    return token.expand(like.shape[0], -1, -1)
