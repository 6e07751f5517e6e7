"""Processor features from ``/proc/cpuinfo``, and bfloat16 support."""

import platform
from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# oneDNN is PyTorch's library for matrix products. On x86 it uses bfloat16 only if the processor has
# all flags of one of these sets.
_BF16_FLAGS = ({"avx512f", "avx512bw", "avx512dq", "avx512vl"}, {"avx_ne_convert"})


@cache
def read_flags(path: Path = CPU_INFO) -> str:
    """Read the line that lists the first processor's features; return an empty string if there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def may_multiply_bf16(flags: str | None = None, *, machine: str | None = None) -> bool:
    """Check whether PyTorch may be able to use bfloat16 on this processor, without importing PyTorch.

    False is certain. True is not: only PyTorch itself can confirm it.
    """
    flags = read_flags() if flags is None else flags
    if not flags or (machine or platform.machine()) not in ("x86_64", "AMD64"):
        return True
    return any(needed <= set(flags.split()) for needed in _BF16_FLAGS)
