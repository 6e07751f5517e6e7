"""Labelling in a real Chromium with the network off, by keys."""

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dino_assets.labels.merging import merge_answers
from dino_assets.settings.environment import environment_with
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.serving.studio.in_browser import (
    CLASSES,
    browsing_studio,
    make_classes,
    open_studio_page,
    read_states,
    wait_until_saved,
)
from dino_assets_tests.worlds.browser import BrowserPage
from dino_assets_tests.worlds.servers import HOST, free_port
from dino_assets_tests.worlds.studio import BUDGET, SIDE, StudioProject, label, running_studio

pytestmark = pytest.mark.slow


def press_and_wait(page: BrowserPage, key: str, place: int) -> None:
    page.press(key, waits=False)
    page.wait_for(f"document.body.dataset.place === '{place}'")


def latest_by_tile(project: StudioProject) -> dict[str, str | None]:
    merged = merge_answers(project.answers)
    return {label.tile_id: label.class_name for label in merged.labels if label.tile_id}


def run_command(project: StudioProject, *words: str) -> None:
    """Run a command in the project, as the person does in a second terminal."""
    env = environment_with(PYTHONPATH=str(REPOSITORY))
    command = [sys.executable, "-m", "dino_assets.cli", *words, "--tile-px", str(SIDE)]
    subprocess.run(command, cwd=project.folder, env=env, check=True, timeout=300)


def test_label__a_person_labels_200_tiles_by_keys_trains_and_gets_round_2(
    studio_project: StudioProject, tmp_path: Path
):
    tiles = studio_project.list_round()
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        make_classes(page)
        for place in range(3, BUDGET - 1):
            press_and_wait(page, str(1 + place % 3), place + 1)
        page.press(str(1 + (BUDGET - 1) % 3))
        wait_until_saved(page)
        assert page.ask("document.querySelector('#answered').value") == BUDGET
        assert page.complaints == []
        assert {url.split("/")[2] for url in page.requests if "://" in url} == {
            studio.url.removeprefix("http://")
        }
        given = latest_by_tile(studio_project)
        assert given == {tile_id: CLASSES[place % 3] for place, (_, tile_id) in enumerate(tiles)}
        answers = studio_project.answers
        assert len(answers) == BUDGET
        assert {answer.round for answer in answers} == {f"{studio_project.space}/round-0001"}
        assert all(answer.seconds is not None for answer in answers)
        # The page and the studio stay open while the probe learns, and while it chooses round 2.
        run_command(studio_project, "probe", "train")
        options = ("--strategy", "uncertainty", "--budget", "5", "--all-windows", "--all")
        run_command(studio_project, "select", "--round", "2", *options)
        time.sleep(6)  # tables are opened again after some seconds
        open_studio_page(page, studio)
        assert page.ask("document.querySelector('#queue-title').textContent") == "round-0002"
        (second,) = [each for each in studio.client.get("/api/rounds").json() if each["tiles"] == 5]
        assert (second["name"], second["strategy"]) == ("round-0002", "uncertainty")
        for place in range(5):
            assert page.ask("document.querySelector('#accept').hidden") is False
            offered = page.ask("document.querySelector('#accept').textContent")
            assert offered.split()[1] in CLASSES
            page.press(" ")
            page.wait_for(f"document.querySelector('#answered').value === {place + 1}")
        wait_until_saved(page)
    accepted = studio_project.answers[BUDGET:]
    assert {answer.round for answer in accepted} == {f"{studio_project.space}/round-0002"}
    assert [answer.class_name for answer in accepted] == [a.suggested for a in accepted]
    assert len({answer.target.tile_id for answer in accepted if answer.target} - given.keys()) == 5


def test_label__keys_skip_undo_accept_and_move(studio_project: StudioProject, tmp_path: Path):
    tiles = [tile_id for _, tile_id in studio_project.list_round()]
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        make_classes(page)
        press_and_wait(page, "x", 4)
        press_and_wait(page, "2", 5)
        press_and_wait(page, "u", 4)  # of tile 4
        press_and_wait(page, "1", 5)
        press_and_wait(page, "ArrowLeft", 4)
        assert page.ask("document.body.dataset.own") in ("burnt saved", "burnt unsaved")
        press_and_wait(page, "3", 5)  # another class for a tile replaces the first one
        wait_until_saved(page)
        # What is taken back or changed counts no more, also after the page is loaded again.
        open_studio_page(page, studio)
        assert read_states(page) == {
            "0": "burnt saved",
            "1": "water saved",
            "2": "road saved",
            "3": "skipped saved",
            "4": "road saved",
        }
        page.press("ArrowLeft")
        page.press("u")
        wait_until_saved(page)
        # The answer before it counts again.
        page.wait_for("document.body.dataset.own === 'burnt saved'")
        page.press("ArrowLeft")
        page.press("u")
        wait_until_saved(page)
    assert latest_by_tile(studio_project) == {
        tiles[0]: "burnt",
        tiles[1]: "water",
        tiles[2]: "road",
        tiles[4]: "burnt",
    }


def test_label__boxes_by_clicks_and_by_keys(studio_project: StudioProject, tmp_path: Path):
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        make_classes(page)
        page.press("b")
        box = page.ask(
            "(r => [r.left, r.top, r.width, r.height])"
            "(document.querySelector('.pane.tile .layer').getBoundingClientRect())"
        )
        left, top, width, height = box
        page.click(left + width / 4, top + height / 4)
        page.click(left + width / 2, top + 3 * height / 4)
        page.press("2")
        page.press("b")
        for key in ("Enter", *["ArrowRight"] * 4, *["ArrowDown"] * 3, "Enter", "1"):
            page.press(key)
        wait_until_saved(page)
        assert page.ask("document.querySelectorAll('.pane.tile .box').length") >= 2
        assert page.ask("document.body.dataset.place") == "3"  # a box does not answer the tile
    clicked, keyed = [a for a in studio_project.answers if a.target and a.target.level == "box"]
    drop, tile_id = studio_project.list_round()[3]
    x, y = (int(tile_id.split(axis)[1][:5]) for axis in ("-x", "y"))
    assert (clicked.class_name, keyed.class_name) == ("water", "burnt")
    assert clicked.target is not None
    assert keyed.target is not None
    window = clicked.target.window
    for edge, expected in zip(
        (window.x, window.y, window.w, window.h), (x + 32, y + 32, 32, 64), strict=True
    ):
        assert abs(edge - expected) <= 2  # a pixel of the screen is less than one of the photograph
    assert (keyed.target.window.x, keyed.target.window.y) == (x + 64, y + 64)
    assert clicked.target.drop == drop


def test_label__a_killed_server_loses_nothing_shown_as_saved(
    studio_project: StudioProject, tmp_path: Path
):
    tiles = [tile_id for _, tile_id in studio_project.list_round()]
    port = free_port()
    with browsing_studio(tmp_path) as page:
        with running_studio(studio_project, port=port) as studio:
            open_studio_page(page, studio)
            make_classes(page)
            killer = threading.Timer(1.0, lambda: os.killpg(studio.process.pid, signal.SIGKILL))
            killer.start()
            for place in range(3, 60):  # goes on while the server is gone
                press_and_wait(page, str(1 + place % 3), place + 1)
            killer.join()
            studio.process.wait()
        shown = read_states(page)
        assert len(shown) == 60
        saved = {int(place) for place, state in shown.items() if state.endswith(" saved")}
        unsaved = {int(place) for place, state in shown.items() if state.endswith(" unsaved")}
        assert len(saved) + len(unsaved) == 60
        assert unsaved, "the server was killed too late"
        stored = latest_by_tile(studio_project)
        assert {tiles[place] for place in saved} <= stored.keys()
        assert page.ask("document.querySelector('#notice').hidden") is False
        with running_studio(studio_project, port=port) as studio:
            # The old address is refused; the one that the new server printed sends what waits.
            open_studio_page(page, studio)
            wait_until_saved(page)
            assert len(read_states(page)) == 60
    answers = studio_project.answers
    assert len(answers) == 60  # none twice
    assert latest_by_tile(studio_project) == {
        tiles[place]: CLASSES[place % 3] for place in range(60)
    }


@contextlib.contextmanager
def serving_page(text: str) -> Iterator[str]:
    """A page of another origin: another port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_label__a_page_of_another_origin_can_write_and_read_nothing(
    studio_project: StudioProject, tmp_path: Path
):
    drop, tile_id = studio_project.list_round()[0]
    body = f'{{"by":"Eve","answers":[{str(label((drop, tile_id), "x", 1)).replace(chr(39), chr(34))}]}}'
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)  # this browser has the cookie
        attack = f"""<!doctype html><title>elsewhere</title>
        <form id="form" method="post" enctype="text/plain" target="frame" action="{studio.url}/api/answers">
        <input name='{body[:-2]},"x":"' value='"}}]}}'></form><iframe name="frame"></iframe>
        <script>
        window.attempts = (async () => {{
          const url = "{studio.url}", body = {body!r}, read = [];
          for (const mode of ["cors", "no-cors"])
            for (const type of ["application/json", "text/plain"])
              await fetch(url + "/api/answers", {{ method: "POST", mode, body, credentials: "include", headers: {{ "Content-Type": type }} }}).catch(() => {{}});
          navigator.sendBeacon(url + "/api/answers", new Blob([body], {{ type: "application/json" }}));
          document.getElementById("form").submit();
          for (const path of ["/", "/api/state", "/static/main.js"])
            read.push(await fetch(url + path, {{ credentials: "include" }}).then(a => a.text()).catch(() => "refused"));
          const picture = new Image();
          read.push(await new Promise(end => {{ picture.onload = () => end("seen"); picture.onerror = () => end("refused"); picture.src = url + "/pictures/tile/{drop}/{tile_id}"; }}));
          return read;
        }})();
        </script>"""
        with serving_page(attack) as elsewhere:
            page.open(elsewhere)
            assert page.ask("window.attempts") == ["refused"] * 4
            time.sleep(1)
        assert studio_project.answers == []
        # The studio's own page in the same browser still works.
        open_studio_page(page, studio)
        make_classes(page)
        wait_until_saved(page)
    assert len(studio_project.answers) == 3
