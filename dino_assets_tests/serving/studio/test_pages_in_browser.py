"""Every page in a real Chromium: by keys only, for screen readers, and without WebGL."""

from pathlib import Path

import pytest

from dino_assets_tests.serving.studio.in_browser import (
    browsing_studio,
    find_violations,
    go_to,
    make_classes,
    mark_by_keys,
    open_studio_page,
)
from dino_assets_tests.worlds.browser import BrowserPage
from dino_assets_tests.worlds.studio import BUDGET, StudioProject, label, running_studio

pytestmark = pytest.mark.slow
PAGES = ("label", "map", "flights", "rounds", "drops", "disagreements")


def test_pages__axe_finds_nothing_serious(studio_project: StudioProject, tmp_path: Path):
    tiles = studio_project.list_round()
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        page.call("Page.navigate", url=studio.address)
        page.wait_for("document.querySelector('#name-dialog')?.open")
        violations = {"name": find_violations(page)}
        open_studio_page(page, studio)
        make_classes(page)
        studio.post("Bob", label(tiles[0], "river", 1))  # Ann has given another class
        page.press("b")
        for key in ("Enter", "ArrowRight", "ArrowDown", "Enter", "1"):
            page.press(key)
        for name in PAGES:
            go_to(page, name)
            violations[name] = find_violations(page)
        go_to(page, "label")
        for key, name in (("g", "grid"), ("?", "help")):
            page.press(key)
            violations[name] = find_violations(page)
        page.press("Escape")
        go_to(page, "map")
        mark_by_keys(page)
        violations["marked"] = find_violations(page)
        assert {name: faults for name, faults in violations.items() if faults} == {}
        assert page.complaints == []


@pytest.mark.parametrize("flags", [(), ("--disable-webgl", "--disable-3d-apis")])
def test_map__marks_by_lasso_and_by_keys(
    studio_project: StudioProject, tmp_path: Path, flags: tuple[str, ...]
):
    with running_studio(studio_project) as studio, browsing_studio(tmp_path, flags=flags) as page:
        open_studio_page(page, studio)
        go_to(page, "map")
        count = page.ask("Number(document.body.dataset.drawn)")
        left, top, width, height = page.ask(
            "(r => [r.left, r.top, r.width, r.height])"
            "(document.querySelector('#map-canvas').getBoundingClientRect())"
        )
        left, top, right, bottom = left + 12, top + 12, left + width - 12, top + height - 12
        page.drag((left, top), (right, top), (right, bottom), (left, bottom))
        assert page.ask("Number(document.body.dataset.marked)") == count
        middle = left + width / 2
        page.drag((left, top), (middle, top), (middle, bottom), (left, bottom))
        assert 0 < page.ask("Number(document.body.dataset.marked)") < count
        page.press("Escape")
        assert page.ask("document.body.dataset.marked") == "0"
        mark_by_keys(page)
        assert page.ask("Number(document.body.dataset.marked)") == count
        # What is marked can be labelled one by one, found, excluded, or given a class at once.
        press_button(page, "Exclude all")
        wait_until_stored(page, "skipped by you")
        assert len(studio_project.answers) == count
        assert {answer.kind for answer in studio_project.answers} == {"skip"}
        press_button(page, "Give all a class …")
        page.write("meadow")
        page.press("Enter")
        wait_until_stored(page, "meadow")
        assert len(studio_project.answers) == 2 * count
        press_button(page, "Label them one by one")
        page.wait_for("document.body.dataset.page === 'label' && document.body.dataset.shown")
        assert page.ask("document.querySelector('#answered').max") == count
        assert page.complaints == []


def wait_until_stored(page: BrowserPage, words: str) -> None:
    page.wait_for(f"document.querySelector('#marked-status').textContent.includes('{words}')")
    page.wait_for("document.body.dataset.unsaved === '0'")


def press_button(page: BrowserPage, text: str) -> None:
    """Press a button by the keyboard."""
    page.ask(
        f"[...document.querySelectorAll('button')].find(b => b.textContent === '{text}').focus()"
    )
    page.press("Enter")


def test_pages__every_page_is_reached_by_the_keyboard(
    studio_project: StudioProject, tmp_path: Path
):
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        reached = set()
        for _ in range(20):
            page.press("Tab")
            href = page.ask("document.activeElement.getAttribute('href')")
            if not href or href in reached or href == "#main":
                continue
            reached.add(href)
            page.press("Enter")
            page.wait_for(f"document.body.dataset.page === '{href[1:]}'")
            # The focus is seen wherever it is.
            page.ask(f"document.querySelector('nav a[href=\"{href}\"]').focus()")
        assert reached == {f"#{name}" for name in PAGES}


def test_search__like_this_one_opens_the_similar_tiles(
    studio_project: StudioProject, tmp_path: Path
):
    _, tile_id = studio_project.list_round()[0]
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        open_studio_page(page, studio)
        page.press("m")
        page.wait_for("document.querySelector('#why').textContent.includes('most similar')")
        assert page.ask("document.querySelector('#answered').max") == BUDGET
        page.press("e")
        page.wait_for("document.querySelector('#why').textContent.includes('probe')")
        page.press("f")
        page.wait_for("document.querySelector('#queue-title')?.textContent.includes('Similar')")
        assert tile_id in page.ask("document.querySelector('#queue-title').textContent")


def test_disagreements__are_settled_by_a_button(studio_project: StudioProject, tmp_path: Path):
    tile = studio_project.list_round()[0]
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        studio.post("Ann", label(tile, "ash", 1))
        studio.post("Bob", label(tile, "river", 1))
        open_studio_page(page, studio, "Cy")
        studio.post("Bob", label(tile, "lake", 2))  # a class that this page has not seen yet
        go_to(page, "disagreements")
        colours = page.ask(
            "[...document.querySelectorAll('.disputed button')].map(each => "
            "each.style.getPropertyValue('--colour')).filter(each => each)"
        )
        assert len(set(colours)) == len(colours) == 2
        page.ask("document.querySelector('.disputed button').focus()")
        page.press("Enter")
        page.wait_for("document.querySelector('.status').textContent === 'Settled and saved.'")
        assert studio.client.get("/api/conflicts").json() == []


def test_label__names_are_never_markup(studio_project: StudioProject, tmp_path: Path):
    nasty = "<img src=x onerror=document.body.dataset.owned=1>"
    tiles = studio_project.list_round()
    with running_studio(studio_project) as studio, browsing_studio(tmp_path) as page:
        for tile in tiles[:3]:
            assert studio.post(nasty, label(tile, nasty, int(tiles.index(tile)))).status_code == 200
        studio.post("Bob", label(tiles[0], "road", 1))
        open_studio_page(page, studio)
        for name in PAGES:
            go_to(page, name)
        assert page.ask("document.body.dataset.owned ?? null") is None
        assert page.complaints == []
