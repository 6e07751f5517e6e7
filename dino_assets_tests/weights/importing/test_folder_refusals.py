"""Import of folders: layouts, refusals, licences."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dino_assets.errors import CheckpointNotFoundError, ConfigError, InvalidCheckpointError
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import INDEX, PREPROCESSOR, WEIGHTS
from dino_assets.weights.importing.plans import encode_json
from dino_assets.weights.importing.writing import Step, import_checkpoint
from dino_assets_tests.worlds.checkpoint_models import change, contents, read_json
from dino_assets_tests.worlds.original_files import list_papers
from dino_assets_tests.worlds.originals import State, as_timm_v3, make_model
from dino_assets_tests.worlds.raising import raising

TIMM = {"architecture": "vit", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}


def test_import_checkpoint__folder_of_timm(tmp_path: Path, model: Any):
    folder = tmp_path / "vit_small_patch16_dinov3.lvd1689m"
    folder.mkdir()
    save_file(as_timm_v3(model), folder / WEIGHTS)
    for other_name in ("pytorch_model.bin", "tuned.pth"):
        (folder / other_name).write_bytes(b"not the one that timm loads")
    (folder / CONFIG).write_text(json.dumps(TIMM))
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: dinov3-license\n---\n")
    imported = import_checkpoint(folder, tmp_path / "out")
    assert imported.format == "timm's DINOv3"
    assert (imported.checkpoint.mean, imported.checkpoint.statistics_from) == (
        (0.1, 0.2, 0.3),
        "timm's config.json",
    )
    assert list_papers(tmp_path / "out") == ["README.md"]
    assert imported.checkpoint.licence == "dinov3-license"
    imported_file = import_checkpoint(folder / WEIGHTS, tmp_path / "file")
    assert imported_file.checkpoint.files == imported.checkpoint.files


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
    for other_name in (
        "._weights.pth",
        ".weights.pth",
        *(["training_args.bin"] * ("only" not in name)),
    ):
        (folder / other_name).write_bytes(b"no weights")
    os.mkfifo(folder / "pipe.pth")
    (folder / "runs.pt").mkdir()
    (folder / "LICENSE.md").write_text("text")
    imported = import_checkpoint(folder, tmp_path / "out")
    assert (imported.format, list_papers(tmp_path / "out")) == ("Meta's DINOv3", ["LICENSE.md"])
    assert imported.checkpoint.statistics_from == "sat493m, by the name of the folder"
    origin = read_json(tmp_path / "out" / CONFIG)["imported_from"]
    assert origin["file"] == name


def test_import_checkpoint__folder_with_several_files(tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("b.pth", "a.pt", "c.safetensors"):
        (folder / name).write_bytes(b"x")
    with raising(ConfigError, setting="source", value=["a.pt", "b.pth", "c.safetensors"]):
        import_checkpoint(folder, tmp_path / "out")
    for number in range(9):
        (folder / f"epoch{number}.pth").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"has 12 files .*epoch1.pth, …\. Give"):
        import_checkpoint(folder, tmp_path / "out")


Spoil = Callable[[Path], object]


def refusals() -> dict[str, tuple[Spoil, type[Exception], tuple[str, str, str]]]:
    """List changes to a folder, each with the error and its file, key and reason."""

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

    def write_config(text: str, encoding: str = "utf-8") -> Callable[[Path], object]:
        return lambda folder: (folder / CONFIG).write_text(text, encoding=encoding)

    not_found, invalid = CheckpointNotFoundError, InvalidCheckpointError
    bom = "\ufeff{}"
    return {
        "no weights": (lambda f: (f / WEIGHTS).unlink(), not_found, (WEIGHTS, "", "")),
        "nothing": (weightless, not_found, ("theirs", "", "")),
        "no config": (lambda f: (f / CONFIG).unlink(), invalid, (CONFIG, "", "missing")),
        "no config, index": (index_only, not_found, (CONFIG, "", "")),
        "truncated": (cut, invalid, (WEIGHTS, "", "unreadable")),
        "dangling": (link, not_found, (WEIGHTS, "", "")),
        "leads out": (leads_out, invalid, (INDEX, "'../outside.safetensors'", "outside")),
        "index": (
            lambda f: (f / WEIGHTS).rename(f / INDEX), invalid, (INDEX, "", "unreadable"),
        ),
        "bad config": (write_config("{"), invalid, (CONFIG, "", "unreadable")),
        "byte order mark": (write_config(bom), invalid, (CONFIG, "byte order mark", "unreadable")),
        "utf-16": (write_config("{}", "utf-16"), invalid, (CONFIG, "", "unreadable")),
        "list": (write_config("[]"), invalid, (CONFIG, "", "unsupported")),
        "bad preprocessor": (
            lambda f: (f / PREPROCESSOR).write_text("[" * 100_000),
            invalid,
            (PREPROCESSOR, "", "unreadable"),
        ),
        "bad statistics": (
            lambda f: change(f / PREPROCESSOR, image_mean=[1]),
            invalid,
            (PREPROCESSOR, "image_mean, image_std", "impossible"),
        ),
        "other kind": (
            lambda f: change(f / CONFIG, model_type="vit"),
            invalid,
            (CONFIG, "model_type", "unsupported"),
        ),
        "no kind": (
            lambda f: change(f / CONFIG, model_type=["x"]),
            invalid,
            (CONFIG, "model_type", "unsupported"),
        ),
        "other layers": (
            lambda f: change(f / CONFIG, num_hidden_layers=3),
            invalid,
            (CONFIG, "layers", "mismatch"),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", refusals())
def test_import_checkpoint__refused_folder(tmp_path: Path, saved: Path, name: str):
    spoil, kind, (file, key, reason) = refusals()[name]
    spoil(saved)
    before = contents(saved) if name != "dangling" else None
    with raising(kind, file=file, key=key, reason=reason or None):
        import_checkpoint(saved, tmp_path / "out")
    assert before is None or contents(saved) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"theirs", "outside.safetensors"}


def test_encode_json__nested_too_deeply_to_write():
    nested_list: list[Any] = []
    for _ in range(5000):
        nested_list = [nested_list]
    with raising(InvalidCheckpointError, reason="impossible"):
        encode_json({"x": nested_list})


def test_import_checkpoint__folder_into_itself(tmp_path: Path, saved: Path):
    (tmp_path / "link").symlink_to(saved)
    for source in (saved, tmp_path / "link", saved / WEIGHTS):
        with raising(ConfigError, setting="folder", value=str(saved), reason="source"):
            import_checkpoint(source, saved, replaces=True)
    assert (saved / WEIGHTS).is_file()


def test_import_checkpoint__folder_that_changes_while_it_is_copied(tmp_path: Path, saved: Path):
    def change_first(step: Step) -> None:
        if step == "write":
            data = bytearray((saved / WEIGHTS).read_bytes())
            data[-1] ^= 1
            (saved / WEIGHTS).write_bytes(bytes(data))

    with raising(InvalidCheckpointError, file=WEIGHTS, reason="altered"):
        import_checkpoint(saved, tmp_path / "out", on_step=change_first)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_import_checkpoint__warns_about_a_folder_without_licence(tmp_path: Path, saved: Path):
    (warning,) = import_checkpoint(saved, tmp_path / "out").warnings
    assert warning == (
        "'theirs' has no licence text. DINOv3's licence must travel with the weights and "
        "with everything exported from them: put its LICENSE.md into that folder and import again "
        "with --replace."
    )
    make_model("dinov2").save_pretrained(tmp_path / "v2")
    (warning,) = import_checkpoint(tmp_path / "v2", tmp_path / "v2-out").warnings
    assert "Meta published DINOv2 under Apache-2.0" in warning
    assert "DINOv3" not in warning


def test_import_checkpoint__warns_about_a_file_without_licence(tmp_path: Path, state: State):
    torch.save(state, tmp_path / "w.pth")
    (warning,) = import_checkpoint(tmp_path / "w.pth", tmp_path / "out").warnings
    assert "'w.pth' has no licence text. DINOv3's licence must travel" in warning
    assert "put its LICENSE.md beside the file and import again with --replace" in warning


@pytest.mark.parametrize(
    ("name", "is_enough"),
    [("LICENSE.md", True), ("license.txt", True), ("LICENCE", True), ("License.rst", True),
     ("License", True), ("LICENSE-Meta", True), ("NOTICE", False), ("notes.md", False),
     ("README", False), ("README.md", False), ("readme.md", False)],
)  # fmt: skip
def test_import_checkpoint__a_licence_file_is_enough(
    tmp_path: Path, saved: Path, state: State, name: str, is_enough: bool
):
    (saved / name).write_text("text")
    torch.save(state, saved / "w.pth")
    for number, source in enumerate((saved, saved / "w.pth")):
        imported = import_checkpoint(source, tmp_path / f"out{number}")
        assert (imported.warnings == ()) == is_enough
        if is_enough:  # the licence is copied with the weights
            assert name in list_papers(tmp_path / f"out{number}")
            assert name in {file.name for file in imported.checkpoint.files}


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
def test_import_checkpoint__a_card_with_a_licence_is_enough(
    tmp_path: Path, saved: Path, name: str, front: str, is_enough: bool
):
    (saved / name).write_text(f"---\n{front}\n---\n")
    imported = import_checkpoint(saved, tmp_path / "out")
    assert list_papers(tmp_path / "out") == [name]
    assert (imported.warnings == ()) == is_enough


def test_import_checkpoint__copies_only_cards_and_licences(tmp_path: Path, state: State):
    """A file may lie in a folder full of other downloads."""
    papers = {"LICENSE.rst", "NOTICE-Meta", "Licence.pdf", "readme.md"}
    for name in (*papers, "licenses.json", "noticeboard.png", "license-plates.pth", "notes.md"):
        (tmp_path / name).write_text("text")
    torch.save(state, tmp_path / "license-free.pth")
    imported = import_checkpoint(tmp_path / "license-free.pth", tmp_path / "out")
    assert set(list_papers(tmp_path / "out")) == papers
    assert papers <= {file.name for file in imported.checkpoint.files}


def test_import_checkpoint__sample_needs_no_licence(tmp_path: Path, checkpoint_dir: Path):
    folder = shutil.copytree(checkpoint_dir, tmp_path / "bare")
    (folder / "README.md").unlink()
    assert import_checkpoint(folder, tmp_path / "out").warnings == ()


def test_import_checkpoint__copying_a_folder_needs_no_torch(tmp_path: Path, saved: Path):
    """Folders are copied, not loaded, even with 26 GB, and the command starts fast."""
    import subprocess

    code = (
        "import sys; from pathlib import Path; from dino_assets.weights.importing.writing import *\n"
        "import_checkpoint(Path(sys.argv[1]), Path(sys.argv[2])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, saved, tmp_path / "out"], check=True)
