"""Commands whose target cannot be written: exit code 1, one sentence, no partial file."""

from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets.errors import ConfigError, DiskFullError, TargetError, UnknownDropError
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import open_store
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.inboxes import commit_images, drone_photo, fill_bytes
from dino_assets_tests.worlds.targets import mounted

# Each with what it writes below the folder that stands for {}.
COMMANDS = [
    (["export", "images", "d", "--to", "{}/out"], "out/images-0.parquet"),
    (["footprints", "tiles", "d", "--to", "{}/a.gpkg"], "a.gpkg"),
    (["footprints", "tiles", "d", "--to", "{}/a.geojson"], "a.geojson"),
    (["tiles", "preview", "card/a.jpg", "--to", "{}/a.png"], "a.png"),
]
IDS = [" ".join(command[:3]) for command, _ in COMMANDS]


@pytest.fixture
def tiled(project: Path) -> Path:
    """A project with the images and tiles of a drop."""
    files = {"a.jpg": drone_photo(size=(1600, 1200)), "b.jpg": photo_bytes(1600, 1200)}
    store = open_store(load_settings().storage)
    images = commit_images(store, "d", fill_bytes(project / "card", files))
    commit(store, draft_tiles(images, "d", make_grid(518)))
    return project


def fill_in(command: list[str], folder: str) -> list[str]:
    return [word.format(folder) for word in command]


@pytest.mark.parametrize(("command", "written"), COMMANDS, ids=IDS)
def test_main__a_file_in_place_of_the_folder(tiled, refuse, command, written):
    (tiled / "here").write_text("a file")
    sentence = refuse(TargetError, *fill_in(command, "here"))
    assert "is a file, and a folder is expected" in sentence
    assert sentence.count("\n") == 1
    assert (tiled / "here").read_text() == "a file"


@pytest.mark.parametrize(("command", "written"), COMMANDS, ids=IDS)
def test_main__a_folder_in_place_of_the_file(tiled, refuse, command, written):
    (tiled / "here" / written).mkdir(parents=True)
    sentence = refuse(TargetError, *fill_in(command, "here"))
    assert "it is a folder" in sentence
    assert (tiled / "here" / written).is_dir()
    assert list((tiled / "here").rglob(".*")) == []


@pytest.mark.parametrize(("command", "written"), COMMANDS, ids=IDS)
def test_main__a_read_only_disk(tiled, refuse, command, written):
    with mounted(tiled / "disk", "ro"):
        sentence = refuse(TargetError, *fill_in(command, "disk"))
    assert "read-only" in sentence
    assert "choose another path" in sentence


@pytest.mark.parametrize(("command", "written"), COMMANDS, ids=IDS)
def test_main__a_full_disk(tiled, refuse, command, written):
    with mounted(tiled / "disk", "size=8k") as disk:
        (disk / "filling").write_bytes(bytes(8192))
        sentence = refuse(DiskFullError, *fill_in(command, "disk"))
        assert [p.name for p in disk.rglob("*") if p.is_file()] == ["filling"]
    assert "ree some" in sentence
    assert sentence.count("\n") == 1


def test_samples_checkpoint__a_read_only_disk(project, capsys):
    with mounted(project / "disk", "ro"):
        assert main(["samples", "checkpoint", "disk/models"]) == 1
    printed = capsys.readouterr().err
    assert "Read-only file system" in printed
    assert "Make it writable, or name another path" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(("command", "written"), COMMANDS[:2], ids=IDS[:2])
def test_main__refuses_to_write_among_photographs(tiled, refuse, command, written):
    assert main(["drops", "register", "d", "--from", "card"]) == 0
    paths_before = sorted((tiled / "card").rglob("*"))
    assert "next run" in refuse(ConfigError, *fill_in(command, "card"))
    assert sorted((tiled / "card").rglob("*")) == paths_before


@pytest.mark.parametrize(
    "command",
    [
        ["drops", "report", "nobody"],
        ["export", "images", "nobody", "--to", "out"],
        ["footprints", "tiles", "nobody", "--to", "a.geojson"],
        ["parts", "embeddings", "nobody"],
    ],
    ids=" ".join,
)
def test_main__unknown_drop(tiled, refuse, command):
    assert "nobody" in refuse(UnknownDropError, *command)
