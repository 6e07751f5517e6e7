"""What computes: the device, the threads, and working ahead of the consumer."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, get_args

from dino_assets.errors import ConfigError, DeviceUnavailableError
from dino_assets.records import ComputeSettings, Device, Engine, PrecisionClass

T = TypeVar("T")
R = TypeVar("R")


def resolve_compute(wanted: ComputeSettings) -> ComputeSettings:
    """Replace every ``auto`` and 0 by what this machine has.

    Raises:
        DeviceUnavailableError: a device was named that is not here; ``auto`` never raises.
        ConfigError: a value is out of range.
    """
    check_compute(wanted)
    return ComputeSettings(
        device=resolve_device(wanted.device),
        threads=wanted.threads or available_cpus(),
        precision=wanted.precision,
        engine=wanted.engine,
        batch=wanted.batch,
        processes=wanted.processes,
    )


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


def resolve_device(wanted: Device) -> Device:
    """Choose the device.

    Raises:
        DeviceUnavailableError: it was named and is not here.
    """
    if wanted == "cpu":
        return "cpu"
    found = find_accelerators()
    if wanted == "auto":
        return found[0] if found else "cpu"
    if wanted not in found:
        raise DeviceUnavailableError(
            f"device {wanted!r} was asked for, but PyTorch sees "
            f"{' and '.join(found) if found else 'no accelerator'} here. Use device: auto, or install "
            "the PyTorch build and the driver that match the card."
        )
    return wanted


def list_devices(compute: ComputeSettings) -> list[str]:
    """The devices to work on at once: every GPU, or the CPU; each in a process if there are several.

    ``processes`` takes fewer GPUs, or divides a CPU's threads.
    """
    count = 1
    if compute.device == "cuda":
        import torch

        count = torch.cuda.device_count()
    if compute.device != "cuda":
        return [compute.device] * max(1, compute.processes)
    return [f"cuda:{number}" for number in range(min(count, compute.processes or count))]


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


def map_ahead(
    work: Callable[[T], R], items: Iterable[T], *, threads: int
) -> Generator[R, None, None]:
    """Apply ``work`` in threads, in order, at most ``2 × threads`` items ahead of the consumer."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="map-ahead")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also when the consumer stops early: a cancelled run must not read on.
        pool.shutdown(wait=True, cancel_futures=True)
