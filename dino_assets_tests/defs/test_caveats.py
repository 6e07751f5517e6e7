"""The caveat of random weights is shown with all results; other weights have none."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_assets.cli import main
from dino_assets.store.commits.listing import find_outputs
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets_tests.defs.conftest import Lineage

SENTENCE = f"The model has {CAVEAT}"
BY_MODEL = {"weights": None, "embeddings": "a", "projections": None, "selections": "round-0001"}
OTHER_ASSETS = ("images", "tiles")


@pytest.fixture
def lineage(lineage: Lineage, card) -> Lineage:
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1))
    return lineage


@pytest.fixture
def trained(project: Path, trained_dir: Path, monkeypatch) -> None:
    monkeypatch.setenv("DINO_MODEL_ID", str(trained_dir))


def run(lineage: Lineage, *drops: str):
    result = lineage.run(*drops, projections={"method": "linear"}, selections={"budget": 4})
    assert result.success
    entries = lineage.instance.all_logs(result.run_id)
    return [(e.step_key, e.user_message) for e in entries if e.level == 30]


def find(lineage: Lineage, asset: str) -> Manifest:
    (manifest,) = find_outputs(lineage.store, asset, BY_MODEL[asset])
    return manifest


def read_file(lineage: Lineage, asset: str, name: str) -> bytes:
    (part,) = [part for part in find(lineage, asset).parts if part.name == name]
    return read_part(lineage.store, part)


def has_red(data: bytes, *, top: int, rows: int) -> bool:
    """Check whether some rows of a picture have red letters on white."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)[top : top + rows]
    is_red = (pixels[..., 0] > 140) & (pixels[..., 1:] < 110).all(axis=-1)
    is_white = (pixels > 230).all(axis=-1)
    return bool(is_red.sum() > 20 and is_white.mean() > 0.6)


def test_lineage__random_weights_are_in_all_metadata_and_in_the_log_once_a_step(lineage: Lineage):
    for expected_reuse in (False, True):
        warnings = [(step, text) for step, text in run(lineage, "a", "b") if text.endswith(CAVEAT)]
        assert sorted(warnings) == sorted((asset, f"{asset}: {SENTENCE}") for asset in BY_MODEL)
        for asset in BY_MODEL:
            metadata = lineage.metadata(asset, "a" if asset == "embeddings" else None)
            assert metadata["was_reused"] is expected_reuse
            assert next(iter(metadata.items())) == ("caveat", CAVEAT)
        for asset in OTHER_ASSETS:
            assert "caveat" not in lineage.metadata(asset, "a")


def test_lineage__random_weights_are_in_facts_pictures_and_pages(lineage: Lineage):
    run(lineage, "a")
    for asset in BY_MODEL:
        assert find(lineage, asset).facts["caveat"] == CAVEAT
    assert has_red(read_file(lineage, "selections", "contact-sheet.jpg"), top=12, rows=60)
    assert has_red(read_file(lineage, "projections", "map.png"), top=60, rows=30)
    head = read_file(lineage, "projections", "map.html").decode().partition("</header>")[0]
    assert SENTENCE in head


def test_lineage__other_weights_have_no_caveat(trained, lineage: Lineage, capsys):
    assert not [text for _, text in run(lineage, "a") if "random" in text]
    for asset, drop in BY_MODEL.items():
        assert find(lineage, asset).facts.get("caveat") is None
        assert "caveat" not in lineage.metadata(asset, "a" if drop == "a" else None)
    assert not has_red(read_file(lineage, "selections", "contact-sheet.jpg"), top=12, rows=60)
    assert not has_red(read_file(lineage, "projections", "map.png"), top=60, rows=30)
    assert b"andom" not in read_file(lineage, "projections", "map.html")
    capsys.readouterr()
    for command in (["doctor"], ["select", "--budget", "4"], ["drops", "list"]):
        assert main(command) == 0
        printed = capsys.readouterr()
        assert "WARN" not in printed.out
        assert "random weights" not in printed.out + printed.err
    for command in (["parts", "embeddings", "a"], ["export", "projections", "--to", "out"]):
        assert main(command) == 0
        assert capsys.readouterr().err == ""


def test_commands__print_the_caveat_on_stderr(lineage: Lineage, capsys):
    run(lineage, "a")
    capsys.readouterr()
    assert main(["select", "--budget", "4"]) == 0
    assert f"note: {SENTENCE}" in capsys.readouterr().out.splitlines()
    for command in (["parts", "embeddings", "a"], ["export", "projections", "--to", "out"]):
        assert main(command) == 0
        printed = capsys.readouterr()
        assert printed.err == f"note: {SENTENCE}\n"
        assert all(Path(line).is_file() for line in printed.out.splitlines())
    assert main(["parts", "tiles", "a"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["drops", "list"]) == 0
    a, b = capsys.readouterr().out.splitlines()
    assert " embeddings 24 (random weights) " in a
    assert "random weights" not in b
    assert main(["drops", "list", "--json"]) == 0
    assets = json.loads(capsys.readouterr().out)[0]["assets"]
    assert assets["embeddings"]["caveat"] == CAVEAT
    assert "caveat" not in assets["tiles"]


def test_doctor__warns_of_random_weights(lineage: Lineage, trained_dir: Path, capsys, monkeypatch):
    for is_committed in (False, True):
        if is_committed:
            assert lineage.run(only=["weights"]).success
        capsys.readouterr()
        assert main(["doctor"]) == 0
        lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
        assert lines["checkpoint"].startswith("WARN checkpoint ")
        assert lines["checkpoint"].endswith(f". {SENTENCE}")
        assert [line[:4] for name, line in lines.items() if name != "checkpoint"] == ["ok  "] * 6

    # Other weights are configured now, but the results are still of the old ones.
    monkeypatch.setenv("DINO_MODEL_ID", str(trained_dir))
    assert main(["doctor"]) == 0
    (line,) = [each for each in capsys.readouterr().out.splitlines() if " checkpoint " in each]
    assert line.startswith(f"WARN checkpoint  {trained_dir}: dinov3_vit, ")
    assert line.endswith(f". The results in the store are from another checkpoint. {SENTENCE}")
