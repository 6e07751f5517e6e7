import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from dino_assets.drawing.templates import render_page

TEMPLATE = '<p title="{{ name }}">{{ count | thousands }}</p>\n'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "some_pages"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "page.html").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_pages"
    sys.modules.pop("some_pages", None)


def test_render_page__same_escapes_as_html_escape(package: str):
    text = """<script>'"&"""
    assert render_page(package, "page.html", name=text, count=12345) == (
        '<p title="&lt;script&gt;&#x27;&quot;&amp;">12,345</p>\n'
    )


def test_render_page__missing_value_raises(package: str):
    with pytest.raises(UndefinedError):
        render_page(package, "page.html", count=1)
