"""Summary of the demo: counts, failed checks, and where to find the results."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dino_assets.counting import count_of
from dino_assets.demo.jobs import DemoRun
from dino_assets.demo.place import FOLDER, OUT
from dino_assets.demo.reports import DropCounts
from dino_assets.settings.records import Settings
from dino_assets.weights.checkpoint import CAVEAT

COLUMNS = ("images", "tiles", "embeddings", "selected")


@dataclass(frozen=True)
class DemoUi:
    """The demo's UI: its address, and the words of the command that opens it, without the program's name."""

    words: str = "demo --ui"
    url: str = Settings.ui_url
    is_opened_next: bool = False  # whether the same command opens the UI after the demo


USUAL_UI = DemoUi()


def find_ui(host: str, port: int, *, is_opened_next: bool = False) -> DemoUi:
    """Find the command that opens the demo's UI on an address; flags with default values are left out."""
    usual = urlsplit(Settings.ui_url)
    words = ["demo", "--ui"]
    words += ["--host", host] if host != usual.hostname else []
    words += ["--port", str(port)] if port != usual.port else []
    return DemoUi(shlex.join(words), f"http://{host}:{port}", is_opened_next)


def describe(
    run: DemoRun,
    reports: Sequence[DropCounts],
    files: Sequence[str],
    *,
    command: str,
    ui: DemoUi,
) -> list[str]:
    """Return the lines of the demo's summary."""
    table = {
        report.drop: [*(getattr(report, name) for name in COLUMNS), len(report.bad_files)]
        for report in reports
    }
    table["together"] = [sum(column) for column in zip(*table.values(), strict=True)]
    lines = ["", f"{'':<14}" + "".join(f"{name:>12}" for name in COLUMNS) + f"{'quarantined':>13}"]
    for drop, (*counts, quarantined) in table.items():
        cells = "".join(f"{count:>12,}" for count in counts)
        lines.append(f"{drop:<14}{cells}{quarantined:>13,}")
    bad_files = [bad for report in reports for bad in report.bad_files]
    lines += ["Quarantined, each a row with its reason in `images`:"] if bad_files else []
    lines += [f"  {b.drop}: {b.path}: {b.reason}, {b.detail}" for b in bad_files]
    names = {check.check_name for check in run.checks}
    failed = [check for check in run.checks if not check.passed]
    passed = len(names) - len({check.check_name for check in failed})
    lines += [f"Checks: {passed} of {len(names)} passed"]
    lines += [f"  {c.severity.value:<5} {c.check_name}: {c.description}" for c in failed]
    if run.made:
        reused = f", {run.reused} reused" if run.reused else ""
        lines += [f"{count_of(run.made, 'output')} made{reused}, {run.seconds:.0f} s."]
    else:
        lines += [f"Nothing was computed: all {run.reused} outputs exist already."]
    opening = "in the UI that opens now:" if ui.is_opened_next else f"{command} {ui.words}, then"
    shown = {Path(path).name: path for path in files}
    lines += [
        "",
        f"map     {shown['map.html']} (in a browser: shows the tile under the pointer), {shown['map.png']}",
        f"round   {shown['round-map.html']} (chosen tiles, with reasons), {shown['round-map.png']}",
        f"chosen  {shown['contact-sheet.jpg']}, and each tile in {FOLDER}/{OUT}/tiles",
        f"runs    {opening} {ui.url}",
        f"All files of the demo are in the folder {FOLDER}. Your own work uses a trained model, and none of "
        "these files:",
        f"next    {command} run my-flight --from path/to/photos",
        f"Note: the model has {CAVEAT}",
    ]
    return lines
