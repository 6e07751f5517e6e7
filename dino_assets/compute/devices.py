"""Devices and processors of this machine."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

from dino_assets.compute.pytorch import may_see
from dino_assets.compute.settings import Accelerator, ComputeSettings, Device, check_compute
from dino_assets.errors import DeviceUnavailableError

# Of a machine's processors, kept busy by others: less is within what a forecast is off anyway.
BUSY_SHARE = 0.5


def resolve_compute(
    wanted: ComputeSettings, *, accelerators: Sequence[Device] | None = None
) -> ComputeSettings:
    """Replace every ``auto`` and 0 by what this machine has.

    Raises:
        DeviceUnavailableError: a device was named that is not here; ``auto`` never raises.
        ConfigError: a value is out of range.
    """
    check_compute(wanted)
    return replace(
        wanted,
        device=resolve_device(wanted.device, accelerators=accelerators),
        threads=wanted.threads or available_cpus(),
    )


def has_other_work(
    threads: int,
    *,
    read_load: Callable[[], float] = lambda: os.getloadavg()[0],
    processors: int | None = None,
) -> bool:
    """Tell whether other programs kept this machine busy in the last minute, beside so many threads of ours."""
    try:
        others = read_load() - threads
    except OSError:  # some systems do not say
        return False
    return others > BUSY_SHARE * (processors or os.cpu_count() or 1)


def resolve_device(wanted: Device, *, accelerators: Sequence[Device] | None = None) -> Device:
    """Choose the device; without ``accelerators``, of those that PyTorch sees here.

    Raises:
        DeviceUnavailableError: it was named and is not here.
    """
    if wanted == "cpu":
        return "cpu"
    if accelerators is None:
        accelerators = find_accelerators()
    if wanted == "auto":
        return accelerators[0] if accelerators else "cpu"
    if wanted not in accelerators:
        raise DeviceUnavailableError(
            f"device {wanted!r} was asked for, but PyTorch sees "
            f"{' and '.join(accelerators) or 'no accelerator'} here. Use device: auto, or install "
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
    if cards is None:
        import torch

        cards = torch.cuda.device_count()
    return [f"cuda:{number}" for number in range(min(cards, compute.processes or cards))]


def sees_accelerator(device: Accelerator) -> bool:
    """Whether PyTorch can use an accelerator of this kind here; it is imported only if it may."""
    if not may_see(device):
        return False
    import torch

    return torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()


def find_accelerators(
    *, is_available: Callable[[Accelerator], bool] = sees_accelerator
) -> list[Device]:
    """Accelerators that PyTorch can use here, best first."""
    return [device for device in get_args(Accelerator) if is_available(device)]


def available_cpus() -> int:
    """Processors this process may use (containers and taskset narrow them)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
