"""``dino-assets select``: what it says of the model and of drops that cannot be read."""

import shutil

import pytest

from dino_assets.cli import main
from dino_assets_tests.defs.conftest import Lineage

STEPS = ["weights", "images", "tiles", "embeddings"]


@pytest.fixture
def lineage(project, write_photo, instance, short_trial) -> Lineage:
    """Three embedded drops of 24 tiles each."""
    lineage = Lineage(instance)
    for seed, name in enumerate("abc"):
        photo = write_photo(project / "inbox" / name / "DJI_0001.JPG", 1600, 1200, seed=seed)
        lineage.register(name, photo.parent)
    assert lineage.run("a", "c", only=STEPS).success
    return lineage


def test_select__warns_that_another_model_is_configured(lineage, monkeypatch, capsys):
    def choose(number: int) -> tuple[str, str]:
        capsys.readouterr()
        assert main(["select", "--round", str(number), "--budget", "3"]) == 0
        shown = capsys.readouterr()
        return shown.out.splitlines()[0], shown.err

    stored = lineage.settings.model
    first, errors = choose(1)
    assert first.endswith(f", by {stored}")
    assert errors == ""
    monkeypatch.setenv("DINO_MODEL_ID", "models/dinvo2")
    line, errors = choose(2)
    assert line.endswith(f", by {stored}")
    assert errors.startswith("WARNING: ")
    assert "configured is 'models/dinvo2', but" in errors
    assert f"are those of {stored!r}," in errors
    assert "run NAME --select weights,images,tiles,embeddings" in errors
    # The asset warns as well, in the run's log.
    assert Lineage(lineage.instance).run(only=["selections"], selections={"round": 3}).success
    assert "configured is 'models/dinvo2', but" in capsys.readouterr().err
    # Another way to the same folder is the same model; a copy is another.
    shutil.copytree(stored, lineage.settings.root / "models" / "other")
    (lineage.settings.root / "models" / "linked").symlink_to(stored)
    monkeypatch.setenv("DINO_MODEL_ID", "models/linked")
    assert choose(4)[1] == ""
    monkeypatch.setenv("DINO_MODEL_ID", "models/other")
    assert "configured is 'models/other', but" in choose(5)[1]
