"""What it costs to load the definitions: every command, sensor tick and run pays it."""

import os
import statistics
import subprocess
import sys

import pytest

LIMIT_CPU_S = 2.0


def cpu_s(code: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


@pytest.mark.bench
def test_definitions__cpu_seconds(project):
    rounds = [
        (cpu_s("import dagster"), cpu_s("import dino_assets; dino_assets.lineage"))
        for _ in range(5)
    ]
    peer = statistics.median(r[0] for r in rounds)
    ours = statistics.median(r[1] for r in rounds)
    print(f"\n`import dagster` {peer:.2f} CPU-s, our definitions {ours:.2f}: {ours / peer:.2f}×")
    assert ours <= LIMIT_CPU_S
