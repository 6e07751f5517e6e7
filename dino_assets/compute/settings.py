"""Compute settings: device, threads, precision, engine, batch, processes."""

from dataclasses import dataclass
from typing import Literal, get_args

from dino_assets.errors import ConfigError
from dino_assets.settings.choices import check_word

PrecisionClass = Literal["half", "fp32"]
Accelerator = Literal["cuda", "mps"]  # best first
Device = Literal["auto", "cpu", "cuda", "mps"]
EngineName = Literal["openvino", "torch"]
EngineChoice = Literal["auto", EngineName]


@dataclass(frozen=True)
class ComputeSettings:
    """Settings of computing; ``auto`` and 0 mean that the program chooses."""

    device: Device = "auto"
    threads: int = 0
    precision: PrecisionClass = "half"
    engine: EngineChoice = "auto"
    batch: int = 0
    processes: int = 0  # at the same time, one per device; 0: as many as devices


def check_compute(wanted: ComputeSettings) -> None:
    """Check words and numbers, without looking for devices.

    Raises:
        ConfigError: a value is out of range.
    """
    check_word("device", wanted.device, get_args(Device), subject="compute ")
    check_word("precision", wanted.precision, get_args(PrecisionClass), subject="compute ")
    check_word("engine", wanted.engine, get_args(EngineChoice), subject="compute ")
    for name in ("threads", "batch", "processes"):
        if getattr(wanted, name) < 0:
            raise ConfigError(
                f"compute threads={wanted.threads}, batch={wanted.batch}, "
                f"processes={wanted.processes}: 0 (automatic) or more expected",
                setting=name,
                value=getattr(wanted, name),
            )
