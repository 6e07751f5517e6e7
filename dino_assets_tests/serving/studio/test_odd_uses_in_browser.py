"""What hurried people and slow networks do to the page, in a real Chromium."""

from pathlib import Path

import pytest

from dino_assets_tests.serving.studio.in_browser import (
    browsing_studio,
    go_to,
    make_classes,
    open_studio_page,
    place_of,
    read_states,
    wait_until_saved,
)
from dino_assets_tests.worlds.browser import BrowserPage
from dino_assets_tests.worlds.studio import StudioProject, running_studio

pytestmark = pytest.mark.slow


def slow_down(page: BrowserPage, latency_ms: float) -> None:
    page.call(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=latency_ms,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )


def test_pages__the_last_one_asked_for_is_shown_and_has_the_keys(
    studio_project: StudioProject, tmp_path: Path
):
    """Pages that were asked for before, and that come later over a slow network, change nothing."""
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        make_classes(page)
        wait_until_saved(page)
        slow_down(page, 400)
        for name in (
            "rounds",
            "label",
            "map",
            "label?round=round-0001&space=" + studio_project.space,
        ):
            page.ask(f"location.hash = '{name}'; new Promise(go => setTimeout(go, 150))")
        page.wait_for("document.querySelector('#queue-title')?.textContent === 'round-0001'")
        page.ask("new Promise(go => setTimeout(go, 2500))")
        slow_down(page, 0)
        assert page.ask("document.querySelector('#queue-title')?.textContent") == "round-0001"
        before = place_of(page)
        page.press("1")
        wait_until_saved(page)
        assert place_of(page) == before + 1
        # A page that was left answers no key.
        go_to(page, "drops")
        page.press("1")
        wait_until_saved(page)
    assert len(studio_project.answers) == 4


def test_boxes__that_have_no_class_stay_with_their_tile(
    studio_project: StudioProject, tmp_path: Path
):
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        make_classes(page)
        page.press("b")
        for key in ("Enter", "ArrowRight", "ArrowDown", "Enter"):
            page.press(key)
        page.press("ArrowRight")
        page.press("1")
        wait_until_saved(page)
    levels = [answer.target.level for answer in studio_project.answers if answer.target]
    assert levels == ["tile"] * 4


def test_boxes__undone_are_gone_from_all_tiles_of_the_photograph(
    studio_project: StudioProject, tmp_path: Path
):
    tiles = studio_project.list_round()
    image = tiles[3][1][:16]
    other = next(p for p, (_, t) in enumerate(tiles) if t.startswith(image) and p > 3)
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        make_classes(page)
        page.press("b")
        for key in ("Enter", "ArrowRight", "ArrowDown", "Enter", "1", "u"):
            page.press(key)
        for _ in range(other - 3):
            page.press("ArrowRight")
        assert place_of(page) == other
        assert page.ask("document.querySelectorAll('.pane.around .box').length") == 0


def test_keys__held_down_give_one_answer(studio_project: StudioProject, tmp_path: Path):
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        make_classes(page)
        for repeats in range(5):
            page.call(
                "Input.dispatchKeyEvent",
                type="keyDown",
                key="1",
                text="1",
                windowsVirtualKeyCode=49,
                autoRepeat=repeats > 0,
            )
        wait_until_saved(page)
        assert place_of(page) == 4
    assert len(studio_project.answers) == 4


def test_undo__after_a_reload_goes_back_in_time(studio_project: StudioProject, tmp_path: Path):
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        make_classes(page)
        page.press("b")
        for key in ("Enter", "ArrowRight", "ArrowDown", "Enter", "1"):
            page.press(key)
        wait_until_saved(page)
        open_studio_page(page, studio)
        page.press("u")  # the box
        wait_until_saved(page)
        assert place_of(page) == 3
        assert page.ask("document.querySelectorAll('.pane.tile .box').length") == 0
        page.press("u")  # the third tile
        wait_until_saved(page)
        assert place_of(page) == 2
        assert sorted(read_states(page)) == ["0", "1"]


def test_classes__of_any_script_are_saved(studio_project: StudioProject, tmp_path: Path):
    names = ["👨‍👩‍👧 family", "می‌خواهم", "a\u00a0b", "\"quoted\" 'and' <b>", "__proto__"]
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        for place, name in enumerate(names, 1):
            page.press("n")
            page.wait_for("document.querySelector('#class-dialog').open")
            page.write(name)
            page.press("Enter")
            page.wait_for(f"document.body.dataset.place === '{place}'")
        wait_until_saved(page)
        assert page.ask("document.querySelector('#notice').hidden") is True
        # What no class can be called is said at once.
        page.press("n")
        page.wait_for("document.querySelector('#class-dialog').open")
        page.write("right\u202eleft")
        page.press("Enter")
        assert page.ask("document.querySelector('#class-dialog').open") is True
        page.press("Escape")
    assert [a.class_name for a in studio_project.answers] == [
        n.replace("\u00a0", " ") for n in names
    ]


def test_order__that_comes_late_changes_no_other_queue(
    studio_project: StudioProject, tmp_path: Path
):
    tiles = studio_project.list_round()
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        slow_down(page, 400)
        page.press("m")
        page.press("ArrowRight")
        page.press("ArrowRight")
        page.press("m")
        page.ask("new Promise(go => setTimeout(go, 2500))")
        slow_down(page, 0)
        page.press("g")
        ids = page.ask(
            "[...document.querySelectorAll('.cell img')].map(each => each.src.split('/').pop())"
        )
        assert sorted(ids) == sorted(tile_id for _, tile_id in tiles)
