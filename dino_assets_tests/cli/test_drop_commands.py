"""``dino-assets drops``: registering, tags, retiring, restoring, JSON lists."""

import json

import pytest

from dino_assets.cli import main
from dino_assets.cli.terminal import name_command
from dino_assets.defs.instance import open_instance
from dino_assets.drops.registry import read_drop
from dino_assets.errors import ConfigError, DropConflictError, NotCommittedError, UnknownDropError
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import open_store
from dino_assets.weights.stage import draft_weights


@pytest.fixture
def cards(project, write_photo, capsys):
    """Two registered drops, one of them tagged."""
    for name in ("a", "b"):
        write_photo(project / "inbox" / name / "DJI_0001.JPG")
    assert main(["drops", "register", "a", "--tag", "fire", "--tag", "2026"]) == 0
    assert main(["drops", "register", "b"]) == 0
    capsys.readouterr()
    return project


def keys(project):
    with open_instance(project) as instance:
        return sorted(instance.get_dynamic_partitions("drops"))


def test_drops_retire__and_restore(cards, capsys, refuse):
    for verb in ("retired", "already retired"):
        assert main(["drops", "retire", "a"]) == 0
        assert capsys.readouterr().out.startswith(f"a: {verb}. ")
        assert keys(cards) == ["b"]
    assert main(["drops", "list"]) == 0
    a, b = capsys.readouterr().out.splitlines()
    assert a.endswith(f"{cards / 'inbox' / 'a'} (retired) #2026 #fire")
    assert b.endswith(str(cards / "inbox" / "b"))
    sentence = refuse(DropConflictError, "drops", "register", "a")
    assert f": {name_command()} drops restore a" in sentence
    for verb in ("restored", "not retired"):
        assert main(["drops", "restore", "a"]) == 0
        assert capsys.readouterr().out.startswith(f"a: {verb}, ")
        assert keys(cards) == ["a", "b"]
    refuse(UnknownDropError, "drops", "retire", "c")
    refuse(UnknownDropError, "drops", "restore", "c")


def test_drops_register__warns_of_equal_photographs(cards, capsys):
    assert main(["drops", "register", "again", "--from", "inbox/a"]) == 0
    _, warning, _ = capsys.readouterr().out.splitlines()
    assert warning.startswith("note: the same pictures are also registered as 'a'")
    command = warning.partition(f"{name_command()} ")[2]
    assert command == "drops retire again"
    assert main(command.split()) == 0
    capsys.readouterr()
    assert main(["run", "b2", "--from", "inbox/b", "--select", "images"]) == 0
    printed = capsys.readouterr().out
    assert "note: the same pictures are also registered as 'b'" in printed
    assert f": {name_command()} drops retire b2\n" in printed
    assert main(["run", "b2", "--select", "images"]) == 0
    assert "note: the same pictures" not in capsys.readouterr().out


def test_drops_register__warns_of_a_folder_without_photographs(cards, capsys, tmp_path):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "plan.pdf").write_bytes(b"%PDF")
    assert main(["drops", "register", "c", "--from", str(tmp_path / "papers")]) == 0
    _, note, _ = capsys.readouterr().out.splitlines()
    assert note == (
        "note: the source has 1 file, but none with the name of a photograph, such as DJI_0001.JPG; check "
        "the path"
    )


def test_drops_register__refuses_a_source_that_contains_the_project(
    cards, capsys, monkeypatch, refuse
):
    for source in ("/", ".", str(cards.parent), "inbox/.."):
        sentence = refuse(ConfigError, "drops", "register", "all", "--from", source)
        assert "contains this project" in sentence
    (cards.parent / "link").symlink_to(cards)
    refuse(ConfigError, "run", "all", "--from", str(cards.parent / "link"))
    assert main(["drops", "register", "some", "--from", "inbox"]) == 0


def test_drops_tag__adds_removes_and_shows(cards, capsys):
    for arguments, sentence in (
        (["a"], "a: 2026, fire"),
        (["a", "burnt", "--remove", "2026"], "a: burnt, fire"),
        (["b"], "b: no tags"),
    ):
        assert main(["drops", "tag", *arguments]) == 0
        assert capsys.readouterr().out == f"{sentence}\n"


def test_drops_list__json(cards, capsys):
    store = open_store(load_settings().storage)
    store.put("drops/bad.json", b"{")
    assert main(["drops", "retire", "b"]) == 0
    capsys.readouterr()
    assert main(["drops", "list", "--json"]) == 1
    a, b, bad = json.loads(capsys.readouterr().out)
    absent_output = {"state": "absent", "rows": 0, "follows": ""}
    assert a == {
        "name": "a",
        "original_name": "a",
        "source": str(cards / "inbox" / "a"),
        "fingerprint": read_drop(store, "a").fingerprint,
        "tags": ["2026", "fire"],
        "is_retired": False,
        "observed": "",
        "boxes": "",
        "assets": {"images": absent_output, "tiles": absent_output, "embeddings": absent_output},
    }
    assert (b["name"], b["is_retired"], b["tags"]) == ("b", True, [])
    assert bad["name"] == "bad"
    assert "drops/bad.json" in bad["error"]


def test_drops_list__drops_stopped_by_a_check(cards, capsys):
    for number in range(3):
        (cards / "inbox" / "b" / f"DJI_9{number}.JPG").write_text("not a picture")
    assert main(["run", "a", "--select", "images,tiles,weights"]) == 0
    assert main(["run", "b", "--select", "images,tiles,weights"]) == 1
    capsys.readouterr()
    assert main(["drops", "list"]) == 0
    a, b, reason, advice = capsys.readouterr().out.splitlines()
    assert "failed" not in a
    assert b.startswith("b ")
    assert "images 4 (failed)  tiles –" in b
    assert "1 of 4 files are usable photographs, 3 quarantined" in reason
    command = advice.partition(f"{name_command()} ")[2]
    assert main(command.split()) == 0
    assert "quarantined" in capsys.readouterr().out
    assert main(["drops", "list", "--json"]) == 0
    row_a, row_b = json.loads(capsys.readouterr().out)
    assert "failed" not in row_a["assets"]["images"]
    assert "3 quarantined" in row_b["assets"]["images"]["failed"]


def test_drops_list__json_without_drops(project, capsys):
    assert main(["drops", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_drops__by_the_original_name(project, write_photo, checkpoint_dir, capsys, refuse):
    original = "Überflug Süd 2024"
    write_photo(project / "inbox" / original / "DJI_0001.JPG")
    assert main(["drops", "register", original]) == 0
    name, rest = capsys.readouterr().out.splitlines()[0].split(" ", 1)
    assert name.startswith("Ueberflug-Sued-2024-")
    assert rest.startswith(f"(from {original!r}): registered")
    assert main(["drops", "list"]) == 0
    assert capsys.readouterr().out.endswith(f"/{original} (from {original!r})\n")
    for verb in ("tag", "retire", "restore"):
        assert main(["drops", verb, original]) == 0
        assert capsys.readouterr().out.startswith(f"{name}: ")
    assert main(["run", original, "--select", "images"]) == 0
    capsys.readouterr()
    for either_name in (original, name):
        assert main(["drops", "report", either_name]) == 0
        assert f"export images {name} --to" in capsys.readouterr().out
        assert main(["parts", "images", either_name]) == 0
        assert f"/parts/images/{name}/" in capsys.readouterr().out
        assert main(["export", "images", either_name, "--to", "out"]) == 0
        assert main(["footprints", "images", either_name, "--to", "out/a.geojson"]) == 0
        assert f"drop {name!r}" in refuse(NotCommittedError, "parts", "tiles", either_name)
    commit(open_store(load_settings().storage), draft_weights(checkpoint_dir, "demo"))
    for either_name in (original, name):
        sentence = refuse(NotCommittedError, "select", "--drop", either_name)
        assert f"no tile of drop {name!r} is embedded" in sentence
    sentence = refuse(UnknownDropError, "drops", "retire", "Überflug Nord")
    assert "no drop 'Überflug Nord' is registered" in sentence
    assert "drops register 'Überflug Nord' --from" in sentence


@pytest.mark.parametrize(
    "command",
    [
        ["drops", "list"],
        ["drops", "retire", "a"],
        ["drops", "tag", "a"],
        ["drops", "register", "a", "--from", "card"],
        ["select"],
    ],
)
def test_drops__creates_nothing_outside_a_project(
    tmp_path, write_photo, monkeypatch, refuse, command
):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    write_photo(tmp_path / "card" / "DJI_0001.JPG")
    monkeypatch.chdir(tmp_path)
    paths_before = set(tmp_path.iterdir())
    assert "there is no project in" in refuse(ConfigError, *command)
    assert set(tmp_path.iterdir()) == paths_before


def test_drops_list__named_store_without_a_project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DINO_STORAGE", str(tmp_path / "store"))
    assert main(["drops", "list"]) == 0
    assert "no drops yet" in capsys.readouterr().out
