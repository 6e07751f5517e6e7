"""Processor flags and bfloat16 support."""

from pathlib import Path

import pytest

from dino_assets.compute.processor import may_multiply_bf16, read_flags
from dino_assets.embeddings.encoder.choosing import torch_has_bf16

AVX2 = "flags : fpu sse2 avx avx2 fma avx_vnni"
AVX512 = f"{AVX2} avx512f avx512bw avx512dq avx512vl"


@pytest.mark.parametrize(
    ("flags", "machine", "may"),
    [
        (AVX2, "x86_64", False),
        (AVX512, "x86_64", True),
        (AVX512.replace(" avx512vl", ""), "x86_64", False),
        (f"{AVX2} avx_ne_convert", "AMD64", True),
        ("Features : fp asimd", "aarch64", True),  # unknown without PyTorch
        ("", "x86_64", True),
    ],
)
def test_may_multiply_bf16__by_flags(flags: str, machine: str, may: bool):
    assert may_multiply_bf16(flags, machine=machine) is may


def test_may_multiply_bf16__true_where_torch_uses_bf16():
    import torch

    assert may_multiply_bf16() or not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert may_multiply_bf16() or not torch_has_bf16()


def test_read_flags__first_processor(tmp_path: Path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nflags : fpu avx\n\nprocessor : 1\nflags : fpu\n")
    assert read_flags(info) == "flags : fpu avx"
    info = tmp_path / "arm"
    info.write_text("processor : 0\nFeatures : fp asimd\n")
    assert read_flags(info) == "Features : fp asimd"
    assert read_flags(tmp_path / "none") == ""
