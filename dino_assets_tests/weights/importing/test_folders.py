"""Import of folders: Hugging Face's, fetched ones, pickled ones."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dino_assets.errors import InvalidCheckpointError
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import INDEX, PREPROCESSOR, WEIGHTS, read_checkpoint
from dino_assets.weights.fetching import fetch_checkpoint
from dino_assets.weights.importing.writing import import_checkpoint
from dino_assets_tests.worlds.checkpoint_models import change, contents, read_json
from dino_assets_tests.worlds.hub_server import HubServer
from dino_assets_tests.worlds.original_files import hash_file, list_papers
from dino_assets_tests.worlds.originals import State
from dino_assets_tests.worlds.raising import raising

SAT = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))


@pytest.fixture
def sharded(tmp_path: Path, model: Any) -> Path:
    model.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    return tmp_path / "sharded"


def test_import_checkpoint__folder_of_save_pretrained(tmp_path: Path, saved: Path, model: Any):
    from transformers import AutoModel

    imported = import_checkpoint(saved, tmp_path / "out")
    assert imported.checkpoint == read_checkpoint(tmp_path / "out", model=str(tmp_path / "out"))
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (saved / WEIGHTS).read_bytes()
    sha256 = imported.checkpoint.weights_sha256
    assert (imported.format, imported.leftovers) == ("Hugging Face", {})
    config = read_json(tmp_path / "out" / CONFIG)
    origin = {"folder": "theirs", "format": "Hugging Face", "sha256": sha256}
    assert config.pop("imported_from") == origin
    assert config == read_json(saved / CONFIG)
    assert imported.checkpoint.statistics_from == "ImageNet (the checkpoint names none)"
    preprocessor = read_json(tmp_path / "out" / PREPROCESSOR)
    assert preprocessor["statistics_from"] == imported.checkpoint.statistics_from
    assert preprocessor["do_resize"] is preprocessor["do_center_crop"] is False
    assert list_papers(tmp_path / "out") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "theirs"]
    _, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report


def test_import_checkpoint__whole_folder_of_hugging_face(tmp_path: Path, saved: Path):
    change(saved / PREPROCESSOR, image_mean=SAT[0], image_std=SAT[1], size={"height": 224})
    card = "---\nlicense: other\nlicense_name: dinov3-license\n---\n"
    (saved / "README.md").write_text(card)
    (saved / "LICENSE.md").write_text("text")
    imported = import_checkpoint(saved, tmp_path / "out")
    assert list_papers(tmp_path / "out") == ["LICENSE.md", "README.md"]
    assert imported.checkpoint.licence == "dinov3-license"
    assert (imported.checkpoint.mean, imported.checkpoint.statistics_from) == (SAT[0], PREPROCESSOR)
    copied_files = contents(tmp_path / "out")
    assert copied_files.pop(CONFIG) != (source_files := contents(saved)).pop(CONFIG)
    assert copied_files == source_files


def test_import_checkpoint__sharded_folder(tmp_path: Path, sharded: Path):
    import_checkpoint(sharded, tmp_path / "out")
    shards = {path.name for path in sharded.glob("*.safetensors")}
    assert len(shards) > 2
    assert set(contents(tmp_path / "out")) == {
        *shards, INDEX, CONFIG, PREPROCESSOR,
    }  # fmt: skip
    for name in shards:
        assert (tmp_path / "out" / name).read_bytes() == (sharded / name).read_bytes()


def test_import_checkpoint__only_the_used_weights_are_copied(
    tmp_path: Path, saved: Path, sharded: Path
):
    """Other weights, an old index and hidden files are left out."""
    checkpoint = import_checkpoint(saved, tmp_path / "plain").checkpoint
    for name in ("adapter.safetensors", ".hidden.json", "._README.md", "optimizer.pt", "x.bin"):
        shutil.copy(saved / WEIGHTS, saved / name)
    shutil.copy(sharded / INDEX, saved / INDEX)
    (saved / "pytorch_model.bin.index.json").write_text("{}")
    (saved / "onnx").mkdir()
    (saved / "README.md").symlink_to("onnx")  # a link to a folder
    os.mkfifo(saved / "NOTICE")
    os.mkfifo(saved / "LICENSE.md")
    (saved / "LICENCE").symlink_to("nowhere")
    assert import_checkpoint(saved, tmp_path / "out").checkpoint.files == checkpoint.files
    assert set(contents(tmp_path / "out")) == {f.name for f in checkpoint.files}
    shutil.copy(sharded / CONFIG, sharded / "other.safetensors")
    import_checkpoint(sharded, tmp_path / "sharded-out")
    assert not (tmp_path / "sharded-out" / "other.safetensors").exists()


def test_import_checkpoint__follows_links_of_the_hub_cache(tmp_path: Path, saved: Path):
    blobs = tmp_path / "models--facebook--dinov3-vitl16-sat493m" / "blobs"
    blobs.mkdir(parents=True)
    snapshot = blobs.parent / "snapshots" / "0f3a"
    snapshot.mkdir(parents=True)
    for number, path in enumerate(saved.iterdir()):
        path.rename(blobs / str(number)).chmod(0o600)
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    imported = import_checkpoint(snapshot, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert not path.is_symlink()
        assert path.stat().st_mode & 0o777 == 0o644
        assert path.stat().st_nlink == 1
    shutil.rmtree(blobs.parent)
    assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == imported.checkpoint
    origin = read_json(tmp_path / "out" / CONFIG)["imported_from"]
    assert origin["folder"] == "facebook/dinov3-vitl16-sat493m@0f3a"
    assert imported.checkpoint.statistics_from == "sat493m, by the name of the folder"


def test_import_checkpoint__a_second_import_keeps_the_first_origin(tmp_path: Path, state: State):
    torch.save(state, tmp_path / "dinov3_sat493m.pth")
    first_import = import_checkpoint(tmp_path / "dinov3_sat493m.pth", tmp_path / "first")
    second_import = import_checkpoint(tmp_path / "first", tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert (
        second_import.checkpoint.statistics_from
        == first_import.checkpoint.statistics_from
        == "sat493m, by the name of the file"
    )
    origin = read_json(tmp_path / "second" / CONFIG)["imported_from"]
    sha256 = hash_file(tmp_path / "dinov3_sat493m.pth")
    assert (origin["file"], origin["sha256"]) == ("dinov3_sat493m.pth", sha256)
    torch.save(load_file(tmp_path / "second" / WEIGHTS), tmp_path / "second" / "pytorch_model.bin")
    (tmp_path / "second" / WEIGHTS).unlink()
    import_checkpoint(tmp_path / "second", tmp_path / "third")
    assert read_json(tmp_path / "third" / CONFIG)["imported_from"] == origin


@pytest.mark.parametrize("processor", [None, {}, {"size": 224}, {"image_mean": None}])
def test_import_checkpoint__folder_without_statistics(
    tmp_path: Path, saved: Path, processor: dict[str, object] | None
):
    if processor is not None:
        change(saved / PREPROCESSOR, **processor)
    renamed_folder = saved.rename(tmp_path / "my-SAT493m")
    imported = import_checkpoint(renamed_folder, tmp_path / "out")
    assert (imported.checkpoint.mean, imported.checkpoint.std) == SAT
    assert imported.checkpoint.statistics_from == "sat493m, by the name of the folder"
    assert read_json(tmp_path / "out" / PREPROCESSOR).get("size") == (processor or {}).get("size")


def test_import_checkpoint__folder_that_was_saved_from_a_named_model(tmp_path: Path, saved: Path):
    change(saved / CONFIG, _name_or_path="facebook/dinov3-vit7b16-pretrain-sat493m")
    imported = import_checkpoint(saved, tmp_path / "out")
    assert (imported.checkpoint.mean, imported.checkpoint.statistics_from) == (
        SAT[0], "sat493m, by the name of the model",
    )  # fmt: skip


def test_import_checkpoint__statistics_asked_for_a_folder(tmp_path: Path, saved: Path):
    for number, statistics in enumerate([{}, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}]):
        change(saved / PREPROCESSOR, size=224, **statistics)
        imported = import_checkpoint(saved, tmp_path / f"out{number}", statistics="sat493m")
        assert (imported.checkpoint.mean, imported.checkpoint.std) == SAT
        assert imported.checkpoint.statistics_from == "sat493m, as asked"
        assert read_json(tmp_path / f"out{number}" / PREPROCESSOR)["size"] == 224


@pytest.fixture
def fetched(hub: HubServer, saved: Path, tmp_path: Path) -> tuple[Path, str]:
    """A fetched copy of the folder without statistics, and its origin."""
    (saved / PREPROCESSOR).write_text("{}")
    commit = hub.add("org/x-sat493m", {path.name: path for path in saved.iterdir()})
    fetch_checkpoint("org/x-sat493m", tmp_path / "dinov3", root=tmp_path)
    return tmp_path / "dinov3", f"org/x-sat493m@{commit}"


def test_import_checkpoint__fetched_folder_names_its_repository(
    tmp_path: Path, fetched: tuple[Path, str]
):
    folder, origin = fetched
    imported = import_checkpoint(folder, tmp_path / "out")
    sha256 = imported.checkpoint.weights_sha256
    assert imported.checkpoint.imported_from == f"Hugging Face, {origin}, sha256 {sha256}"
    assert (imported.checkpoint.mean, imported.checkpoint.std) == SAT
    assert imported.checkpoint.statistics_from == "sat493m, by the name of the repository"


def test_import_checkpoint__fetched_folder_under_a_name_that_misleads(
    hub: HubServer, tmp_path: Path, saved: Path
):
    (saved / PREPROCESSOR).write_text("{}")
    hub.add("org/plain", {path.name: path for path in saved.iterdir()})
    fetch_checkpoint("org/plain", tmp_path / "beside-sat493m", root=tmp_path)
    imported = import_checkpoint(tmp_path / "beside-sat493m", tmp_path / "out")
    assert imported.checkpoint.statistics_from == "ImageNet (the checkpoint names none)"


@pytest.mark.parametrize("name", [WEIGHTS, PREPROCESSOR])
def test_import_checkpoint__changed_fetched_folder_has_no_commit(
    tmp_path: Path, fetched: tuple[Path, str], name: str
):
    folder, _ = fetched
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + b"!" if name == WEIGHTS else data + b" ")
    checkpoint = import_checkpoint(folder, tmp_path / "out").checkpoint
    assert str(checkpoint.imported_from).startswith("Hugging Face, dinov3, sha256 ")


@pytest.fixture
def pickled(saved: Path) -> Path:
    torch.save(load_file(saved / WEIGHTS), saved / "pytorch_model.bin")
    (saved / WEIGHTS).unlink()
    (saved / "LICENSE").write_text("text")
    return saved


@pytest.mark.parametrize("shard_bytes", [10**9, 100_000])
def test_import_checkpoint__pickled_folder(
    tmp_path: Path, pickled: Path, model: Any, shard_bytes: int
):
    from transformers import AutoModel

    imported = import_checkpoint(pickled, tmp_path / "out", shard_bytes=shard_bytes)
    assert imported.format == "Hugging Face, pickled"
    assert list_papers(tmp_path / "out") == ["LICENSE"]
    assert imported.checkpoint == read_checkpoint(tmp_path / "out", model=str(tmp_path / "out"))
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()
    origin = read_json(tmp_path / "out" / CONFIG)["imported_from"]
    assert origin == {
        "folder": "theirs", "file": "pytorch_model.bin",
        "sha256": hash_file(pickled / "pytorch_model.bin"),
        "format": imported.format,
    }  # fmt: skip
    loaded_model, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    model_tensors = model.state_dict()
    assert all(
        torch.equal(model_tensors[name], tensor)
        for name, tensor in loaded_model.state_dict().items()
    )


def test_import_checkpoint__pickled_weights_are_ignored_beside_safetensors(
    tmp_path: Path, saved: Path
):
    (saved / "pytorch_model.bin").write_bytes(b"whatever")
    import_checkpoint(saved, tmp_path / "out")
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()


def test_import_checkpoint__pickled_folder_that_holds_code(tmp_path: Path, pickled: Path):
    class Runs:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"x": Runs()}, pickled / "pytorch_model.bin")
    with raising(
        InvalidCheckpointError, file="theirs/pytorch_model.bin", key="posix.mkdir", reason="code"
    ):
        import_checkpoint(pickled, tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_import_checkpoint__pickled_weights_of_another_model(tmp_path: Path, pickled: Path):
    change(pickled / CONFIG, num_hidden_layers=3)
    with raising(InvalidCheckpointError, key="layers", reason="mismatch"):
        import_checkpoint(pickled, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_import_checkpoint__pickled_weights_of_another_family_are_not_opened(
    tmp_path: Path, pickled: Path
):
    change(pickled / CONFIG, model_type="vit")
    (pickled / "pytorch_model.bin").write_bytes(b"whatever")
    with raising(InvalidCheckpointError, key="model_type", reason="unsupported"):
        import_checkpoint(pickled, tmp_path / "out")


@pytest.mark.parametrize("name", ["pytorch_model-00001-of-00002.bin", "weights.pth"])
def test_import_checkpoint__other_pickled_folders(tmp_path: Path, pickled: Path, name: str):
    (pickled / "pytorch_model.bin").rename(pickled / name)
    (pickled / "a.pt").mkdir()
    with raising(InvalidCheckpointError, file=name, reason="code"):
        import_checkpoint(pickled, tmp_path / "out")
