"""`make demo`: what a newcomer sees first, run as it stands."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets.demo.flights.draw import draw_flights
from dino_assets.demo.place import make_demo_folder, settings_of_demo
from dino_assets.demo.running import run_demo
from dino_assets.demo.summary import DemoUi, find_ui
from dino_assets.errors import ConfigError
from dino_assets.settings.environment import load_settings
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.manifests import list_manifests
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.weights.stage import draft_weights
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.servers import HOST, free_port, running
from dino_assets_tests.worlds.ui import Ui

DROPS = ("ridge-north", "river-burn")


@pytest.fixture
def clone(project: Path, monkeypatch) -> Path:
    """An empty clone: nothing is set, nothing is there."""
    monkeypatch.delenv("DINO_MODEL_ID")
    return project


# Small pictures: 1200×900, 4 × 3 tiles each.
run_small_demo = partial(run_demo, draw=partial(draw_flights, scale=0.3))


def demo_store(clone: Path) -> ObjectStore:
    return open_store(StorageSettings(url="data", root=clone / "demo"))


def table(lines: list[str]) -> dict[str, list[int]]:
    rows = (re.fullmatch(r"(\S+)((?: +[\d,]+){5})", line) for line in lines)
    return {row[1]: [int(n.replace(",", "")) for n in row[2].split()] for row in rows if row}


def check_summary(lines: list[str], *, tiles: int, root: Path) -> None:
    """Images, tiles, embeddings, selected, quarantined; reasons, verdicts, places, the caveat."""
    rows = table(lines)
    assert set(rows) == {"ridge-north", "river-burn", "together"}
    assert rows["together"][:3] == [6, 6 * tiles, 6 * tiles]
    # The small photographs of these tests show less ground than 20 tiles.
    assert 6 <= rows["together"][3] <= 20
    assert rows["together"][4] == 2
    assert rows["ridge-north"][:3] == rows["river-burn"][:3] == [3, 3 * tiles, 3 * tiles]
    assert rows["ridge-north"][3] + rows["river-burn"][3] == rows["together"][3]
    assert (rows["ridge-north"][4], rows["river-burn"][4]) == (0, 2)
    text = "\n".join(lines)
    assert "river-burn: DCIM/100MEDIA/DJI_0004.JPG: truncated, " in text
    assert "river-burn: DCIM/100MEDIA/DJI_0005.JPG: not-an-image, " in text
    warned = ["images_are_usable"] + ["selections_are_sound"] * (rows["together"][3] < 20)
    assert f"Checks: {10 - len(warned)} of 10 passed" in text
    assert "WARN  images_are_usable: river-burn: 3 of 5 files are usable" in text
    for path in ("map.html", "map.png", "contact-sheet.jpg"):
        assert f"demo/out/{path}" in text
        assert (root / "demo" / "out" / path).stat().st_size > 1000
    assert len(list((root / "demo" / "out" / "tiles").iterdir())) == rows["together"][3]
    assert "runs    dino-assets demo --ui, then http://127.0.0.1:3000" in text.replace(
        f"{sys.executable} -m dino_assets.cli", "dino-assets"
    )
    assert "run my-flight --from" in text
    assert "random weights: they only show that the pipeline runs" in lines[-1]
    assert "DINO_MODEL_ID" in lines[-1]


def test_demo__twice(clone: Path):
    lines: list[str] = []
    assert run_small_demo(load_settings(), lines.append)
    check_summary(lines, tiles=12, root=clone)
    assert any(re.fullmatch(r"9 outputs made, \d+ s\.", line) for line in lines)
    assert len(lines) <= 25

    store = demo_store(clone)
    objects_before = {i.key: (i.bytes, i.modified) for i in store.list()}
    second_lines: list[str] = []
    assert run_small_demo(load_settings(), second_lines.append)
    check_summary(second_lines, tiles=12, root=clone)
    assert "Nothing was computed: all 9 outputs exist already." in second_lines
    assert [line for line in second_lines if "committed" in line] == []
    assert {i.key: (i.bytes, i.modified) for i in store.list()} == objects_before
    (weights,) = list_manifests(store, "weights", None)
    assert "random weights" in weights.facts["caveat"]
    assert "DINO_MODEL_ID" in weights.facts["caveat"]
    assert "(random weights)" in (clone / "demo/out/map.html").read_text()

    # Half of it gone: the other half is reused, and the summary says how much.
    for info in list(store.list("manifests/projections")):
        store.delete(info.key)
    third_lines: list[str] = []
    ui = find_ui(HOST, 4000, is_opened_next=True)
    assert run_small_demo(load_settings(), third_lines.append, is_verbose=True, ui=ui)
    assert [line.split()[:2] for line in third_lines if " committed, " in line] == [
        ["projections", "committed,"]
    ]
    assert any(re.fullmatch(r"1 output made, 8 reused, \d+ s\.", line) for line in third_lines)
    assert "runs    in the UI that opens now: http://127.0.0.1:4000" in third_lines


def test_demo__a_failing_run_says_where(clone: Path):
    """As if the card were pulled between drawing and reading."""
    make_demo_folder(settings_of_demo(load_settings()))
    card = clone / "demo" / "inbox" / "river-burn"
    for name in DROPS:
        card.with_name(name).mkdir(parents=True)
        (card.with_name(name) / "DJI_0001.JPG").write_text("nothing")
    lines: list[str] = []
    folders = [clone / "demo" / "inbox" / name for name in DROPS]
    assert not run_demo(load_settings(), lines.append, draw=lambda inbox: folders)
    (failure,) = [line for line in lines if line.startswith("images_are_usable: ")]
    assert "ridge-north: 0 of 1 files are usable" in failure
    assert not any("Dependencies for step" in line for line in lines)
    pattern = (
        r"Run (\S+) failed\. `dino-assets demo --ui` shows where: http://127.0.0.1:3000/runs/\1"
    )
    assert re.fullmatch(pattern, lines[-1])
    assert "Checks" not in "".join(lines)


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        (HOST, 3000, "demo --ui"),
        (HOST, 4000, "demo --ui --port 4000"),
        ("0.0.0.0", 3000, "demo --ui --host 0.0.0.0"),
    ],
)
def test_find_ui__given_address(host: str, port: int, words: str):
    assert find_ui(host, port) == DemoUi(words, f"http://{host}:{port}")


def test_demo__refuses_a_store_with_other_weights(clone: Path, trained_dir: Path):
    make_demo_folder(settings_of_demo(load_settings()))
    store = demo_store(clone)
    commit(store, draft_weights(trained_dir, "my-model"))
    keys_before = {i.key for i in store.list()}
    with raising(ConfigError, setting="model", value="my-model"):
        run_demo(load_settings(), print)
    assert {i.key for i in store.list()} == keys_before
    assert not (clone / "demo" / "inbox").exists()


def test_demo__beside_other_drops_and_after_a_move(clone: Path, write_photo, tmp_path, monkeypatch):
    """Somebody's drop, registered between the demo's in the demo's folder, is not the demo's to run."""
    write_photo(clone / "mine" / "DJI_0001.JPG")
    make_demo_folder(settings_of_demo(load_settings()))
    draw_flights(clone / "demo" / "inbox", scale=0.3)
    monkeypatch.chdir(clone / "demo")
    for name in ("river-burn", "mine", "ridge-north"):
        source = clone / ("mine" if name == "mine" else f"demo/inbox/{name}")
        assert main(["drops", "register", name, "--from", str(source)]) == 0
    lines: list[str] = []
    assert run_small_demo(load_settings(), lines.append)  # from its own folder: not one in another
    check_summary(lines, tiles=12, root=clone)
    assert not (clone / "demo" / "demo").exists()
    assert not any("mine" in line for line in lines)
    assert open_table(demo_store(clone), "images").drops == DROPS

    moved_clone = clone.rename(tmp_path / "moved")
    monkeypatch.chdir(moved_clone)
    second_lines: list[str] = []
    assert run_small_demo(load_settings(), second_lines.append)
    check_summary(second_lines, tiles=12, root=moved_clone)


def test_demo__refused_demo_writes_nothing(clone: Path, monkeypatch):
    files_before = {path for path in clone.rglob("*") if path.is_file()}
    monkeypatch.setenv("DINO_DEVICE", "abacus")
    assert main(["demo"]) == 1
    with raising(ConfigError, setting="device", value="abacus"):
        run_demo(load_settings(), print)
    monkeypatch.delenv("DINO_DEVICE")
    (clone / "dagster.yaml").rename(clone / "elsewhere")
    assert main(["demo"]) == 1
    with raising(ConfigError, reason="no-instance"):
        run_demo(load_settings(), print)
    (clone / "elsewhere").rename(clone / "dagster.yaml")
    assert {path for path in clone.rglob("*") if path.is_file()} == files_before


@pytest.mark.slow
def test_demo__interrupted_then_without_a_network_then_the_ui(clone: Path, tmp_path: Path):
    """In full size, no environment: Ctrl-C, a sentence, the rest next time, and all runs in the UI."""
    environment = {"PATH": os.environ["PATH"]}
    command = [sys.executable, "-u", "-m", "dino_assets.cli", "demo", "--verbose"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        next(line for line in process.stdout if "forecast: " in line)
        while not list((clone / "demo" / "data" / "receipts").rglob("*.json")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "Interrupted. Finished work is kept; run the command again to continue.\n" in err
    assert "Traceback" not in out + err

    if shutil.which("unshare") and os.geteuid() == 0:
        command = ["unshare", "-n", *command]
    completed = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    lines = completed.stdout.splitlines()
    check_summary(lines, tiles=15 * 11, root=clone)
    assert any(re.fullmatch(r"6 outputs made, 3 reused, \d+ s\.", line) for line in lines)
    assert completed.stderr == ""
    assert re.search(r"[12] of 3 shards are already stored and are reused", completed.stdout)
    port = free_port()
    with running(
        [sys.executable, "-m", "dino_assets.cli", "demo", "--ui", "--port", str(port)],
        url=f"http://{HOST}:{port}/server_info",
        log=tmp_path / "ui.log",
        env=environment,
        cwd=clone,
        patience_s=1,
    ):
        answer = Ui(port).ask("{ runsOrError { ... on Runs { results { jobName status } } } }")
        runs = [(run["jobName"], run["status"]) for run in answer["runsOrError"]["results"]]
        expected_runs = [(job, "SUCCESS") for job in ("curate", "ingest", "ingest")]
        assert runs[:3] == expected_runs
        assert [job for job, _ in runs[3:]] == ["ingest"]  # the interrupted one
        # And the UI goes on from there: what is finished is reused.
        assert (
            Ui(port).launch(
                "lineage",
                executionMetadata={"tags": [{"key": "dagster/partition", "value": DROPS[0]}]},
            )
            == "SUCCESS"
        )
