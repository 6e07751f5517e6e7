"""Beta warnings of Dagster: silent for accepted features only."""

import subprocess
import sys

import pytest

CODE = """
import warnings
import dagster as dg
import dino_assets.definitions

with warnings.catch_warnings(record=True) as caught:
    exec("dg.DataVersionsByPartition({})", {"__name__": "%s", "dg": dg})
print(*(warning.category.__name__ for warning in caught))
"""


@pytest.mark.parametrize(
    ("place", "shown"), [("dino_assets.defs.assets.inbox", ""), ("elsewhere", "BetaWarning")]
)
def test_accept_beta_features__where_it_is_used(project, place: str, shown: str):
    process = subprocess.run(
        [sys.executable, "-W", "always", "-c", CODE % place],
        check=True,
        capture_output=True,
        text=True,
    )
    assert process.stdout.strip() == shown
    assert "BetaWarning" not in process.stderr
    assert "PreviewWarning" not in process.stderr
