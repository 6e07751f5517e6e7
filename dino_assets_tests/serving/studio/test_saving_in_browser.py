"""Answers that wait in the browser, in a real Chromium: two tabs, a full storage, a server that is away."""

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from dino_assets_tests.serving.studio.in_browser import (
    browsing_studio,
    go_to,
    make_classes,
    mark_by_keys,
    open_studio_page,
    place_of,
    wait_until_saved,
)
from dino_assets_tests.worlds.servers import free_port
from dino_assets_tests.worlds.studio import StudioProject, running_studio

pytestmark = pytest.mark.slow


def test_saving__two_tabs_lose_nothing_while_the_server_is_away(
    studio_project: StudioProject, tmp_path: Path
):
    """Each tab sees what the other has written to the browser's storage a moment later."""
    port = free_port()
    tiles = studio_project.list_round()
    flags = ("--disable-background-timer-throttling", "--disable-renderer-backgrounding")
    with browsing_studio(tmp_path, flags=flags) as page, contextlib.ExitStack() as stack:
        with running_studio(studio_project, port=port) as studio:
            open_studio_page(page, studio)
            other = stack.enter_context(page.open_tab())
            open_studio_page(other, studio)
            os.killpg(studio.process.pid, signal.SIGKILL)
            studio.process.wait()
        for tab, name in ((page, "road"), (other, "river")):
            tab.ask(f"""window.work = import("/static/saving.js").then(async saving => {{
                for (const [drop, tile_id] of {json.dumps(tiles)}) {{
                    saving.save("Ann", [{{ kind: "label", class: "{name}", drop, tile_id }}]);
                    await new Promise(go => setTimeout(go, 3));
                }}
            }}); 0""")
        for tab in (page, other):
            tab.ask("window.work")
        with running_studio(studio_project, port=port) as studio:
            open_studio_page(page, studio)
            page.wait_for("document.body.dataset.unsaved === '0'")
            other.wait_for("document.body.dataset.unsaved === '0'")
    assert len(studio_project.answers) == 2 * len(tiles)


def test_saving__a_full_storage_of_the_browser_is_said(
    studio_project: StudioProject, tmp_path: Path
):
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        make_classes(page)
        wait_until_saved(page)
        page.ask("""for (let size = 2 ** 22, number = 0; size; )
            try { localStorage.setItem(`filler-${number++}`, "x".repeat(size)); } catch { size >>= 1; }""")
        page.press("1")
        page.wait_for("document.querySelector('#notice').hidden === false")
        assert place_of(page) == 3
        assert page.ask("document.body.dataset.own") == ""
        page.ask(
            "for (const key of Object.keys(localStorage)) if (key.startsWith('filler')) localStorage.removeItem(key)"
        )
        page.press("1")
        wait_until_saved(page)
        assert place_of(page) == 4
    assert len(studio_project.answers) == 4


def test_map__a_server_that_is_away_is_said(studio_project: StudioProject, tmp_path: Path):
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        go_to(page, "map")
        os.killpg(studio.process.pid, signal.SIGKILL)
        studio.process.wait()
        mark_by_keys(page)
        page.wait_for("document.querySelector('#notice').hidden === false")
        go_to(page, "rounds")
        assert page.ask("document.querySelector('#notice').hidden") is True
