"""Reading commands without a store: nothing is created, and a sentence says what to do."""

import pytest

from dino_assets.cli import main
from dino_assets.errors import NotCommittedError, UnknownDropError
from dino_assets.settings.environment import load_settings
from dino_assets.store.objects import open_store

READING = [
    ["drops", "tag", "a", "fire"],
    ["drops", "retire", "a"],
    ["drops", "restore", "a"],
    ["drops", "report", "a"],
    ["select"],
    ["parts", "tiles", "a"],
    ["export", "projections", "--to", "out"],
    ["export", "selections", "round-0001", "--to", "out"],
    ["footprints", "tiles", "a", "--to", "out/a.gpkg"],
    ["footprints", "selections", "round-0001", "--to", "out/a.gpkg"],
    ["verify"],
    ["verify", "--repair"],
]


@pytest.fixture(params=["data", "typo"])
def absent(request: pytest.FixtureRequest, project, monkeypatch):
    """A project without its store: the default one, or a misspelled one."""
    if request.param == "typo":
        monkeypatch.setenv("DINO_STORAGE", "typo")
    yield project / request.param
    assert not (project / request.param).exists()


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_commands__reading_creates_no_store(absent, refuse, command):
    sentence = refuse(NotCommittedError, *command)
    assert f"nothing is at {str(absent)!r}" in sentence
    assert "DINO_STORAGE" in sentence
    assert "run NAME --from FOLDER" in sentence


def test_drops_list__no_store(absent, capsys):
    assert main(["drops", "list"]) == 0
    assert f"no drops yet. There is no store {absent.name!r} yet" in capsys.readouterr().out
    assert main(["drops", "list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_rounds__no_store(absent, capsys):
    assert main(["rounds"]) == 0
    printed = capsys.readouterr().out
    assert f"no rounds yet. There is no store {absent.name!r} yet" in printed
    assert main(["rounds", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_collect__no_store(absent, capsys, options):
    assert main(["collect", *options]) == 0
    printed = capsys.readouterr().out
    assert f"nothing is at {str(absent)!r}" in printed
    assert "0 parts" in printed


def test_doctor__no_store(absent, capsys):
    main(["doctor"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " store " in line]
    assert line.startswith("WARN" if absent.name == "typo" else "ok")
    expected = "nothing is at " if absent.name == "typo" else "does not exist yet"
    assert expected in line


def test_tiles_preview__creates_no_store(absent, write_photo):
    image = write_photo(absent.parent / "a.jpg", 1200, 900)
    assert main(["tiles", "preview", str(image)]) == 0


def test_run__unknown_drop_creates_no_store(absent, refuse):
    refuse(UnknownDropError, "run", "a")


def test_open_store__folder_is_created_by_the_first_put(project):
    settings = load_settings().storage
    first_store, second_store = open_store(settings), open_store(settings)
    assert list(first_store.list()) == []
    assert not first_store.is_there
    first_store.put("a", b"1")
    # Another process may have created it meanwhile.
    assert second_store.is_there
    assert second_store.get("a") == b"1"
    assert (project / "data").is_dir()
