"""``compute``: what does the work."""

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
            "auto, cpu, cuda or mps. auto takes the best this machine has; naming a device that is "
            "not there is an error."
        ),
    )
    threads: int = Field(
        default=0, description="Threads for reading and computing; 0 takes every processor allowed."
    )
    precision: PrecisionClass = Field(
        default="half",
        description=(
            "Numerics of the embeddings, part of their space: half (bf16 or fp16, gated against "
            "fp32), or fp32."
        ),
    )
    engine: EngineChoice = Field(
        default="auto",
        description=f"What runs the model: {', '.join(get_args(EngineChoice))}. Not part of the space.",
    )
    batch: int = Field(default=0, description="Tiles per model call; 0 lets the engine choose.")
    processes: int = Field(
        default=0,
        description=(
            "Processes that embed a drop's shards at the same time: one per GPU, of a CPU's threads each "
            "a part. 0 takes every GPU, and one process on a CPU. The bytes are the same."
        ),
    )

    def count_threads(self) -> int:
        """Threads of a run, without looking at devices (which loads torch)."""
        return self.threads or available_cpus()

    def configured(self) -> ComputeSettings:
        """As configured, without looking at devices (which loads torch): enough to know a space.

        Raises:
            ConfigError: a value that is not known.
        """
        names = [field.name for field in fields(ComputeSettings)]
        wanted = ComputeSettings(**{name: getattr(self, name) for name in names})
        check_compute(wanted)
        return wanted

    def resolve(self) -> ComputeSettings:
        """What this machine will use.

        Raises:
            DeviceUnavailableError: the named device is not here.
        """
        return resolve_compute(self.configured())
