"""What the bench of the encoder shows: aligned columns for people, JSON for programs."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from dino_assets_tests.bench.encoder_workload import OWN, REPORT

COLUMNS = (
    # heading, key, format
    ("CPU ms", "cpu_ms", "{:.1f}"),
    ("wall ms", "wall_ms", "{:.1f}"),
    ("× CPU", "cpu_ratio", "{:.2f}"),
    ("× wall", "wall_ratio", "{:.2f}"),
    ("model ms", "model_cpu_ms", "{:.1f}"),
    ("of GEMM", "gemm_share", "{:.0%}"),
    ("of own", "own_share", "{:.0%}"),
    ("CLS cos", "cosine", "{:.6f}"),
    ("centred", "centred", "{:.5f}"),
    ("cold s", "cold_s", "{:.1f}"),
    ("cached s", "cached_s", "{:.1f}"),
)


def format_case(found: dict) -> str:
    """The peers of a case, slowest first."""
    peers = sorted(found["peers"].items(), key=lambda pair: -pair[1]["cpu_ms"])
    lines = [["per tile, end to end", *(heading for heading, _, _ in COLUMNS)]]
    for name, row in peers:
        cells = [form.format(row[key]) if key in row else "–" for _, key, form in COLUMNS]
        lines.append([name, *cells])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rates = dict(found["gemm_gflop_per_s"])
    own_rate = rates.pop(OWN)
    text = [
        f"{found['case']}: {found['rounds']} rounds × {found['tiles_per_round']} tiles of "
        f"{found['photographs']} photographs, × and cosines against {found['baseline']}",
        *(
            line[0].ljust(widths[0])
            + "".join(
                f"  {cell.rjust(width)}" for cell, width in zip(line[1:], widths[1:], strict=True)
            )
            for line in lines
        ),
        f"GEMM: {found['gemm_limit_gflop_per_s']:.0f} Gflop/s, the best single bf16 product "
        f"({', '.join(f'{name} {rate:.0f}' for name, rate in rates.items())})",
        f"own: {own_rate:.0f} Gflop/s, this network's products with nothing between them; a tile has "
        f"{found['gflop_per_tile']:.1f} Gflop, with CLS alone {found['gflop_per_tile_cls']:.1f}",
    ]
    return "\n".join(text)


def describe_machine() -> dict:
    """What the figures hold for."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    packages = ("torch", "transformers", "openvino", "onnxruntime", "numpy", "pillow")
    return {
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def write_report(found: dict) -> Path:
    """Everything measured, as JSON."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(describe_machine() | found, indent=1, ensure_ascii=False) + "\n")
    return REPORT
