import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_assets.compute.devices import (
    available_cpus,
    find_accelerators,
    list_devices,
    resolve_compute,
)
from dino_assets.compute.settings import ComputeSettings, check_compute
from dino_assets.compute.threads import THREAD_PREFIX, map_ahead
from dino_assets.errors import ConfigError, DeviceUnavailableError
from dino_assets_tests.worlds.raising import raising

# --- devices --------------------------------------------------------------------------------


def test_resolve_compute__auto_takes_the_best_accelerator():
    resolved = resolve_compute(ComputeSettings())
    assert resolved.device == (find_accelerators() or ["cpu"])[0]
    assert resolved.threads == available_cpus() >= 1
    assert (resolved.precision, resolved.engine, resolved.batch) == ("half", "auto", 0)


def test_resolve_compute__auto_without_accelerator_is_cpu():
    assert resolve_compute(ComputeSettings(), accelerators=[]).device == "cpu"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_resolve_compute__named_device_is_missing(device):
    with pytest.raises(DeviceUnavailableError) as caught:
        resolve_compute(ComputeSettings(device=device), accelerators=[])
    assert str(caught.value) == (
        f"device '{device}' was asked for, but PyTorch finds no accelerator here. Use device: auto, or "
        "install the PyTorch build and the driver that match the card."
    )
    assert isinstance(caught.value, ConfigError)


def test_resolve_compute__refuses_another_kind_of_accelerator():
    assert resolve_compute(ComputeSettings(), accelerators=["cuda"]).device == "cuda"
    assert resolve_compute(ComputeSettings(device="cpu"), accelerators=["cuda"]).device == "cpu"
    with raising(DeviceUnavailableError, setting="device", value="mps"):
        resolve_compute(ComputeSettings(device="mps"), accelerators=["cuda"])
    with raising(DeviceUnavailableError, setting="device", value="cuda"):
        resolve_compute(ComputeSettings(device="cuda"), accelerators=["mps"])


@pytest.mark.parametrize(
    ("available", "expected"),
    [(set(), []), ({"mps"}, ["mps"]), ({"cuda"}, ["cuda"]), ({"mps", "cuda"}, ["cuda", "mps"])],
)
def test_find_accelerators__best_first(available: set[str], expected: list[str]):
    assert find_accelerators(is_available=available.__contains__) == expected


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("device", "tpu"),
        ("device", "CUDA"),
        ("device", ""),
        ("precision", "bf16"),
        ("engine", "onnx"),
        ("threads", -1),
        ("processes", -2),
        ("batch", -8),
    ],
)
def test_resolve_compute__bad_values(setting: str, value: object):
    with raising(ConfigError, setting=setting, value=value):
        resolve_compute(ComputeSettings(**{setting: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("device", "tpu", "compute device is 'tpu'; use one of auto, cpu, cuda, mps"),
        (
            "batch",
            -8,
            "compute batch is -8; 0 (automatic) or more is expected",
        ),
    ],
)
def test_check_compute__message_lists_allowed_values(setting: str, value: object, sentence: str):
    with pytest.raises(ConfigError) as caught:
        check_compute(ComputeSettings(**{setting: value}))  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_resolve_compute__given_values_are_kept():
    wanted = ComputeSettings("cpu", 3, "fp32", "torch", 8)
    assert resolve_compute(wanted) == wanted


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux narrows processes this way")
def test_available_cpus__respects_the_processs_affinity():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert available_cpus() == len(allowed)


# --- map_ahead -----------------------------------------------------------------------------


def threads_ahead() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]


def test_map_ahead__threads_exist_only_during_the_work():
    values = map_ahead(lambda n: n, range(3), threads=2)
    assert next(values) == 0
    assert threads_ahead()
    values.close()
    assert not threads_ahead()


@settings(max_examples=60, deadline=None)
@given(items=st.lists(st.integers(), max_size=40), threads=st.integers(1, 6))
def test_map_ahead__equals_map(items: list[int], threads: int):
    assert list(map_ahead(lambda n: n * 2, items, threads=threads)) == [n * 2 for n in items]


def test_map_ahead__keeps_the_order_if_the_first_finishes_last():
    event = threading.Event()

    def work(n: int) -> int:
        if n == 0:
            assert event.wait(30)
        elif n == 3:
            event.set()
        return n

    assert list(map_ahead(work, range(6), threads=4)) == list(range(6))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_map_ahead__lead_is_bounded(threads: int):
    numbers = []

    def items() -> Iterator[int]:
        for number in range(50):
            numbers.append(number)
            yield number

    for index, _ in enumerate(map_ahead(lambda n: n, items(), threads=threads)):
        assert len(numbers) - index <= 2 * threads
    assert len(numbers) == 50


def test_map_ahead__runs_items_in_parallel():
    barrier = threading.Barrier(3)
    # Passes only if three calls are inside `work` at once.
    assert list(map_ahead(lambda n: barrier.wait(30) >= 0, range(3), threads=3)) == [True] * 3


def test_map_ahead__exception_is_raised_in_order_and_stops_the_rest():
    numbers = []

    def work(n: int) -> int:
        numbers.append(n)
        if n == 3:
            raise KeyError("three")
        return n

    values = map_ahead(work, range(1000), threads=2)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(values)
    assert max(numbers) <= 3 + 4
    assert not threads_ahead()


def test_map_ahead__exception_of_the_items_stops_the_work():
    def items() -> Iterator[int]:
        yield from range(3)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        list(map_ahead(lambda n: n, items(), threads=4))
    assert not threads_ahead()


def test_map_ahead__consumer_stops_early():
    numbers = []
    is_closed = threading.Event()

    def work(n: int) -> int:
        numbers.append(n)
        if n > 0:
            assert is_closed.wait(30)
        return n

    values = map_ahead(work, range(1000), threads=2)
    assert next(values) == 0  # now 1 and 2 are being computed, and 3 waits
    threading.Timer(0.5, is_closed.set).start()
    values.close()
    assert 3 not in numbers
    assert not threads_ahead()


def test_map_ahead__starts_with_the_first_next():
    numbers = []
    map_ahead(numbers.append, range(3), threads=2)
    assert numbers == []


def test_map_ahead__results_may_be_anything():
    results = list(map_ahead(lambda n: None if n else np.zeros(2), range(2), threads=1))
    assert results[1] is None


@pytest.mark.parametrize(
    ("device", "processes", "expected"),
    [
        ("cpu", 0, ["cpu"]),
        ("cpu", 3, ["cpu", "cpu", "cpu"]),
        ("mps", 0, ["mps"]),
        ("cuda", 0, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda", 9, ["cuda:0", "cuda:1", "cuda:2"]),
    ],
)
def test_list_devices__every_card_or_as_many_as_processes(
    device: str, processes: int, expected: list[str]
):
    compute = ComputeSettings(device=device, processes=processes)
    assert list_devices(compute, cards=3) == expected
