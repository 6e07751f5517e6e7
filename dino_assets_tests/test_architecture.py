"""The pages about the code: their tables are complete, and the index repeats the decisions."""

import re
import tomllib
from itertools import chain

from dino_assets.store.commits.catalogue import ASSETS
from dino_assets_tests.conftest import REPOSITORY

ARCHITECTURE = REPOSITORY / "docs" / "architecture.md"
INDEX = REPOSITORY / "docs" / "decisions" / "README.md"
DECISIONS = sorted(INDEX.parent.glob("[0-9]*.md"))
MOST_ARCHITECTURE_WORDS = 900  # without the table of dependencies
NO_ROOMS = {"__init__", "__pycache__", "py"}


def test_architecture__is_one_page():
    before_dependencies = ARCHITECTURE.read_text().split("## Dependencies")[0]
    assert len(before_dependencies.split()) <= MOST_ARCHITECTURE_WORDS


def test_architecture__lists_every_room():
    table = ARCHITECTURE.read_text().split("## Rooms")[1].split("\n## ")[0]
    rooms = {path.stem for path in (REPOSITORY / "dino_assets").iterdir()} - NO_ROOMS
    names = set(re.findall(r"`(\w+)(?:/|\.py)`", table))
    assert rooms <= names


def test_architecture__lists_every_dependency():
    table = ARCHITECTURE.read_text().split("## Dependencies")[1]
    listed_names = set(
        re.findall(r"[a-z][a-z0-9-]+", " ".join(re.findall(r"^\| ([^|]+)\|", table, re.M)))
    )
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    requirements = [
        *project["dependencies"],
        *chain.from_iterable(project["optional-dependencies"].values()),
    ]
    names = {re.match(r"[A-Za-z0-9-]+", each)[0] for each in requirements} - {"dino-assets"}
    assert names - listed_names == set()


def test_architecture__picture_names_every_asset():
    picture = (ARCHITECTURE.parent / "pictures" / "lineage.svg").read_text()
    labels = set(re.findall(r">(\w+)</text>", picture))
    assert set(ASSETS) - {"deployments"} <= labels


def test_decisions__are_numbered_without_gaps():
    numbers = [int(page.name[:3]) for page in DECISIONS]
    assert numbers == list(range(1, len(DECISIONS) + 1))


def test_decisions__index_repeats_number_and_summary():
    rows = re.findall(r"^\| \[(\d{3})\]\(([^)]+)\) \| (.+) \|$", INDEX.read_text(), re.M)
    pages = []
    for page in DECISIONS:
        title, _, summary, *_ = page.read_text().splitlines()
        assert title.startswith(f"# {page.name[:3]}. ")
        pages.append((page.name[:3], page.name, summary.strip("*")))
    assert rows == pages
