"""``dino-assets tiles``, ``footprints`` and ``drops report``, in this process."""

import json

import pytest
from PIL import Image

from dino_assets.cli import main
from dino_assets.errors import (
    ConfigError,
    SourceError,
    UnknownDropError,
    UnusableImageError,
)
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.inboxes import drone_photo, fill_bytes


@pytest.fixture
def flown(project, instance):
    """A drop with a drone photograph, a photograph without tags, and a file that is no picture."""
    files = {
        "100MEDIA/DJI_0001.JPG": drone_photo(size=(1600, 1200)),
        "100MEDIA/DJI_0003.JPG": photo_bytes(1600, 1200),
        "100MEDIA/DJI_0004.JPG": b"no picture",
    }
    lineage = Lineage(instance)
    lineage.register("flight-1", fill_bytes(project / "card", files))
    assert lineage.run("flight-1", only=["weights", "images", "tiles"]).success
    return lineage


def test_tiles_preview__writes_a_picture(project, capsys):
    fill_bytes(project / "card", {"a.jpg": drone_photo(size=(1600, 1200))})
    assert main(["tiles", "preview", "card/a.jpg"]) == 0
    # Nothing is committed: the patch follows from the configured model's name.
    assert capsys.readouterr().out == (
        "a.jpg, 1600 x 1200 px: 24 tiles of 518 px, 6 x 4, overlap 50%: out/a.jpg.tiles.png\n"
    )
    # Where git ignores it.
    assert not list(project.glob("*.png"))
    with Image.open(project / "out" / "a.jpg.tiles.png") as picture:
        assert picture.size[0] == 1600
    assert main(["tiles", "preview", "card/a.jpg", "--tile-m", "20", "--to", "card/m.png"]) == 0
    assert "(20 m)" in capsys.readouterr().out
    assert (project / "card" / "m.png").is_file()


def test_tiles_preview__dinov3_before_it_is_fetched(project, capsys, monkeypatch, refuse):
    monkeypatch.setenv("DINO_MODEL_ID", "dinov3-vits16")
    fill_bytes(project / "card", {"a.jpg": photo_bytes(1600, 1200)})
    assert main(["tiles", "preview", "card/a.jpg"]) == 0
    assert "24 tiles of 512 px" in capsys.readouterr().out
    sentence = refuse(ConfigError, "tiles", "preview", "card/a.jpg", "--tile-px", "518")
    assert "use 512 or 528" in sentence


def test_tiles_preview__refusals(project, refuse):
    fill_bytes(project / "card", {"a.jpg": b"no picture"})
    sentence = refuse(UnusableImageError, "tiles", "preview", "card/a.jpg")
    assert sentence.startswith("not-an-image: ")
    refuse(SourceError, "tiles", "preview", "card/none.jpg")
    refuse(ConfigError, "tiles", "preview", "card/a.jpg", "--overlap", "2")


def test_drops_report__lists_findings(flown, capsys):
    assert main(["drops", "report", "flight-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    kinds = {line.split()[0] for line in lines[:-2]}
    assert kinds == {"quarantined", "no-gps", "no-time", "gap"}
    assert lines[-2] == "2 usable, 1 quarantined, 4 findings"
    assert "report.html" in lines[-1]


def test_drops_report__images_not_made_yet(project, refuse):
    (project / "data").mkdir()
    refuse(UnknownDropError, "drops", "report", "flight-9")


@pytest.mark.parametrize(("asset", "placed"), [("images", 1), ("tiles", 24)])
def test_footprints__for_qgis(flown, project, capsys, asset, placed):
    assert main(["footprints", asset, "flight-1", "--to", "out.geojson"]) == 0
    footprints = "footprint" if placed == 1 else "footprints"
    assert capsys.readouterr().out.startswith(f"{placed} {footprints} in out.geojson; ")
    features = json.loads((project / "out.geojson").read_text())["features"]
    assert len(features) == placed
    assert main(["footprints", asset, "flight-1", "--to", "out.gpkg"]) == 0
    assert (project / "out.gpkg").read_bytes()[:15] == b"SQLite format 3"


def test_footprints__refusals(flown, refuse):
    refuse(ConfigError, "footprints", "images", "flight-1", "--to", "out.shp")
    refuse(UnknownDropError, "footprints", "images", "flight-2", "--to", "out.gpkg")
