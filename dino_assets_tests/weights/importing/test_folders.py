"""A folder is imported like a file: Hugging Face's, timm's, or one that just has the weights."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import dino_assets.weights.importing.writing as imports
from dino_assets.errors import CheckpointNotFoundError, ConfigError, InvalidCheckpointError
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import INDEX, PREPROCESSOR, WEIGHTS, read_checkpoint
from dino_assets.weights.fetching import fetch_checkpoint
from dino_assets.weights.importing.plans import encode_json
from dino_assets.weights.importing.writing import import_checkpoint
from dino_assets_tests.worlds.hub_server import HubServer
from dino_assets_tests.worlds.originals import State, as_meta_v3, as_timm_v3, make_model

SAT = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))
TIMM = {"architecture": "vit", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model("dinov3_vit")


@pytest.fixture(scope="module")
def state(model: Any) -> State:
    return as_meta_v3(model)


@pytest.fixture
def theirs(tmp_path: Path, model: Any) -> Path:
    """What model.save_pretrained leaves: no preprocessor, no papers."""
    model.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


@pytest.fixture
def sharded(tmp_path: Path, model: Any) -> Path:
    model.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    return tmp_path / "sharded"


def contents(folder: Path) -> dict[str, bytes]:
    """Without the record of what they were."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def change(path: Path, **values: object) -> None:
    found = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(found | values))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


# --- Hugging Face ---------------------------------------------------------------------------


def test_import_checkpoint__folder_of_save_pretrained(tmp_path: Path, theirs: Path, model: Any):
    from transformers import AutoModel

    done = import_checkpoint(theirs, tmp_path / "out")
    assert done.checkpoint == read_checkpoint(tmp_path / "out", model=str(tmp_path / "out"))
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (theirs / WEIGHTS).read_bytes()
    sha256 = done.checkpoint.weights_sha256
    assert (done.format, done.source_sha256) == ("Hugging Face", sha256)
    config = read_json(tmp_path / "out" / CONFIG)
    origin = {"folder": "theirs", "format": "Hugging Face", "sha256": sha256}
    assert config.pop("imported_from") == origin
    assert config == read_json(theirs / CONFIG)
    assert done.statistics_from == "ImageNet (the checkpoint names none)"
    made = read_json(tmp_path / "out" / PREPROCESSOR)
    assert made["statistics_from"] == done.statistics_from
    assert made["do_resize"] is made["do_center_crop"] is False
    assert (done.kept, done.made, done.leftovers) == ((), (), {})
    assert done.read_bytes == done.written_bytes == (theirs / WEIGHTS).stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "theirs"]
    _, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report


def test_import_checkpoint__whole_folder_of_hugging_face(tmp_path: Path, theirs: Path):
    change(theirs / PREPROCESSOR, image_mean=SAT[0], image_std=SAT[1], size={"height": 224})
    card = "---\nlicense: other\nlicense_name: dinov3-license\n---\n"
    (theirs / "README.md").write_text(card)
    (theirs / "LICENSE.md").write_text("text")
    done = import_checkpoint(theirs, tmp_path / "out")
    assert done.kept == ("LICENSE.md", "README.md")
    assert done.checkpoint.licence == "dinov3-license"
    assert (done.checkpoint.mean, done.statistics_from) == (SAT[0], PREPROCESSOR)
    found = contents(tmp_path / "out")
    assert found.pop(CONFIG) != (wanted := contents(theirs)).pop(CONFIG)
    assert found == wanted


def test_import_checkpoint__sharded_folder(tmp_path: Path, sharded: Path):
    done = import_checkpoint(sharded, tmp_path / "out")
    shards = {path.name for path in sharded.glob("*.safetensors")}
    assert len(shards) > 2
    assert set(contents(tmp_path / "out")) == {
        *shards, INDEX, CONFIG, PREPROCESSOR,
    }  # fmt: skip
    assert done.written_bytes == sum((sharded / name).stat().st_size for name in shards)


def test_import_checkpoint__only_the_used_weights_are_copied(
    tmp_path: Path, theirs: Path, sharded: Path
):
    """And nothing that a folder has by accident: other weights, an old index, hidden files."""
    plain = import_checkpoint(theirs, tmp_path / "plain").checkpoint
    for name in ("adapter.safetensors", ".hidden.json", "._README.md", "optimizer.pt", "x.bin"):
        shutil.copy(theirs / WEIGHTS, theirs / name)
    shutil.copy(sharded / INDEX, theirs / INDEX)
    (theirs / "pytorch_model.bin.index.json").write_text("{}")
    (theirs / "onnx").mkdir()
    (theirs / "README.md").symlink_to("onnx")  # a link to a folder
    os.mkfifo(theirs / "NOTICE")
    os.mkfifo(theirs / "LICENSE.md")
    (theirs / "LICENCE").symlink_to("nowhere")
    assert import_checkpoint(theirs, tmp_path / "out").checkpoint.files == plain.files
    assert set(contents(tmp_path / "out")) == {f.name for f in plain.files}
    shutil.copy(sharded / CONFIG, sharded / "other.safetensors")
    import_checkpoint(sharded, tmp_path / "sharded-out")
    assert not (tmp_path / "sharded-out" / "other.safetensors").exists()


def test_import_checkpoint__links_of_the_hub_cache_are_followed(tmp_path: Path, theirs: Path):
    blobs = tmp_path / "models--facebook--dinov3-vitl16-sat493m" / "blobs"
    blobs.mkdir(parents=True)
    snapshot = blobs.parent / "snapshots" / "0f3a"
    snapshot.mkdir(parents=True)
    for number, path in enumerate(theirs.iterdir()):
        path.rename(blobs / str(number)).chmod(0o600)
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    done = import_checkpoint(snapshot, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert not path.is_symlink()
        assert path.stat().st_mode & 0o777 == 0o644
        assert path.stat().st_nlink == 1
    shutil.rmtree(blobs.parent)
    assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == done.checkpoint
    origin = read_json(tmp_path / "out" / CONFIG)["imported_from"]
    assert origin["folder"] == "facebook/dinov3-vitl16-sat493m@0f3a"
    assert done.statistics_from == "sat493m, by the name of the folder"


def test_import_checkpoint__chain_keeps_its_first_origin(tmp_path: Path, state: State):
    torch.save(state, tmp_path / "dinov3_sat493m.pth")
    first = import_checkpoint(tmp_path / "dinov3_sat493m.pth", tmp_path / "first")
    second = import_checkpoint(tmp_path / "first", tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert second.statistics_from == first.statistics_from == "sat493m, by the name of the file"
    origin = read_json(tmp_path / "second" / CONFIG)["imported_from"]
    assert (origin["file"], origin["sha256"]) == ("dinov3_sat493m.pth", first.source_sha256)
    torch.save(load_file(tmp_path / "second" / WEIGHTS), tmp_path / "second" / "pytorch_model.bin")
    (tmp_path / "second" / WEIGHTS).unlink()
    import_checkpoint(tmp_path / "second", tmp_path / "third")
    assert read_json(tmp_path / "third" / CONFIG)["imported_from"] == origin


# --- statistics -----------------------------------------------------------------------------


@pytest.mark.parametrize("found", [None, {}, {"size": 224}, {"image_mean": None}])
def test_import_checkpoint__folder_without_statistics(
    tmp_path: Path, theirs: Path, found: dict[str, object] | None
):
    if found is not None:
        change(theirs / PREPROCESSOR, **found)
    named = theirs.rename(tmp_path / "my-SAT493m")
    done = import_checkpoint(named, tmp_path / "out")
    assert (done.checkpoint.mean, done.checkpoint.std) == SAT
    assert done.statistics_from == "sat493m, by the name of the folder"
    assert read_json(tmp_path / "out" / PREPROCESSOR).get("size") == (found or {}).get("size")


def test_import_checkpoint__folder_that_was_saved_from_a_named_model(tmp_path: Path, theirs: Path):
    change(theirs / CONFIG, _name_or_path="facebook/dinov3-vit7b16-pretrain-sat493m")
    done = import_checkpoint(theirs, tmp_path / "out")
    assert (done.checkpoint.mean, done.statistics_from) == (
        SAT[0], "sat493m, by the name of the model",
    )  # fmt: skip


def test_import_checkpoint__statistics_asked_for_a_folder(tmp_path: Path, theirs: Path):
    for number, statistics in enumerate([{}, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}]):
        change(theirs / PREPROCESSOR, size=224, **statistics)
        done = import_checkpoint(theirs, tmp_path / f"out{number}", statistics="sat493m")
        assert (done.checkpoint.mean, done.checkpoint.std) == SAT
        assert done.statistics_from == "sat493m, as asked"
        assert read_json(tmp_path / f"out{number}" / PREPROCESSOR)["size"] == 224


@pytest.fixture
def fetched(hub: HubServer, theirs: Path, tmp_path: Path) -> tuple[Path, str]:
    """The same as it comes from the Hub, in a folder that says nothing; and its origin."""
    (theirs / PREPROCESSOR).write_text("{}")
    commit = hub.add("org/x-sat493m", {path.name: path for path in theirs.iterdir()})
    fetch_checkpoint("org/x-sat493m", tmp_path / "dinov3", root=tmp_path)
    return tmp_path / "dinov3", f"org/x-sat493m@{commit}"


def test_import_checkpoint__fetched_folder_names_its_repository(
    tmp_path: Path, fetched: tuple[Path, str]
):
    folder, origin = fetched
    done = import_checkpoint(folder, tmp_path / "out")
    sha256 = done.checkpoint.weights_sha256
    assert done.checkpoint.imported_from == f"Hugging Face, {origin}, sha256 {sha256}"
    assert (done.checkpoint.mean, done.checkpoint.std) == SAT
    assert done.statistics_from == "sat493m, by the name of the repository"


def test_import_checkpoint__fetched_folder_under_a_name_that_misleads(
    hub: HubServer, tmp_path: Path, theirs: Path
):
    (theirs / PREPROCESSOR).write_text("{}")
    hub.add("org/plain", {path.name: path for path in theirs.iterdir()})
    fetch_checkpoint("org/plain", tmp_path / "beside-sat493m", root=tmp_path)
    done = import_checkpoint(tmp_path / "beside-sat493m", tmp_path / "out")
    assert done.statistics_from == "ImageNet (the checkpoint names none)"


@pytest.mark.parametrize("name", [WEIGHTS, PREPROCESSOR])
def test_import_checkpoint__fetched_folder_that_was_changed_is_no_commit(
    tmp_path: Path, fetched: tuple[Path, str], name: str
):
    folder, _ = fetched
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + b"!" if name == WEIGHTS else data + b" ")
    found = import_checkpoint(folder, tmp_path / "out").checkpoint
    assert str(found.imported_from).startswith("Hugging Face, dinov3, sha256 ")


# --- pickled --------------------------------------------------------------------------------


@pytest.fixture
def pickled(theirs: Path) -> Path:
    torch.save(load_file(theirs / WEIGHTS), theirs / "pytorch_model.bin")
    (theirs / WEIGHTS).unlink()
    (theirs / "LICENSE").write_text("text")
    return theirs


@pytest.mark.parametrize("shard_bytes", [10**9, 100_000])
def test_import_checkpoint__pickled_folder(
    tmp_path: Path, pickled: Path, model: Any, shard_bytes: int
):
    from transformers import AutoModel

    done = import_checkpoint(pickled, tmp_path / "out", shard_bytes=shard_bytes)
    assert done.format == "Hugging Face, pickled"
    assert done.kept == ("LICENSE",)
    assert done.checkpoint == read_checkpoint(tmp_path / "out", model=str(tmp_path / "out"))
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()
    origin = read_json(tmp_path / "out" / CONFIG)["imported_from"]
    assert origin == {
        "folder": "theirs", "file": "pytorch_model.bin", "sha256": done.source_sha256,
        "format": done.format,
    }  # fmt: skip
    loaded, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    wanted = model.state_dict()
    assert all(torch.equal(wanted[name], tensor) for name, tensor in loaded.state_dict().items())


def test_import_checkpoint__pickled_weights_are_not_looked_at_where_others_are(
    tmp_path: Path, theirs: Path
):
    (theirs / "pytorch_model.bin").write_bytes(b"whatever")
    import_checkpoint(theirs, tmp_path / "out")
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()


def test_import_checkpoint__pickled_folder_that_holds_code(tmp_path: Path, pickled: Path):
    class Runs:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"x": Runs()}, pickled / "pytorch_model.bin")
    with pytest.raises(
        InvalidCheckpointError, match=r"'theirs/pytorch_model.bin' holds code \('posix.mkdir'\)"
    ):
        import_checkpoint(pickled, tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_import_checkpoint__pickled_weights_of_another_model(tmp_path: Path, pickled: Path):
    change(pickled / CONFIG, num_hidden_layers=3)
    with pytest.raises(InvalidCheckpointError, match="calls for 3 layers, the weights have 2"):
        import_checkpoint(pickled, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_import_checkpoint__pickled_weights_of_another_kind_are_not_even_opened(
    tmp_path: Path, pickled: Path
):
    change(pickled / CONFIG, model_type="vit")
    (pickled / "pytorch_model.bin").write_bytes(b"whatever")
    with pytest.raises(InvalidCheckpointError, match=r"is a 'vit' model; dinov2, .* are supported"):
        import_checkpoint(pickled, tmp_path / "out")


@pytest.mark.parametrize("name", ["pytorch_model-00001-of-00002.bin", "weights.pth"])
def test_import_checkpoint__other_pickled_folders(tmp_path: Path, pickled: Path, name: str):
    (pickled / "pytorch_model.bin").rename(pickled / name)
    (pickled / "a.pt").mkdir()
    with pytest.raises(
        InvalidCheckpointError, match=rf"weights pickled in '{name}', and only a single.*save_pre"
    ):
        import_checkpoint(pickled, tmp_path / "out")


# --- timm, and folders with a file ----------------------------------------------------------


def test_import_checkpoint__folder_of_timm(tmp_path: Path, model: Any):
    folder = tmp_path / "vit_small_patch16_dinov3.lvd1689m"
    folder.mkdir()
    save_file(as_timm_v3(model), folder / WEIGHTS)
    for other in ("pytorch_model.bin", "tuned.pth"):
        (folder / other).write_bytes(b"not the one that timm loads")
    (folder / CONFIG).write_text(json.dumps(TIMM))
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: dinov3-license\n---\n")
    done = import_checkpoint(folder, tmp_path / "out")
    assert done.format == "timm's DINOv3"
    assert (done.checkpoint.mean, done.statistics_from) == ((0.1, 0.2, 0.3), "timm's config.json")
    assert (done.kept, done.checkpoint.licence) == (("README.md",), "dinov3-license")
    file = import_checkpoint(folder / WEIGHTS, tmp_path / "file")
    assert file.checkpoint.files == done.checkpoint.files


@pytest.mark.parametrize("name", ["weights.pth", "weights.PT", "weights.safetensors", "only.bin"])
@pytest.mark.parametrize("config", [None, {"lr": 1}])
def test_import_checkpoint__folder_with_one_file(
    tmp_path: Path, state: State, name: str, config: object
):
    folder = tmp_path / "dinov3-sat493m"
    folder.mkdir()
    if name.endswith(".safetensors"):
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / name)
    else:
        torch.save(state, folder / name)
    if config:
        (folder / CONFIG).write_text(json.dumps(config))
    for other in ("._weights.pth", ".weights.pth", *(["training_args.bin"] * ("only" not in name))):
        (folder / other).write_bytes(b"no weights")
    os.mkfifo(folder / "pipe.pth")
    (folder / "runs.pt").mkdir()
    (folder / "LICENSE.md").write_text("text")
    done = import_checkpoint(folder, tmp_path / "out")
    assert (done.format, done.kept) == ("Meta's DINOv3", ("LICENSE.md",))
    assert done.statistics_from == "sat493m, by the name of the folder"
    origin = read_json(tmp_path / "out" / CONFIG)["imported_from"]
    assert origin["file"] == name


def test_import_checkpoint__folder_with_several_files(tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("b.pth", "a.pt", "c.safetensors"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(
        ConfigError, match=r"'many' has 3 files of weights: a.pt, b.pth, c.safetensors. Name the"
    ):
        import_checkpoint(folder, tmp_path / "out")
    for number in range(9):
        (folder / f"epoch{number}.pth").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"has 12 files .*epoch1.pth, …\. Name"):
        import_checkpoint(folder, tmp_path / "out")


# --- refusals -------------------------------------------------------------------------------


def refusals() -> dict[str, tuple[Callable[[Path], object], type[Exception], str]]:
    def index_only(folder: Path) -> None:
        (folder / CONFIG).unlink()
        (folder / INDEX).write_text("{}")

    def cut(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])

    def link(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / WEIGHTS).symlink_to("nowhere")

    def leads_out(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
        (folder / INDEX).write_text('{"weight_map": {"a": "../outside.safetensors"}}')

    def weightless(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / CONFIG).unlink()

    missing, invalid = CheckpointNotFoundError, InvalidCheckpointError
    return {
        "no weights": (lambda f: (f / WEIGHTS).unlink(), missing, "model.safetensors is missing"),
        "nothing": (weightless, missing, "no weights in the folder 'theirs': a .safetensors or"),
        "no config": (lambda f: (f / CONFIG).unlink(), invalid, "has the names of Hugging Face"),
        "no config, index": (index_only, missing, "and no config.json that says which model it"),
        "truncated": (cut, invalid, "its header announces"),
        "dangling": (link, missing, "model.safetensors is missing"),
        "leads out": (leads_out, invalid, "names the shard '../outside.safetensors'"),
        "index": (lambda f: (f / WEIGHTS).rename(f / INDEX), invalid, "index.json is not JSON"),
        "bad config": (lambda f: (f / CONFIG).write_text("{"), invalid, "config.json is not JSON"),
        "byte order mark": (
            lambda f: (f / CONFIG).write_bytes(b"\xef\xbb\xbf" + (f / CONFIG).read_bytes()),
            invalid,
            "'theirs': config.json begins with a byte order mark, at which transformers stops. Save",
        ),
        "utf-16": (
            lambda f: (f / CONFIG).write_text((f / CONFIG).read_text(), encoding="utf-16"),
            invalid,
            "config.json is not JSON",
        ),
        "list": (lambda f: (f / CONFIG).write_text("[]"), invalid, "config.json holds no JSON obj"),
        "bad preprocessor": (
            lambda f: (f / PREPROCESSOR).write_text("[" * 100_000),
            invalid,
            "preprocessor_config.json is not JSON",
        ),
        "bad statistics": (
            lambda f: change(f / PREPROCESSOR, image_mean=[1]),
            invalid,
            "three numbers each are expected",
        ),
        "other kind": (lambda f: change(f / CONFIG, model_type="vit"), invalid, "is a 'vit' model"),
        "no kind": (lambda f: change(f / CONFIG, model_type=["x"]), invalid, r"is a \['x'\] model"),
        "other layers": (
            lambda f: change(f / CONFIG, num_hidden_layers=3),
            invalid,
            "calls for 3 layers",
        ),
    }


@pytest.mark.parametrize("name", refusals())
def test_import_checkpoint__refused_folder(tmp_path: Path, theirs: Path, name: str):
    spoil, kind, message = refusals()[name]
    spoil(theirs)
    before = contents(theirs) if name != "dangling" else None
    with pytest.raises(kind, match=message):
        import_checkpoint(theirs, tmp_path / "out")
    assert before is None or contents(theirs) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"theirs", "outside.safetensors"}


def test_encode_json__what_can_just_be_read_and_not_written():
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidCheckpointError, match="nests too deeply to be a model's"):
        encode_json({"x": deep})


def test_import_checkpoint__folder_into_itself(tmp_path: Path, theirs: Path):
    (tmp_path / "link").symlink_to(theirs)
    for source in (theirs, tmp_path / "link", theirs / WEIGHTS):
        with pytest.raises(ConfigError, match=r"is or lies in .*Import into another folder"):
            import_checkpoint(source, theirs, replaces=True)
    assert (theirs / WEIGHTS).is_file()


def test_import_checkpoint__folder_that_changes_while_it_is_copied(
    tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
):
    real = shutil.copyfile

    def change_first(path: Path, target: Path) -> object:
        if path.name == WEIGHTS:
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(bytes(data))
        return real(path, target)

    monkeypatch.setattr(imports.shutil, "copyfile", change_first)
    with pytest.raises(InvalidCheckpointError, match=r"model.safetensors changed while it was cop"):
        import_checkpoint(theirs, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


# --- licences -------------------------------------------------------------------------------


def test_import_checkpoint__warns_where_no_licence_came_along(tmp_path: Path, theirs: Path):
    (warning,) = import_checkpoint(theirs, tmp_path / "out").warnings
    assert warning == (
        "no licence text came along with 'theirs'. DINOv3's licence must travel with the weights and "
        "with everything exported from them: put its LICENSE.md into that folder and import again "
        "with --replace."
    )
    make_model("dinov2").save_pretrained(tmp_path / "v2")
    (warning,) = import_checkpoint(tmp_path / "v2", tmp_path / "v2-out").warnings
    assert "Meta published DINOv2 under Apache-2.0" in warning
    assert "DINOv3" not in warning


def test_import_checkpoint__warns_about_files_too(tmp_path: Path, state: State):
    torch.save(state, tmp_path / "w.pth")
    (warning,) = import_checkpoint(tmp_path / "w.pth", tmp_path / "out").warnings
    assert "with 'w.pth'. DINOv3's licence must travel" in warning
    assert "put its LICENSE.md beside the file and import again with --replace" in warning


@pytest.mark.parametrize(
    ("name", "is_enough"),
    [("LICENSE.md", True), ("license.txt", True), ("LICENCE", True), ("License.rst", True),
     ("License", True), ("LICENSE-Meta", True), ("NOTICE", False), ("notes.md", False),
     ("README", False), ("README.md", False), ("readme.md", False)],
)  # fmt: skip
def test_import_checkpoint__papers_that_came_along_are_enough(
    tmp_path: Path, theirs: Path, state: State, name: str, is_enough: bool
):
    (theirs / name).write_text("text")
    torch.save(state, theirs / "w.pth")
    for number, source in enumerate((theirs, theirs / "w.pth")):
        done = import_checkpoint(source, tmp_path / f"out{number}")
        assert (done.warnings == ()) == is_enough
        if is_enough:  # it goes on from here with the weights, wherever these go
            assert name in done.kept
            assert name in {file.name for file in done.checkpoint.files}


@pytest.mark.parametrize(
    ("front", "is_enough"),
    [
        ("license: apache-2.0", True),
        ("license: other\nlicense_name: dinov3-license", True),
        ("license: other", False),
        ("license: unknown", False),
        ("tags: []", False),
    ],
)
@pytest.mark.parametrize("name", ["README.md", "ReadMe.MD"])
def test_import_checkpoint__a_card_is_enough_if_it_names_a_licence(
    tmp_path: Path, theirs: Path, name: str, front: str, is_enough: bool
):
    (theirs / name).write_text(f"---\n{front}\n---\n")
    done = import_checkpoint(theirs, tmp_path / "out")
    assert done.kept == (name,)
    assert (done.warnings == ()) == is_enough


def test_import_checkpoint__papers_among_other_things(tmp_path: Path, state: State):
    """A file may lie where somebody downloads everything to."""
    papers = {"LICENSE.rst", "NOTICE-Meta", "Licence.pdf", "readme.md"}
    for name in (*papers, "licenses.json", "noticeboard.png", "license-plates.pth", "notes.md"):
        (tmp_path / name).write_text("text")
    torch.save(state, tmp_path / "license-free.pth")
    done = import_checkpoint(tmp_path / "license-free.pth", tmp_path / "out")
    assert set(done.kept) == papers
    assert papers <= {file.name for file in done.checkpoint.files}


def test_import_checkpoint__sample_needs_no_licence(tmp_path: Path, checkpoint_dir: Path):
    bare = shutil.copytree(checkpoint_dir, tmp_path / "bare")
    (bare / "README.md").unlink()
    assert import_checkpoint(bare, tmp_path / "out").warnings == ()


def test_import_checkpoint__copying_a_folder_needs_no_torch(tmp_path: Path, theirs: Path):
    """A folder of 26 GB is copied, not loaded; and the command starts in a moment."""
    import subprocess

    code = (
        "import sys; from pathlib import Path; from dino_assets.weights.importing.writing import *\n"
        "import_checkpoint(Path(sys.argv[1]), Path(sys.argv[2])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, theirs, tmp_path / "out"], check=True)
