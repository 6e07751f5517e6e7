"""Pages of maps: made with few words, taken apart, and opened in a browser."""

import io
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from dino_assets.projections.map.page import make_page

NASTY = [
    "</script><script>document.body.dataset.owned=1</script>",
    '<img src=x onerror="document.body.dataset.owned=1">\'&amp;',
    "Füße – 山 – {{data}} – \\1 – <!--",
    "half a pair \ud800",
]


def open_picture(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def make_thumb(colour, *, form="WEBP", side=48) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), tuple(colour)).save(buffer, form, quality=90)
    return buffer.getvalue()


def page(coordinates, **changes) -> str:
    count = len(coordinates)
    arguments = {
        "tile_ids": [f"tile-{row}" for row in range(count)],
        "groups": None,
        "group_names": [],
        "thumbs": [make_thumb((row * 40 % 256, 90, 60)) for row in range(count)],
        "title": "A map",
        "caption": "of tiles",
    }
    return make_page(coordinates, **(arguments | changes))


class Document(HTMLParser):
    """Elements of a page with their attributes, and the text under each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[list] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2] += data

    def texts(self, tag: str, **attributes) -> list[str]:
        return [
            text.strip()
            for name, values, text in self.elements
            if name == tag and attributes.items() <= values.items()
        ]

    def body(self) -> dict:
        return next(values for name, values, _ in self.elements if name == "body")


def page_data(text: str) -> dict:
    (data,) = Document(text).texts("script", id="data")
    return json.loads(data)


def open_in_browser(text: str, folder: Path, *, hover: str = "") -> tuple[Document, str]:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no browser is installed: chromium is not on the PATH")
    file = folder / "map.html"
    file.write_text(text, "utf-8")
    address = file.as_uri() + (f"#hover={quote(hover, safe='')}" if hover else "")
    process = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-background-networking", f"--user-data-dir={folder / 'profile'}",
            "--window-size=1000,700", "--virtual-time-budget=3000", "--dump-dom", address,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return Document(process.stdout), process.stdout
