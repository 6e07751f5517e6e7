"""The studio in a real browser without the network: opening it, naming the person, and labelling by keys."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import pytest

from dino_assets_tests.worlds.browser import BrowserPage, browsing
from dino_assets_tests.worlds.studio import RunningStudio

# Only this machine can be reached: a proxy that is not there stands for the rest of the world.
OFFLINE = ("--proxy-server=http://127.0.0.1:9",)
CLASSES = ("burnt", "water", "road")
_profiles = itertools.count()


@contextlib.contextmanager
def browsing_studio(
    folder: Path, *, size: tuple[int, int] = (1280, 860), flags: tuple[str, ...] = ()
) -> Iterator[BrowserPage]:
    place = folder / f"browser-{next(_profiles)}"
    place.mkdir()
    with browsing(place, size=size, flags=(*OFFLINE, *flags)) as page:
        yield page


def open_studio_page(page: BrowserPage, studio: RunningStudio, person: str = "Ann") -> None:
    """Open the printed address; give a name if the page asks for it."""
    page.call("Page.navigate", url=studio.address)
    page.wait_for("location.search === '' && document.readyState === 'complete'")
    page.wait_for("document.querySelector('#name-dialog')?.open || document.body.dataset.page")
    if page.ask("document.querySelector('#name-dialog').open"):
        page.write(person)
        page.press("Enter")
    page.wait_for("document.body.dataset.page")


def go_to(page: BrowserPage, name: str) -> None:
    page.ask(f"(document.body.dataset.page = '', location.hash = '{name}')")
    page.wait_for(f"document.body.dataset.page === '{name.partition('?')[0]}'")


def make_classes(page: BrowserPage) -> None:
    """Make three classes at the first three tiles, each by its number and a typed name."""
    for number, name in enumerate(CLASSES, 1):
        page.press(str(number))
        page.wait_for("document.querySelector('#class-dialog').open")
        page.write(name)
        page.press("Enter")
        page.wait_for(f"document.body.dataset.place === '{number}'")


def press_often(page: BrowserPage, *keys: str) -> None:
    """Press keys one after the other, each when the page has drawn what the one before it changed."""
    for key in keys:
        page.press(key)


def read_states(page: BrowserPage) -> Mapping[str, str]:
    """What the grid shows: the class of each answered tile by its number, with its state."""
    page.press("g")
    cells = page.ask(
        "[...document.querySelectorAll('.cell')].map(cell => "
        "[cell.querySelector('.tag').textContent, cell.className.split(' ')[1] || ''])"
    )
    page.press("g")
    return {str(place): f"{name} {state}" for place, (name, state) in enumerate(cells) if state}


def wait_until_saved(page: BrowserPage) -> None:
    page.wait_for("document.body.dataset.unsaved === '0'")


def place_of(page: BrowserPage) -> int:
    return int(page.ask("document.body.dataset.place"))


def mark_by_keys(page: BrowserPage) -> None:
    """Mark the whole map: a rectangle from corner to corner."""
    page.ask("document.querySelector('#map-canvas').focus()")
    for key in ["ArrowLeft"] * 40 + ["ArrowUp"] * 30:
        page.press(key, waits=False)
    page.press("Enter")
    for key in ["ArrowRight"] * 80 + ["ArrowDown"] * 60:
        page.press(key, waits=False)
    page.press("Enter")
    page.wait_for("Number(document.body.dataset.marked) > 0")


def find_violations(page: BrowserPage) -> list[str]:
    """What axe finds that is serious or critical."""
    axe = pytest.importorskip("axe_core_python")
    page.ask(files(axe).joinpath("axe.min.js").read_text() + ";0")
    found_by_axe = page.ask("axe.run().then(result => result.violations)")
    return [
        f"{each['id']}: {node['html'][:160]}"
        for each in found_by_axe
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
