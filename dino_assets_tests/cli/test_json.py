"""``--json`` of commands that list or report."""

import json
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets_tests.defs.conftest import Lineage


@pytest.fixture
def lineage(project, ready_engines, write_photo, instance, short_trial, prepared) -> Lineage:
    """One drop with tiles, and a file in it that cannot be used."""
    lineage = Lineage(instance)

    def prepare() -> None:
        photo = write_photo(project / "inbox" / "a" / "DJI_0001.JPG", 1600, 1200)
        (photo.parent / "DJI_0002.JPG").write_text("not a picture")
        lineage.register("a", photo.parent)
        assert lineage.run("a", only=["weights", "images", "tiles"]).success

    prepared.fill(prepare, instance=instance)
    return lineage


def read(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> object:
    capsys.readouterr()
    assert main([*command, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_json__of_parts(lineage: Lineage, capsys):
    (output,) = read(capsys, "parts", "tiles", "a")
    assert (output["asset"], output["drop"], output["rows"]) == ("tiles", "a", 24)
    assert all(Path(part["path"]).is_file() for part in output["parts"])


def test_json__of_a_drops_report(lineage: Lineage, capsys):
    report = read(capsys, "drops", "report", "a")
    assert (report["usable"], report["quarantined"]) == (1, 1)
    assert "DJI_0002.JPG" in {finding["path"] for finding in report["findings"]}


def test_json__of_doctor(lineage: Lineage, capsys):
    subjects = {each["subject"]: each for each in read(capsys, "doctor")}
    assert {"python", "store", "checkpoint", "drops"} <= subjects.keys()
    assert all(each["passed"] for each in subjects.values())


def test_json__of_verify_and_collect(lineage: Lineage, capsys):
    assert read(capsys, "verify") == {"faults": []}
    assert read(capsys, "collect", "--dry-run")["parts"] == []
    (part, *_) = read(capsys, "parts", "tiles", "a")[0]["parts"]
    Path(part["path"]).unlink()
    assert len(read(capsys, "verify", code=1)["faults"]) == 1
