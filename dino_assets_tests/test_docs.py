"""Every command, script and configuration in the documentation is run as it stands."""

import contextlib
import json
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import httpx
import pytest
import yaml

from dino_assets import lineage
from dino_assets.demo.flights.draw import draw_flights
from dino_assets.settings.environment import Environment
from dino_assets_tests.conftest import REPOSITORY, photo_bytes
from dino_assets_tests.test_words import MOST_WORDS, split_sentences
from dino_assets_tests.worlds.guide import fill_hub, label_tiles, make_clone, run_script
from dino_assets_tests.worlds.hub_server import hub_for_test
from dino_assets_tests.worlds.prepared import Prepared
from dino_assets_tests.worlds.servers import HOST, free_port, running

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WRITTEN_FILE = re.compile(r"^cat > (\S+) <<'END'\n(.*?)^END$", re.S | re.M)
RUN = ("bash", "python")
# What goes on until it is ended: the command, and an address that answers once it works.
SERVERS = {
    "dino-assets serve": "/ready",
    "dino-assets ui": "/server_info",
    "dino-assets studio": "/",
}
ANSWERS = (200, 403)  # the studio refuses whoever lacks the token
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Page:
    """A page and its code blocks: language and text, in their order."""

    path: Path
    text: str
    blocks: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, path: Path) -> "Page":
        text = path.read_text()
        return cls(path, text, tuple(BLOCK.findall(text)))

    @property
    def name(self) -> str:
        return str(self.path.relative_to(REPOSITORY))

    @property
    def is_run(self) -> bool:
        return any(language in RUN for language, _ in self.blocks)


README = Page.read(REPOSITORY / "README.md")
ALL = [README, Page.read(REPOSITORY / "CONTRIBUTING.md"), *map(Page.read, PAGES)]
# README is run from the beginning, and CONTRIBUTING sets a machine up: test_makefile.py does that.
ABOUT_PLACES = ("curve.md", "heat-maps.md", "probes.md")
WITH_COMMANDS = [page for page in ALL if page.is_run and page.path.is_relative_to(DOCS)]


def make_photos() -> dict[str, bytes]:
    """Two photographs of a flight, two of a card, and a small one."""
    folders = {"path/to/photos": 0, "card/DCIM/100MEDIA": 20}
    photos = {
        f"{folder}/DJI_{number:04d}.JPG": photo_bytes(1600, 1200, seed=seed + number)
        for folder, seed in folders.items()
        for number in range(2)
    }
    return {**photos, "photo.jpg": photo_bytes(640, 480, seed=9)}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The Hub that the pages' models come from."""
    place = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch, hub_for_test(patch, place) as server:
        fill_hub(server, place)
        yield {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(place / "hf")}


@pytest.fixture
def guide(hub: dict[str, str], prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which ``dino-assets run my-flight`` has run, its tiles labelled, and a photograph beside it."""
    folder = prepared.put_back()
    for name, value in hub.items():  # after the fixture that clears the environment of every test
        monkeypatch.setenv(name, value)

    def prepare() -> None:
        make_clone(folder, make_photos())
        # So that the two photographs have ground for a second round.
        config = folder / "few.json"
        config.write_text(json.dumps({"ops": {"selections": {"config": {"budget": 4}}}}))
        command = "dino-assets run my-flight --from path/to/photos --config few.json"
        process = run_script(command, folder)
        config.unlink()
        assert process.returncode == 0, process.stdout + process.stderr
        label_tiles(folder)

    prepared.fill(prepare)
    return folder


@pytest.fixture(scope="module")
def surveyed_guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose photographs have places, with enough labels for a learning curve."""
    folder = tmp_path_factory.mktemp("surveyed") / "project"
    make_clone(folder, {})
    draw_flights(folder / "path" / "to" / "photos", scale=0.5)
    process = run_script("dino-assets run my-flight --from path/to/photos", folder)
    assert process.returncode == 0, process.stdout + process.stderr
    label_tiles(folder, photographs=4)  # so that there are tiles for a second round
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_page__commands_and_scripts_run(page: Page, request: pytest.FixtureRequest):
    is_surveyed = page.path.name in ABOUT_PLACES
    guide: Path = request.getfixturevalue("surveyed_guide" if is_surveyed else "guide")
    with contextlib.ExitStack() as stack:
        url = ""
        for language, text in page.blocks:
            if language not in RUN:
                continue
            if path := SERVERS.get(text.strip()):
                url = stack.enter_context(_serve(text.strip(), path, guide))
                continue
            script = text if language == "bash" else f"python - <<'END'\n{text}END"
            process = run_script(
                script.replace("http://127.0.0.1:8000", url or "http://nowhere"), guide
            )
            assert process.returncode == 0, f"{text}\n{process.stdout}\n{process.stderr}"


@contextlib.contextmanager
def _serve(command: str, path: str, folder: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://{HOST}:{port}"
    program = ["bash", "-c", f"source .venv/bin/activate && exec {command} --port {port}"]
    with running(program, url=f"{url}/", log=folder / "log", cwd=folder) as process:
        with httpx.Client(base_url=url, timeout=60) as client:
            while client.get(path).status_code not in ANSWERS:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield url


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_page__configuration_is_valid(page: Page):
    for language, text in page.blocks:
        if language == "yaml":
            config = yaml.safe_load(text)
            assets = list(config["ops"])
            assert dg.validate_run_config(_make_job(assets), config)
        elif language == "ini":
            names = {line.partition("=")[0] for line in text.splitlines() if line}
            assert names <= set(Environment.model_fields)
        elif language == "json":
            json.loads(text)
        else:
            assert language in (*RUN, "text"), f"{page.name}: nothing tests {language!r}"


def _make_job(assets: list[str]) -> dg.JobDefinition:
    job = dg.define_asset_job("documented", selection=assets)
    return dg.Definitions.merge(lineage, dg.Definitions(jobs=[job])).resolve_job_def("documented")


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_page__links_lead_somewhere(page: Page):
    for target in LINK.findall(BLOCK.sub("", page.text)):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        place = page.path.parent / path if path else page.path
        assert place.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in slugs, f"{page.name}: {target}"


def test_pages__are_all_reachable_from_the_readme():
    reached_pages: set[Path] = set()
    waiting = [REPOSITORY / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached_pages or path.suffix != ".md" or not path.exists():
            continue
        reached_pages.add(path)
        targets = (each.partition("#")[0] for each in LINK.findall(path.read_text()))
        waiting += [(path.parent / each).resolve() for each in targets if "://" not in each]
    assert [page for page in PAGES if page not in reached_pages] == []


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_page__sentences_are_short(page: Page):
    long_sentences = [
        sentence
        for sentence in split_sentences(BLOCK.sub("", page.text))
        if not sentence.startswith("|") and len(sentence.split()) > MOST_WORDS
    ]
    assert long_sentences == []


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_page__tables_have_a_head(page: Page):
    """A row after an empty line is no row: a browser shows its bars and brackets."""
    tables = re.findall(r"^\|.*\|$(?:\n^\|.*\|$)*", BLOCK.sub("", page.text), re.MULTILINE)
    assert [t for t in tables if not re.match(r"\|.*\|\n\|[\s:|-]+\|\n", t)] == []


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_page__pictures_are_small_and_described(page: Page):
    for alternative, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.text):
        assert len(alternative.split()) >= 3, f"{page.name}: {target}"
        assert (page.path.parent / target).stat().st_size <= 300_000, target


EXAMPLES = """
import doctest, sys, types
import dino_assets

sys.argv = ["examples"]
names = [name for name in dino_assets.__all__ if callable(getattr(dino_assets, name))]
runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
for name in names:
    public = getattr(dino_assets, name)
    tests = doctest.DocTestFinder(exclude_empty=True).find(public, name, module=False)
    own = [each for each in tests if each.name == name and each.examples]
    assert own, f"{name} has no example"
    for each in tests:
        runner.run(each)
sys.exit(runner.summarize().failed)
"""


@pytest.mark.slow
def test_public_names__have_examples_that_run(guide: Path):
    process = run_script(f"python - <<'END'\n{EXAMPLES}END", guide)
    assert process.returncode == 0, process.stdout + process.stderr


def test_readme__first_result(tmp_path: Path):
    """What a newcomer does after ``make demo``, which test_demo.py runs."""
    folder = tmp_path / "clone"
    make_clone(folder, make_photos())
    (demo, flight), (script,) = (
        [text for language, text in README.blocks if language == run_language]
        for run_language in RUN
    )
    assert demo == "make demo\n"
    process = run_script(f"{flight}\npython - <<'END'\n{script}END", folder)
    assert process.returncode == 0, process.stdout + process.stderr
    assert re.search(r"^my-flight +images 2 +tiles 48 ", process.stdout, re.MULTILINE)
    assert process.stdout.splitlines()[-1].startswith("48 ['tile_id', ")
    for path in ("map/map.html", "round-1/round-map.html", "round-1/contact-sheet.jpg"):
        assert (folder / "out" / path).is_file()
    # Only the round that `run` selected: a second one is a decision of the reader's.
    rounds = run_script("dino-assets rounds --json", folder)
    assert [each["name"] for each in json.loads(rounds.stdout)] == ["round-0001"]


def test_weights__make_runs_the_same_command(tmp_path: Path):
    """Only planned: make would set the linked .venv up again."""
    make_clone(tmp_path / "clone", {})
    plan = run_script("env -u MAKEFLAGS -u MAKELEVEL make -n fetch-dinov3", tmp_path / "clone")
    assert plan.stdout.splitlines()[-1].strip() == (
        ".venv/bin/dinov3-fetcher --config 'config.json'"
    )


@pytest.mark.slow
def test_service__answers_as_the_page_shows(guide: Path):
    page = Page.read(DOCS / "how-to" / "service.md")
    (example,) = [json.loads(text) for language, text in page.blocks if language == "json"]
    (guide / "photo.jpg").write_bytes(photo_bytes(2048, 1536, quality=30))
    (line,) = [text for _, text in page.blocks if text.startswith("curl -F file")]
    with _serve("dino-assets serve", "/ready", guide) as url:
        process = run_script(line.replace("http://127.0.0.1:8000", url), guide)
    answer = json.loads(process.stdout)
    assert "random weights" in answer.pop("caveat")  # of the test's own model
    assert list(answer) == list(example)
    assert list(answer["metadata"]) == list(example["metadata"])
    assert answer["metadata"]["original_size"] == example["metadata"]["original_size"]
    assert (guide / answer["embedding_uri"]).is_file()


def test_dagster__its_own_commands_find_what_doctor_says(guide: Path):
    page = Page.read(DOCS / "how-to" / "dagster.md")
    assert any("export DAGSTER_HOME=$PWD\n" in text for _, text in page.blocks)
    doctor = run_script("dino-assets doctor", guide)
    assert f"export DAGSTER_HOME={guide}" in doctor.stdout


def test_configuration__is_what_settings_read():
    table = (DOCS / "configuration.md").read_text()
    names = set(re.findall(r"`([A-Z][A-Z_]+)`", table))
    settings = set(Environment.model_fields)
    assert settings - names == set()
    assert {name for name in names if not name.startswith(("HF_", "DINO_"))} <= settings
    assert {name for name in names if name.startswith("DINO_")} - {"DINO_"} <= settings


def test_pages__name_make_targets_that_exist():
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    for page in ALL:
        assert set(re.findall(r"`make ([a-z0-9-]+)`", page.text)) <= targets, page.name


def test_readme__is_short():
    text = BLOCK.sub("", (REPOSITORY / "README.md").read_text())
    assert len(text.split()) <= 700


def test_pages__name_commands_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from dino_assets.cli import make_parser

    parser = make_parser()
    monkeypatch.chdir(tmp_path)  # some options read a file that the page writes
    for page in ALL:
        for _, text in (block for block in page.blocks if block[0] == "bash"):
            for name, content in WRITTEN_FILE.findall(text):
                (tmp_path / name).write_text(content)
            for line in text.splitlines():
                words = shlex.split(line.partition(" > ")[0], comments=True)
                if words and words[0].endswith("dino-assets") and len(words) > 1:
                    parser.parse_args(words[1:])
