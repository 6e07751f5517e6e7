"""Validation of checkpoint folders: statistics, files, hashes, licences."""

import json
import shutil
from pathlib import Path

import pytest

from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import (
    INDEX,
    PREPROCESSOR,
    STATISTICS,
    WEIGHTS,
    digest_files,
    is_kept,
    read_checkpoint,
)
from dino_assets.weights.records import CheckpointFile
from dino_assets_tests.worlds.checkpoint_folders import (
    SAT_MEAN,
    SAT_STD,
    change,
    read,
    write_json,
    write_model,
)


@pytest.mark.parametrize("is_sharded", [False, True])
@pytest.mark.parametrize(
    ("family", "patch_px", "registers", "tile_px"),
    [("dinov2", 14, 0, 518), ("dinov2_with_registers", 14, 4, 518), ("dinov3_vit", 16, 4, 512)],
)
def test_read_checkpoint__written_by_transformers(
    tmp_path: Path, family: str, patch_px: int, registers: int, tile_px: int, is_sharded: bool
):
    parameters = write_model(tmp_path, family, is_sharded=is_sharded)
    assert (tmp_path / INDEX).is_file() == is_sharded
    checkpoint = read(tmp_path)
    assert (checkpoint.model, checkpoint.family, checkpoint.dim, checkpoint.layers, checkpoint.heads) == (
        "the/model", family, 16, 3, 2,
    )  # fmt: skip
    assert (checkpoint.patch_px, checkpoint.registers, checkpoint.tile_px) == (
        patch_px,
        registers,
        tile_px,
    )
    assert checkpoint.parameters == parameters
    assert (list(checkpoint.mean), list(checkpoint.std)) == (SAT_MEAN, SAT_STD)
    assert checkpoint.statistics_from == PREPROCESSOR
    assert {file.name for file in checkpoint.files} == {path.name for path in tmp_path.iterdir()}


def test_read_checkpoint__single_file_has_its_own_sha256(single: Path):
    by_name = {file.name: file for file in read(single).files}
    assert read(single).weights_sha256 == by_name[WEIGHTS].sha256
    assert by_name[WEIGHTS].bytes == (single / WEIGHTS).stat().st_size


def test_read_checkpoint__without_statistics(single: Path):
    write_json(single / PREPROCESSOR, {})
    checkpoint = read(single)
    assert checkpoint.mean == STATISTICS["imagenet"][0]
    assert checkpoint.statistics_from.startswith("ImageNet")


@pytest.mark.parametrize("origin", ["", "  ", None, 3])
def test_read_checkpoint__origin_of_statistics(single: Path, origin: object):
    assert read(single).statistics_from == PREPROCESSOR
    change(single / PREPROCESSOR, statistics_from="sat493m, by the name of the file")
    assert read(single).statistics_from == "sat493m, by the name of the file"
    change(single / PREPROCESSOR, statistics_from=origin)
    assert read(single).statistics_from == PREPROCESSOR


def test_read_checkpoint__ignores_an_origin_without_statistics(single: Path):
    write_json(single / PREPROCESSOR, {"statistics_from": "heaven"})
    assert read(single).statistics_from == "ImageNet (the checkpoint names none)"


def test_read_checkpoint__satellite_statistics_by_the_models_name(single: Path, sharded: Path):
    for folder in (single, sharded):
        write_json(folder / PREPROCESSOR, {})
    checkpoint = read_checkpoint(single, model="facebook/DINOv3-vitl16-pretrain-SAT493m")
    assert (list(checkpoint.mean), list(checkpoint.std)) == (SAT_MEAN, SAT_STD)
    assert checkpoint.statistics_from == "sat493m, by the model's name"
    checkpoint = read_checkpoint(sharded, model="dinov2-sat493m")  # only DINOv3 was trained on them
    assert checkpoint.mean == STATISTICS["imagenet"][0]
    change(single / PREPROCESSOR, image_mean=[0.1] * 3, image_std=[0.2] * 3)
    assert read_checkpoint(single, model="x-sat493m").mean == (0.1, 0.1, 0.1)


def test_read_checkpoint__prefers_the_repositorys_name_to_the_folders(single: Path):
    write_json(single / PREPROCESSOR, {})
    repo = "facebook/dinov3-vitl16-pretrain-sat493m"
    checkpoint = read_checkpoint(single, model="models/dinov3", published_as=repo)
    assert (checkpoint.model, list(checkpoint.mean)) == ("models/dinov3", SAT_MEAN)
    assert checkpoint.statistics_from == "sat493m, by the model's name"
    other_checkpoint = read_checkpoint(
        single, model="sat493m", published_as="facebook/dinov3-vits16"
    )
    assert other_checkpoint.mean == STATISTICS["imagenet"][0]


def test_read_checkpoint__hidden_files_do_not_count(single: Path):
    before = read(single)
    for name in (".dino-assets.json", "._README.md", ".adapter.safetensors"):
        (single / name).write_text("{}")
    assert read(single) == before


def test_read_checkpoint__other_spelling_of_registers(single: Path):
    config = json.loads((single / CONFIG).read_text())
    config["num_registers"] = config.pop("num_register_tokens")
    write_json(single / CONFIG, config)
    assert read(single).registers == 4


def test_read_checkpoint__follows_links_of_the_hub_cache(single: Path, tmp_path: Path):
    snapshot = tmp_path / "models--x" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for path in single.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert read(snapshot) == read(single)


def test_read_checkpoint__subfolders_and_foreign_files_do_not_count(single: Path):
    before = read(single)
    (single / "onnx").mkdir()
    (single / "onnx" / "model.json").write_text("{}")
    (single / "training.log").write_text("x")
    (single / "optimizer.pt").write_bytes(b"x")
    assert read(single) == before


def test_read_checkpoint__hashes_only_the_used_weights(single: Path):
    before = read(single)
    shutil.copy(single / WEIGHTS, single / "adapter.safetensors")
    assert read(single).weights_sha256 == before.weights_sha256
    assert read(single).revision != before.revision


def test_read_checkpoint__prefers_a_single_file_to_an_index(single: Path, sharded: Path):
    shutil.copy(sharded / INDEX, single / INDEX)  # transformers has the same order
    assert read(single).layers == 2


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, PREPROCESSOR, "README.md"])
def test_read_checkpoint__a_flipped_byte_changes_the_revision(single: Path, name: str):
    before = read(single)
    data = bytearray((single / name).read_bytes())
    data[-3] ^= 0x20  # changes a blank, a letter or a weight; every file still parses
    if name.endswith(".json"):
        data = bytearray((single / name).read_bytes() + b" ")
    (single / name).write_bytes(bytes(data))
    after = read(single)
    assert after.revision != before.revision
    assert (after.weights_sha256 != before.weights_sha256) == (name == WEIGHTS)


def test_read_checkpoint__renamed_shards_are_another_checkpoint(sharded: Path):
    before = read(sharded)
    shard = sorted(sharded.glob("*.safetensors"))[0]
    index = (sharded / INDEX).read_text().replace(shard.name, "renamed.safetensors")
    (sharded / INDEX).write_text(index)
    shard.rename(sharded / "renamed.safetensors")
    assert read(sharded).weights_sha256 != before.weights_sha256


def test_digest_files__by_hand():
    first_file, second_file = CheckpointFile("a", "11", 1), CheckpointFile("b", "22", 1)
    assert digest_files([first_file]) == "11"
    assert digest_files([first_file, second_file]) == digest_files([second_file, first_file])
    swapped_files = [CheckpointFile("a", "22", 1), CheckpointFile("b", "11", 1)]
    assert digest_files(swapped_files) != digest_files([first_file, second_file])


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlicense: apache-2.0\ntags:\n- x\n---\n# Card"}, "apache-2.0"),
        ({"README.md": "---\r\nlicense: mit\r\n---\r\n"}, "mit"),
        ({"README.md": "\ufeff---\nlicense: mit\n---\n"}, "mit"),
        (
            {"README.md": "---\nlicense: other\nlicense_name: dinov3-license\n---\n"},
            "dinov3-license",
        ),
        ({"README.md": "---\nlicense:\n- a\n---\n"}, None),
        ({"README.md": "license: mit", "LICENSE": "text"}, "see LICENSE"),
        ({"LICENSE.md": "text"}, "see LICENSE.md"),
        ({"LICENSE.md": "text", "README.md": "# Card, no front"}, "see LICENSE.md"),
        ({"License": "text"}, "see License"),
        ({"license.TXT": "text"}, "see license.TXT"),
        ({"NOTICE": "text"}, "see NOTICE"),
        ({"LICENSE.rst": "text"}, "see LICENSE.rst"),
        ({"NOTICE-Meta": "text"}, "see NOTICE-Meta"),
        ({"ReadMe.md": "---\nlicense: mit\n---\n"}, "mit"),
        ({}, None),
    ],
)
def test_read_checkpoint__licence(single: Path, files: dict[str, str], licence: str | None):
    (single / "README.md").unlink()
    for name, text in files.items():
        (single / name).write_bytes(text.encode())
    checkpoint = read(single)
    assert checkpoint.licence == licence
    assert set(files) <= {
        file.name for file in checkpoint.files
    }  # licence files belong to the checkpoint


@pytest.mark.parametrize(
    ("name", "is_expected"),
    [
        ("LICENSE.rst", True), ("NOTICE-Meta", True), ("License.md", True), ("licence", True),
        ("notice.PDF", True), ("readme.MD", True), ("model.safetensors", True), ("a.JSON", True),
        (".license", False), ("._README.md", False), ("head.pt", False), ("alicense", False),
    ],
)  # fmt: skip
def test_is_kept__by_hand(name: str, is_expected: bool):
    assert is_kept(name) == is_expected
