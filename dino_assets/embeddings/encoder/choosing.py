"""Choice of engines: the engines that this machine can run in a precision, best first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from dino_assets.compute.processor import may_multiply_bf16
from dino_assets.compute.settings import ComputeSettings, EngineName
from dino_assets.embeddings.encoder.engine import (
    Encoder,
    EngineSpec,
    NetworkSource,
    Numerics,
    fit_batch,
)
from dino_assets.embeddings.encoder.openvino_engine import (
    OpenVinoEncoder,
    has_bf16,
    has_openvino,
    import_openvino,
)
from dino_assets.errors import ConfigError
from dino_assets.weights.records import Checkpoint

# Per call on an accelerator: 47 tiles of 518 px, about 2 GB of activations of a ViT-B.
DEVICE_TOKENS = 65_536
Pair = tuple[EngineName, Numerics]


def choose_half(device: str, *, supports_bf16: Callable[[bool], bool] | None = None) -> Numerics:
    """Choose the half precision of an accelerator: bfloat16 if the hardware computes it, else float16."""
    import torch

    supports_bf16 = supports_bf16 or torch.cuda.is_bf16_supported
    with_emulation = False
    return "bf16" if device.startswith("cuda") and supports_bf16(with_emulation) else "fp16"


@cache
def torch_has_bf16(*, has_onednn: bool | None = None) -> bool:
    """Check whether this CPU multiplies bfloat16; otherwise PyTorch emulates it, slower than float32."""
    if not may_multiply_bf16():
        return False
    import torch

    if has_onednn is None:
        has_onednn = bool(torch._C._has_mkldnn)
    return has_onednn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True)
class Machine:
    """What the libraries and processors of this machine can do; each is checked only when needed."""

    openvino: Callable[[], bool] = has_openvino
    openvino_bf16: Callable[[], bool] = has_bf16
    torch_bf16: Callable[[], bool] = torch_has_bf16
    half: Callable[[str], Numerics] = choose_half


@dataclass(frozen=True)
class Engine:
    """An entry in the table of engines: its number types for a device, its builder and its version.

    Every engine that runs on a device computes float32 too.
    """

    half: Callable[[str, Machine], list[Numerics]]  # for half precision, best first
    build: Callable[[NetworkSource, EngineSpec, Path | None], Encoder]
    # The version of the library that decides its numbers, besides PyTorch and transformers.
    version: Callable[[], str | None]


def _build_torch(source: NetworkSource, spec: EngineSpec, _: Path | None) -> Encoder:
    from dino_assets.embeddings.encoder.torch_engine import TorchEncoder

    return TorchEncoder(source, spec)


def _openvino_half(device: str, machine: Machine) -> list[Numerics]:
    if device != "cpu" or not machine.openvino():
        return []
    return ["bf16", "fp32"] if machine.openvino_bf16() else ["fp32"]


def _torch_half(device: str, machine: Machine) -> list[Numerics]:
    if device != "cpu":
        return list(dict.fromkeys([machine.half(device), "fp16", "fp32"]))
    return ["bf16", "fp32"] if machine.torch_bf16() else ["fp32"]


# In the order in which they are tried. A new name must be added to `EngineName` in compute/settings.py too.
ENGINES: dict[EngineName, Engine] = {
    "openvino": Engine(
        _openvino_half,
        lambda source, spec, cache_folder: OpenVinoEncoder(source, spec, cache_folder=cache_folder),
        lambda: str(import_openvino().__version__) if has_openvino() else None,
    ),
    "torch": Engine(_torch_half, _build_torch, lambda: None),
}


def list_engines(
    compute: ComputeSettings,
    checkpoint: Checkpoint,
    *,
    side_px: int,
    machine: Machine | None = None,
) -> Iterator[EngineSpec]:
    """List engines to try, best first; on a CPU the last one is the reference, PyTorch in float32.

    The next engine is looked for only when the caller asks for the next item. So PyTorch is not imported if
    the caller uses the first engine and that engine does not need it.

    Raises:
        ConfigError: the engine that ``compute`` names is not installed, or does not run on
            ``compute.device``.
    """
    device = compute.device
    tokens = {} if device == "cpu" else {"tokens": DEVICE_TOKENS}
    batch = compute.batch or fit_batch(checkpoint, side_px, **tokens)
    # Two threads on an accelerator: one copies while the other computes.
    threads = max(1, compute.threads) if device == "cpu" else 2
    pairs = find_engines(compute, machine=machine)
    return (EngineSpec(engine, device, numerics, batch, threads) for engine, numerics in pairs)


def find_engines(compute: ComputeSettings, *, machine: Machine | None = None) -> Iterator[Pair]:
    """List engines and their number types, best first, for any checkpoint.

    The next engine is looked for only when the caller asks for the next item.

    Raises:
        ConfigError: the engine that ``compute`` names is not installed, or does not run on
            ``compute.device``. The call itself raises the error, before an item is taken.
    """
    pairs = _find_pairs(compute, machine or Machine())
    first = next(pairs, None)
    if first is None:
        raise ConfigError(
            f"engine {compute.engine!r} is not installed here or does not run on "
            f"{compute.device!r}; set `engine: auto` of the resource `compute`, which chooses an engine that runs here",
            setting="engine",
            value=compute.engine,
        )
    return chain([first], pairs)


def _find_pairs(compute: ComputeSettings, machine: Machine) -> Iterator[Pair]:
    engines = [(n, engine) for n, engine in ENGINES.items() if compute.engine in ("auto", n)]
    is_any = False
    # float32 engines come after all half-precision engines, which are faster.
    for is_fp32 in (True,) if compute.precision == "fp32" else (False, True):
        for name, engine in engines:
            for numerics in engine.half(compute.device, machine):
                if (numerics == "fp32") is is_fp32:
                    is_any = True
                    yield name, numerics
    if is_any and compute.device == "cpu" and compute.engine not in ("auto", "torch"):
        yield "torch", "fp32"  # the reference


def build_engine(
    source: NetworkSource, spec: EngineSpec, *, cache_folder: Path | None = None
) -> Encoder:
    """Build the engine that a spec describes; a converted network is cached in ``cache_folder``."""
    return ENGINES[spec.engine].build(source, spec, cache_folder)
