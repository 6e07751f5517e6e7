"""Devices and processors of this machine."""

import os
from collections.abc import Sequence

from dino_assets.compute.settings import ComputeSettings, Device, check_compute
from dino_assets.errors import DeviceUnavailableError


def resolve_compute(
    wanted: ComputeSettings, *, accelerators: Sequence[Device] | None = None
) -> ComputeSettings:
    """Replace every ``auto`` and 0 by what this machine has.

    Raises:
        DeviceUnavailableError: a device was named that is not here; ``auto`` never raises.
        ConfigError: a value is out of range.
    """
    check_compute(wanted)
    return ComputeSettings(
        device=resolve_device(wanted.device, accelerators=accelerators),
        threads=wanted.threads or available_cpus(),
        precision=wanted.precision,
        engine=wanted.engine,
        batch=wanted.batch,
        processes=wanted.processes,
    )


def resolve_device(wanted: Device, *, accelerators: Sequence[Device] | None = None) -> Device:
    """Choose the device; without ``accelerators``, of those that PyTorch sees here.

    Raises:
        DeviceUnavailableError: it was named and is not here.
    """
    if wanted == "cpu":
        return "cpu"
    found = find_accelerators() if accelerators is None else accelerators
    if wanted == "auto":
        return found[0] if found else "cpu"
    if wanted not in found:
        raise DeviceUnavailableError(
            f"device {wanted!r} was asked for, but PyTorch sees "
            f"{' and '.join(found) if found else 'no accelerator'} here. Use device: auto, or install "
            "the PyTorch build and the driver that match the card.",
            setting="device",
            value=wanted,
        )
    return wanted


def list_devices(compute: ComputeSettings, *, cards: int | None = None) -> list[str]:
    """The devices to work on at once: every GPU, or the CPU; each in a process if there are several.

    ``processes`` takes fewer GPUs, or divides a CPU's threads. ``cards``: by default all that PyTorch sees.
    """
    if compute.device != "cuda":
        return [compute.device] * max(1, compute.processes)
    count = _count_cards() if cards is None else cards
    return [f"cuda:{number}" for number in range(min(count, compute.processes or count))]


def _count_cards() -> int:
    import torch

    return torch.cuda.device_count()


def find_accelerators() -> list[Device]:
    """Accelerators that PyTorch can use here, best first."""
    import torch

    found: list[Device] = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def available_cpus() -> int:
    """Processors this process may use (containers and taskset narrow them)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
