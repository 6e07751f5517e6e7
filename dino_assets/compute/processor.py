"""What this machine's processor can do, as Linux tells it."""

import platform
from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# Of each set one is needed by oneDNN, which multiplies for PyTorch, to take bfloat16 on x86.
_BF16_FLAGS = ({"avx512f", "avx512bw", "avx512dq", "avx512vl"}, {"avx_ne_convert"})


@cache
def read_flags(path: Path = CPU_INFO) -> str:
    """The line that lists what the first processor can do; empty where nothing tells."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def may_multiply_bf16(flags: str | None = None, *, machine: str | None = None) -> bool:
    """Tell whether PyTorch may take bfloat16 on this processor: False is certain, True nearly.

    PyTorch itself would have to be imported for the answer.
    """
    flags = read_flags() if flags is None else flags
    if not flags or (machine or platform.machine()) not in ("x86_64", "AMD64"):
        return True
    return any(needed <= set(flags.split()) for needed in _BF16_FLAGS)
