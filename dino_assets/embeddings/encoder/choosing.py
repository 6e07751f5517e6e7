"""Which engine: what this machine computes best in the wanted class of precision, and what comes next."""

from functools import cache
from pathlib import Path

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.engine import (
    Encoder,
    EngineName,
    EngineSpec,
    NetworkSource,
    Numerics,
    fit_batch,
)
from dino_assets.embeddings.encoder.openvino_engine import OpenVinoEncoder, has_bf16, has_openvino
from dino_assets.errors import ConfigError
from dino_assets.weights.records import Checkpoint

# Of one call on an accelerator: 47 tiles of 518 px, about 2 GB of activations of a ViT-B.
DEVICE_TOKENS = 65_536
Pair = tuple[EngineName, Numerics]


def list_engines(
    compute: ComputeSettings, checkpoint: Checkpoint, *, side_px: int
) -> list[EngineSpec]:
    """Engines to try, best first; the last one of a CPU is the reference itself, which never fails.

    Raises:
        ConfigError: the named engine is not installed, or does not compute on that device in that precision.
    """
    device = compute.device
    tokens = {} if device == "cpu" else {"tokens": DEVICE_TOKENS}
    batch = compute.batch or fit_batch(checkpoint, side_px, **tokens)
    # On an accelerator two threads: one copies while the other computes.
    threads = max(1, compute.threads) if device == "cpu" else 2
    return [
        EngineSpec(engine, device, numerics, batch, threads)
        for engine, numerics in find_engines(compute)
    ]


def find_engines(compute: ComputeSettings) -> list[Pair]:
    """Engines and their numerics, best first, whatever the checkpoint.

    Raises:
        ConfigError: as ``list_engines``.
    """
    device = compute.device
    pairs = _on_cpu(compute) if device == "cpu" else _on_device(compute)
    if compute.engine != "auto":
        pairs = [pair for pair in pairs if pair[0] == compute.engine]
        if not pairs:
            raise ConfigError(
                f"engine {compute.engine!r} does not compute {compute.precision!r} on {device!r} here; "
                "engine: auto takes what does"
            )
    # Not for int8: numbers of another precision would stand in its space.
    is_exact = compute.precision != "int8"
    if device == "cpu" and is_exact and ("torch", "fp32") not in pairs:
        pairs.append(("torch", "fp32"))
    return pairs


def _on_cpu(compute: ComputeSettings) -> list[Pair]:
    wants_openvino = compute.engine in ("auto", "openvino")
    if compute.engine == "openvino" and not has_openvino():
        raise ConfigError(
            "engine 'openvino' is not installed here (pip install openvino); engine: auto takes what is"
        )
    has_it = wants_openvino and has_openvino()
    exact: list[Pair] = [("openvino", "fp32")] if has_it else []
    half: list[Pair] = [("openvino", "bf16")] if has_it and has_bf16() else exact
    peer: list[Pair] = [("onnxruntime", "fp32")] if compute.engine == "onnxruntime" else []
    if compute.precision == "fp32":
        return [*exact, ("torch", "fp32"), *peer]
    torch_half: list[Pair] = [("torch", "bf16" if torch_has_bf16() else "fp32")]
    if compute.precision == "int8":
        return [("onnxruntime", "int8")]
    return list(dict.fromkeys([*half, *torch_half, *exact, *peer]))


def _on_device(compute: ComputeSettings) -> list[Pair]:
    if compute.precision == "fp32":
        return [("torch", "fp32")]
    if compute.precision == "int8":
        raise ConfigError(f"int8 is computed on a CPU only, not on {compute.device!r}")
    half: list[Pair] = [("torch", _half_of(compute.device)), ("torch", "fp16")]
    return [*dict.fromkeys(half), ("torch", "fp32")]


def _half_of(device: str) -> Numerics:
    import torch

    return "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported(False) else "fp16"


@cache
def torch_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 itself; else PyTorch emulates it, slower than float32."""
    import torch

    has_onednn = bool(torch._C._has_mkldnn)
    return has_onednn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def build_engine(
    source: NetworkSource, spec: EngineSpec, *, cache_folder: Path | None = None
) -> Encoder:
    """The engine of a spec; what it converts is kept in ``cache_folder`` for the next time."""
    from dino_assets.embeddings.encoder.onnx_engine import OnnxEncoder
    from dino_assets.embeddings.encoder.torch_engine import TorchEncoder

    if spec.engine == "openvino":
        return OpenVinoEncoder(source, spec, cache_folder=cache_folder)
    if spec.engine == "onnxruntime":
        return OnnxEncoder(source, spec, cache_folder=cache_folder)
    return TorchEncoder(source, spec)
