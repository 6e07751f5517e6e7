"""Devices and processors of this machine: choosing, counting, and checking for other load."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

from dino_assets.compute.pytorch import may_see
from dino_assets.compute.settings import Accelerator, ComputeSettings, Device, check_compute
from dino_assets.errors import DeviceUnavailableError

# Other programs count only if they use more than this share of the processors. A smaller share changes a
# run's duration by less than the error of its forecast.
BUSY_SHARE = 0.5


def resolve_compute(
    wanted: ComputeSettings, *, accelerators: Sequence[Device] | None = None
) -> ComputeSettings:
    """Replace device ``auto`` and ``threads=0`` by values for this machine; keep all other settings.

    Raises:
        DeviceUnavailableError: a named device is not available; ``auto`` never raises.
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
    """Check whether other programs kept this machine busy in the last minute.

    ``threads`` is the number of this program's own threads, which are subtracted from the load. On a system
    without a load average, the result is False.
    """
    try:
        other_load = read_load() - threads
    except OSError:  # some systems have no load average
        return False
    return other_load > BUSY_SHARE * (processors or os.cpu_count() or 1)


def resolve_device(wanted: Device, *, accelerators: Sequence[Device] | None = None) -> Device:
    """Return the wanted device; for ``auto`` the best accelerator, or the CPU if there is none.

    ``accelerators`` defaults to those that PyTorch can use here.

    Raises:
        DeviceUnavailableError: a named device is not available.
    """
    if wanted == "cpu":
        return "cpu"
    if accelerators is None:
        accelerators = find_accelerators()
    if wanted == "auto":
        return accelerators[0] if accelerators else "cpu"
    if wanted not in accelerators:
        raise DeviceUnavailableError(
            f"device {wanted!r} was asked for, but PyTorch finds "
            f"{' and '.join(accelerators) or 'no accelerator'} here. Use device: auto, or install "
            "the PyTorch build and the driver that match the card.",
            setting="device",
            value=wanted,
        )
    return wanted


def list_devices(compute: ComputeSettings, *, cards: int | None = None) -> list[str]:
    """List the device of each worker process.

    On CUDA, every GPU is listed once, but at most ``compute.processes`` GPUs if that is not 0. Another device
    is listed ``compute.processes`` times, at least once. ``cards`` is the number of GPUs, by default the
    number that PyTorch finds.
    """
    if compute.device != "cuda":
        return [compute.device] * max(1, compute.processes)
    if cards is None:
        import torch

        cards = torch.cuda.device_count()
    return [f"cuda:{number}" for number in range(min(cards, compute.processes or cards))]


def sees_accelerator(device: Accelerator) -> bool:
    """Check whether PyTorch can use this kind of accelerator here.

    PyTorch is imported only if ``may_see`` does not rule the accelerator out.
    """
    if not may_see(device):
        return False
    import torch

    return torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()


def find_accelerators(
    *, is_available: Callable[[Accelerator], bool] = sees_accelerator
) -> list[Device]:
    """List the accelerators that PyTorch can use here, best first."""
    return [device for device in get_args(Accelerator) if is_available(device)]


def available_cpus() -> int:
    """Count the processors that this process may use; containers and taskset limit them."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
