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
    """Compute settings; ``auto`` and 0 mean that the program chooses."""

    device: Device = "auto"
    threads: int = 0
    precision: PrecisionClass = "half"
    engine: EngineChoice = "auto"
    batch: int = 0
    processes: int = 0  # worker processes at the same time; 0: one per device


def check_compute(wanted: ComputeSettings) -> None:
    """Check that every setting has a known word or a number of at least 0.

    Whether the device exists is not checked.

    Raises:
        ConfigError: a word is unknown, or a number is negative.
    """
    check_word("device", wanted.device, get_args(Device), subject="compute ")
    check_word("precision", wanted.precision, get_args(PrecisionClass), subject="compute ")
    check_word("engine", wanted.engine, get_args(EngineChoice), subject="compute ")
    for name in ("threads", "batch", "processes"):
        if getattr(wanted, name) < 0:
            raise ConfigError(
                f"compute {name} is {getattr(wanted, name)}; 0 (automatic) or more is expected",
                setting=name,
                value=getattr(wanted, name),
            )
