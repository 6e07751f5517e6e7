"""From the start of a process: small commands, and the first vector of an engine that is kept.

The peers are what each would have to import: `dagster` for what works on its instance, `torch` and
`transformers` for what computes. Files are in memory, as the second command of a day finds them.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.networks import write_sample

pytestmark = pytest.mark.bench
ROUNDS = 5

DAGSTER, NETWORKS = "import dagster", "import torch, transformers"
# At most so many times the peer.
LIMITS = {
    ("--help",): (DAGSTER, 0.4),
    ("drops", "list"): (DAGSTER, 1.0),
    ("drops", "register", "d", "--from", "card"): (DAGSTER, 2.0),
    ("doctor",): (DAGSTER, 2.5),
    ("embed", "card/a.jpg", "-o", "a.npz"): (NETWORKS, 0.8),
}


def run_s(*command: str) -> float:
    start_s = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - start_s


def test_start__commands_against_what_they_would_import(project: Path, monkeypatch):
    # As large as the smallest real one: its network is read from the disk and hashed.
    write_sample(project / "model", "dinov2", dim=384, layers=12, heads=6, native_px=518)
    monkeypatch.setenv("DINO_MODEL_ID", "model")
    (project / "card").mkdir()
    (project / "card" / "a.jpg").write_bytes(photo_bytes(640, 480))
    commands = {arguments: ("-m", "dino_assets.cli", *arguments) for arguments in LIMITS}
    peers = {code: ("-c", code) for code in (DAGSTER, NETWORKS)}
    programs = {**peers, **commands}
    for command in programs.values():  # the engine is converted and judged, files are read once
        run_s(*command)
    seconds: dict[object, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, command in programs.items():
            seconds[name].append(run_s(*command))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    print()
    for peer in peers:
        print(f"`{peer}`: {medians[peer]:.2f} s")
    for arguments, (peer, _) in LIMITS.items():
        median = medians[arguments]
        print(f"{' '.join(arguments)}: {median:.2f} s, {median / medians[peer]:.2f} × `{peer}`")
    for arguments, (peer, most) in LIMITS.items():
        assert medians[arguments] <= most * medians[peer], arguments
