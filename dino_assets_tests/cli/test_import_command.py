"""``dino-assets import``: files of Meta and timm, and the lines that it prints."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel

from dino_assets.api.fetcher import validate_dinov3
from dino_assets.cli import main
from dino_assets.definitions import make_definitions
from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.errors import CheckpointNotFoundError, ConfigError
from dino_assets.settings.environment import load_settings
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.stage import load_checkpoint
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.originals import as_meta_v3, as_timm_v3

NAME = "dinov3_vits16_pretrain_sat493m"


@pytest.fixture
def file(project: Path, checkpoint_dir: Path) -> Path:
    """Meta's file of the tiny checkpoint, in the project's folder."""
    path = project / f"{NAME}.pth"
    torch.save(as_meta_v3(AutoModel.from_pretrained(checkpoint_dir)), path)
    return path


def test_import__a_bare_file_of_meta(project, file, capsys):
    assert main(["import", file.name]) == 0
    printed = capsys.readouterr()
    summary, statistics, *leftovers, how_to_use = printed.out.splitlines()
    assert summary.startswith("Meta's DINOv3: dinov3_vit, 16 dims, 2 layers, ")
    assert statistics.endswith("statistics of sat493m, by the name of the file")
    assert "left out: 'rope_embed.periods': transformers computes" in " ".join(leftovers)
    assert how_to_use == f"Use it with DINO_MODEL_ID=models/{NAME}"
    assert printed.err.startswith("warning: ")
    assert "has no licence text" in printed.err
    assert validate_dinov3(project / "models" / NAME)


def test_import__a_licence_beside_it(project, file, capsys, refuse):
    (project / "LICENSE.md").write_text("as it is")
    assert main(["import", file.name, "--to", "out/mine", "--statistics", "imagenet"]) == 0
    assert capsys.readouterr().err == ""
    checkpoint = read_checkpoint(project / "out" / "mine", model="mine")
    assert checkpoint.statistics_from == "imagenet, as asked"
    assert (project / "out" / "mine" / "LICENSE.md").read_text() == "as it is"
    refuse(ConfigError, "import", file.name, "--to", "out/mine")
    assert main(["import", file.name, "--to", "out/mine", "--replace"]) == 0


def test_import__file_with_a_common_name(project, capsys):
    (project / "vit_small_patch16_dinov3.lvd1689m").mkdir()
    write_demo_checkpoint(project / "theirs", dim=64, layers=1)
    model = AutoModel.from_pretrained(project / "theirs")
    save_file(
        as_timm_v3(model), project / "vit_small_patch16_dinov3.lvd1689m" / "model.safetensors"
    )
    assert main(["import", "vit_small_patch16_dinov3.lvd1689m/model.safetensors"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == "Use it with DINO_MODEL_ID=models/vit_small_patch16_dinov3.lvd1689m"


def test_import__path_with_dots(project, file, capsys):
    (project / "src").mkdir()
    assert main(["import", file.name, "--to", "src/../i5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Use it with DINO_MODEL_ID=i5"
    assert main(["import", f"src/../{file.name}", "--to", "../beside"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == f"Use it with DINO_MODEL_ID={project.parent / 'beside'}"


def test_import__never_overwrites_the_project(project, file, refuse):
    (project / "config.json").write_text('{"train": {"dino_root": "dinov3"}}')
    (project / "data").mkdir()
    for target in (".", "../project", str(project), "..", "data/.."):
        refuse(ConfigError, "import", file.name, "--to", target, "--replace")
    assert sorted(path.name for path in project.iterdir()) == [
        "config.json", "dagster.yaml", "data", file.name, "workspace.yaml",
    ]  # fmt: skip


def test_import__missing_source(project, refuse):
    refuse(CheckpointNotFoundError, "import", "nothing.pth")


def test_import__into_the_lineage(project, file, monkeypatch, instance, capsys):
    main(["import", file.name])
    monkeypatch.setenv("DINO_MODEL_ID", f"models/{NAME}")
    assert make_definitions(load_settings())
    lineage = Lineage(instance)
    assert lineage.run(only=["weights"]).success
    checkpoint = load_checkpoint(lineage.store)
    assert checkpoint.imported_from
    assert checkpoint.imported_from.startswith(f"Meta's DINOv3, {NAME}.pth, sha256 ")
    assert checkpoint.statistics_from == "sat493m, by the name of the file"
    assert (checkpoint.repo, checkpoint.commit) == (None, None)
    metadata = lineage.metadata("weights")
    assert metadata["imported_from"] == checkpoint.imported_from
    config = project / "models" / NAME / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_": 1}))
    assert not lineage.run(only=["weights"]).success  # the file is no longer the imported one
