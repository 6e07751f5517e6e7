"""Lines for retried steps: one per reason, and one sentence at the end."""

import dagster as dg

from dino_assets.cli.run.lines import RunLines
from dino_assets.cli.run.printer import Printer
from dino_assets.definitions import make_definitions
from dino_assets.defs import retrying
from dino_assets.defs.execution import execute_run
from dino_assets.defs.plans import plan_runs
from dino_assets.settings.environment import load_settings


def test_run_lines__retries_of_a_failing_hub(project, instance, capsys, monkeypatch, hub):
    monkeypatch.setattr(retrying, "POLICY", dg.RetryPolicy(max_retries=3, delay=0.1))
    monkeypatch.setenv("DINO_MODEL_ID", "facebook/dinov2-small")
    hub.misbehave("listing", "503", times=100, Retry_After="0")
    (planned_run,) = plan_runs([], ["weights"])
    lines = RunLines(Printer(), drop=None)
    end = execute_run(
        make_definitions(load_settings()), instance, planned_run, config={}, listen=lines
    )
    printed = capsys.readouterr().out.splitlines()
    (retry_line,) = [line for line in printed if "Trying again in" in line]
    sentence = (
        "LocalEntryNotFoundError: 'facebook/dinov2-small' is neither a directory on this machine"
    )
    # Lines repeat only with other numbers.
    assert len(printed) < 8
    assert retry_line.startswith(f"  weights      {sentence}")
    assert retry_line.endswith("Trying again in 0.1 s …")
    assert [failure.sentence[: len(sentence)] for failure in end.failures] == [sentence]
