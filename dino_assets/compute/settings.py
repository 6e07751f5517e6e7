"""What computes and how: as asked for, and as this machine has it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass
from typing import get_args

from dino_assets.errors import ConfigError

PrecisionClass = Literal["half", "fp32", "int8"]


Device = Literal["auto", "cpu", "cuda", "mps"]


Engine = Literal["auto", "openvino", "torch", "onnxruntime"]


@dataclass(frozen=True)
class ComputeSettings:
    """What computes and how; 0 threads and batch 0 mean: choose."""

    device: Device = "auto"
    threads: int = 0
    precision: PrecisionClass = "half"
    engine: Engine = "auto"
    batch: int = 0
    processes: int = 0  # at once, one per device; 0: every device there is


def check_compute(wanted: ComputeSettings) -> None:
    """Refuse words and numbers that mean nothing; looks at no device.

    Raises:
        ConfigError: a value is out of range.
    """
    for name, value, known in (
        ("device", wanted.device, get_args(Device)),
        ("precision", wanted.precision, get_args(PrecisionClass)),
        ("engine", wanted.engine, get_args(Engine)),
    ):
        if value not in known:
            raise ConfigError(f"compute {name} is {value!r}; use one of {', '.join(known)}")
    if wanted.precision == "int8" and wanted.engine not in ("auto", "onnxruntime"):
        raise ConfigError(
            f"compute precision 'int8' with engine {wanted.engine!r}: onnxruntime alone has it; use engine: auto"
        )
    if wanted.threads < 0 or wanted.batch < 0 or wanted.processes < 0:
        raise ConfigError(
            f"compute threads={wanted.threads}, batch={wanted.batch}, processes={wanted.processes}: "
            "0 (automatic) or more expected"
        )
