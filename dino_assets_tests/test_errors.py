"""The exception tree in the docstring, and a test for every class."""

import inspect
import re
from pathlib import Path

import pytest

from dino_assets import errors
from dino_assets.errors import DinoAssetsError
from dino_assets_tests.conftest import REPOSITORY

CLASSES = {
    name: cls
    for name, cls in vars(errors).items()
    if inspect.isclass(cls) and issubclass(cls, DinoAssetsError)
}


def read_tree() -> dict[str, str]:
    """Read child → parent from the tree in the module's docstring."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│ ├└─]*)(\w+Error)\b", line)
        if not match:
            continue
        depth = len(match[1]) // 4
        path = [*path[:depth], match[2]]
        if depth:
            parents[match[2]] = path[depth - 1]
    return parents


def test_tree__docstring_matches_the_classes():
    bases = {n: c.__bases__[0].__name__ for n, c in CLASSES.items() if c is not DinoAssetsError}
    assert read_tree() == bases


LEAVES = {n for n, c in CLASSES.items() if not any(o.__bases__[0] is c for o in CLASSES.values())}


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_tree__every_leaf_is_raised_by_a_test(name: str):
    folder = Path(__file__).parent
    paths = [
        path
        for path in folder.rglob("test_*.py")
        if path != Path(__file__) and re.search(rf"\b{name}\b", path.read_text())
    ]
    assert paths


def test_docs__name_existing_errors():
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    names = {name for page in pages for name in re.findall(r"\b[A-Z]\w+Error\b", page.read_text())}
    assert names
    assert names <= set(CLASSES)
