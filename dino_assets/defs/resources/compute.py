"""The resource ``compute``: device, threads and numerics."""

from dataclasses import fields
from typing import get_args

import dagster as dg
from pydantic import Field

from dino_assets.compute.devices import available_cpus, resolve_compute
from dino_assets.compute.settings import (
    ComputeSettings,
    Device,
    EngineChoice,
    PrecisionClass,
    check_compute,
)


class ComputeResource(dg.ConfigurableResource):
    """The device, threads and numerics of a run."""

    device: Device = Field(
        default="auto",
        description=(
            "auto, cpu, cuda or mps. auto takes the best device of this machine. A device that the machine "
            "does not have is an error."
        ),
    )
    threads: int = Field(
        default=0,
        description="Threads for reading and computing; 0: all processors that the process may use.",
    )
    precision: PrecisionClass = Field(
        default="half",
        description=(
            "Precision of the embeddings, which is part of their space: half (bf16 or fp16, compared with "
            "fp32 before it is used), or fp32."
        ),
    )
    engine: EngineChoice = Field(
        default="auto",
        description=(
            f"Software that runs the model: {', '.join(get_args(EngineChoice))}. The engine is not part of "
            "the space."
        ),
    )
    batch: int = Field(default=0, description="Tiles per model call; 0: the engine chooses.")
    processes: int = Field(
        default=0,
        description=(
            "Processes that embed shards of a drop at the same time: on GPUs each process has one GPU, on "
            "CPUs each has a part of the threads. 0: one per GPU, or one on a CPU. The results are equal "
            "byte for byte."
        ),
    )

    def count_threads(self) -> int:
        """Count the threads of a run, without looking at devices (which would load torch)."""
        return self.threads or available_cpus()

    def configured(self) -> ComputeSettings:
        """Return the configured settings, without looking at devices (which would load torch).

        These settings are enough to compute the space.

        Raises:
            ConfigError: a setting has an unknown value.
        """
        names = [field.name for field in fields(ComputeSettings)]
        wanted = ComputeSettings(**{name: getattr(self, name) for name in names})
        check_compute(wanted)
        return wanted

    def resolve(self) -> ComputeSettings:
        """Choose what this machine will use.

        Raises:
            DeviceUnavailableError: this machine does not have the configured device.
        """
        return resolve_compute(self.configured())
