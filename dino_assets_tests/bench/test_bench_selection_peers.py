"""Farthest points by other packages, in the same run; what their selections are worth is a command.

The table of ``docs/performance.md`` is made by ``python -m dino_assets_tests.bench.selection_peers``, which
takes half an hour.
"""

from pathlib import Path

import pytest

from dino_assets_tests.bench.selection_peers import install, time_farthest

# Processor time. More points make the difference larger: with 100,000 × 768 it is 20 times that of lightly-mundig.
LEAST = {"lightly-mundig, diversity": 4, "loop of PyTorch": 4}


@pytest.mark.bench
def test_farthest_points__speed_beside_other_packages(tmp_path: Path):
    install(tmp_path)
    seconds = time_farthest()
    print(f"\n{ {name: round(value, 2) for name, value in seconds.items()} }")
    for name, least in LEAST.items():
        if name in seconds:
            assert seconds[name] >= least * seconds["dino_assets"]
    if "small-text, few" in seconds:
        assert seconds["small-text, few"] >= 10 * seconds["dino_assets, few"]
