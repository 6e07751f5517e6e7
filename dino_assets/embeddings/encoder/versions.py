"""Versions of libraries, and the processor: they can change the vectors that an engine computes.

The name of the engine's cache folder depends on them: another version or processor gets another folder.
"""

from dataclasses import asdict, replace
from importlib.metadata import version as version_of

from dino_assets.compute.processor import read_flags
from dino_assets.compute.pytorch import find_build
from dino_assets.embeddings.encoder.choosing import ENGINES
from dino_assets.embeddings.encoder.engine import EngineSpec, NetworkSource
from dino_assets.embeddings.encoder.gate import GATE_VERSION
from dino_assets.embeddings.space import PREPROCESSING_VERSION
from dino_assets.store.commits.sealing import digest


def list_versions(spec: EngineSpec) -> list[str]:
    """List what decides an engine's numbers besides its spec: versions of libraries, and the processor."""
    versions = [_torch_version(), version_of("transformers"), _processor(spec)]
    if version := ENGINES[spec.engine].version():
        versions.append(version)
    return versions


def name_engine_folder(source: NetworkSource, spec: EngineSpec, versions: list[str]) -> str:
    """Name the cache folder of an engine's converted network and gate report.

    Another processor, or another version of a library, gives another name.
    """
    what = [source.checkpoint.weights_sha256, source.checkpoint.network]
    how = [source.side_px, list(source.outputs), asdict(replace(spec, threads=1))]
    return digest([GATE_VERSION, PREPROCESSING_VERSION, what, how, versions])[:32]


def _torch_version() -> str:
    if build := find_build():
        return build.version
    import torch

    return torch.__version__


def _processor(spec: EngineSpec) -> str:
    # A limit on the processor's features in PyTorch's settings does not apply to OpenVINO.
    if spec.engine != "torch":
        return f"{spec.device} {read_flags()}"
    import torch

    if spec.device.startswith("cuda"):
        return torch.cuda.get_device_name(spec.device)
    return f"{spec.device} {torch.backends.cpu.get_cpu_capability()} {read_flags()}"
