"""Writing refusals."""

import argparse
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import dino_assets.store.folders as folders
import dino_assets.weights.importing.plans as import_plans
import dino_assets.weights.importing.writing as imports
from dino_assets.errors import (
    CheckpointNotFoundError,
    ConfigError,
    InvalidCheckpointError,
)
from dino_assets.weights.checkpoint import WEIGHTS, read_checkpoint
from dino_assets.weights.importing.writing import import_checkpoint
from dino_assets_tests.worlds.original_files import SAT, write
from dino_assets_tests.worlds.originals import (
    State,
    as_timm_v3,
    make_model,
)


class Runs:
    """Unpickling it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("is_zip", [True, False])
def test_import_checkpoint__code_in_a_pickle(tmp_path: Path, state: State, is_zip: bool):
    target = tmp_path / "ran"
    torch.save(
        state | {"x": Runs(target)}, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip
    )
    with pytest.raises(
        InvalidCheckpointError, match=r"'w.pth' holds code \('posix.mkdir'\).*state"
    ):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda state: {"model": state, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        (lambda state: torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_import_checkpoint__objects_in_a_pickle(
    tmp_path: Path, state: State, make: Callable[[State], Any], what: str
):
    torch.save(make(state), tmp_path / "w.pth")
    with pytest.raises(InvalidCheckpointError, match=rf"holds code \('{what}'\), which loading"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")


def test_import_checkpoint__bare_pickle_with_code(tmp_path: Path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Runs(tmp_path / "ran"), protocol=2))
    with pytest.raises(InvalidCheckpointError, match=r"'w\.pt' "):
        import_checkpoint(tmp_path / "w.pt", tmp_path / "out")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_import_checkpoint__truncated(tmp_path: Path, state: State, suffix: str, kept: float):
    path = write(tmp_path / f"w.{suffix}", state)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(InvalidCheckpointError, match=r"Fetch or copy it again|fetch or copy it"):
        import_checkpoint(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_import_checkpoint__flipped_bit_in_a_pickle(source: Path, tmp_path: Path):
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1  # in the middle of a weight: torch itself would not notice
    source.write_bytes(bytes(data))
    with pytest.raises(InvalidCheckpointError, match="does not have its checksum"):
        import_checkpoint(source, tmp_path / "out")


def test_import_checkpoint__compressed_archive(source: Path, tmp_path: Path):
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(InvalidCheckpointError, match="or is compressed"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")


def test_import_checkpoint__wrong_hash_in_the_name(tmp_path: Path, state: State):
    wrong = write(tmp_path / "dinov3_vits16_pretrain_lvd1689m-08c60483.pth", state)
    with pytest.raises(InvalidCheckpointError, match=r"sha256 that begins with 08c60483, and has"):
        import_checkpoint(wrong, tmp_path / "out")
    import hashlib

    right = hashlib.sha256(wrong.read_bytes()).hexdigest()[:8]
    renamed = wrong.rename(tmp_path / f"dinov3_vits16_pretrain_lvd1689m-{right}.pth")
    assert import_checkpoint(renamed, tmp_path / "out").source_sha256.startswith(right)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([torch.ones(1)], "holds a list, not named tensors"),
        ({}, "holds a dict, not named tensors"),
        (torch.ones(3), "holds a Tensor, not named tensors"),
        ({"epoch": 3}, "'epoch' is a int; named tensors are expected"),
        ({3: torch.ones(1)}, "3 is a Tensor; named tensors"),
        ({"model": {"a": {"b": torch.ones(1)}}}, "'a' is a dict; named tensors"),
    ],
)
def test_import_checkpoint__no_tensors(tmp_path: Path, tree: Any, message: str):
    torch.save(tree, tmp_path / "w.pth")
    with pytest.raises(InvalidCheckpointError, match=message):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")


def test_import_checkpoint__no_file(tmp_path: Path):
    with pytest.raises(CheckpointNotFoundError, match=r"no file 'w\.pth'. Name the file"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    os.mkfifo(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointNotFoundError, match=r"no file 'w\.safetensors'. Name the file"):
        import_checkpoint(tmp_path / "w.safetensors", tmp_path / "out")


def test_import_checkpoint__unknown_suffix(tmp_path: Path):
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(InvalidCheckpointError, match=r"is a '.onnx' file; .safetensors or .pth"):
        import_checkpoint(tmp_path / "w.onnx", tmp_path / "out")


def test_import_checkpoint__quantised(tmp_path: Path, state: State):
    worse = state | {"norm.weight": torch.ones(64, dtype=torch.int8)}
    for suffix in ("pth", "safetensors"):
        with pytest.raises(InvalidCheckpointError, match=r"'norm.weight' is .*, bfloat16 can be"):
            import_checkpoint(write(tmp_path / f"w.{suffix}", worse), tmp_path / "out")


def test_import_checkpoint__blocks_numbered_twice(tmp_path: Path, state: State):
    twice = state | {"blocks.0.1.norm1.bias": torch.ones(64)}
    with pytest.raises(InvalidCheckpointError, match="blocks that are numbered twice"):
        import_checkpoint(write(tmp_path / "w.pth", twice), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("blocks.1.attn.qkv.bias_mask", torch.ones(192), "does not mask the bias of k, and only"),
        ("blocks.1.attn.qkv.bias_mask", torch.full((192,), torch.nan), "does not mask the bias"),
        ("rope_embed.periods", torch.arange(16.0), "not the rotary periods of base 100"),
    ],
)
def test_import_checkpoint__values_that_would_change_the_outputs(
    tmp_path: Path, state: State, name: str, values: torch.Tensor, message: str
):
    with pytest.raises(InvalidCheckpointError, match=f"the values of '{name}' .*{message}"):
        import_checkpoint(write(tmp_path / "w.pth", state | {name: values}), tmp_path / "out")


def test_import_checkpoint__periods_in_bfloat16(tmp_path: Path, state: State):
    periods = state["rope_embed.periods"].to(torch.bfloat16)
    import_checkpoint(
        write(tmp_path / "w.pth", state | {"rope_embed.periods": periods}), tmp_path / "out"
    )


def test_import_checkpoint__existing_folder_is_left_alone(tmp_path: Path, source: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="is there already and was left alone"):
        import_checkpoint(source, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"does not look like a checkpoint .*was not replaced"):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_import_checkpoint__empty_folder_is_used(tmp_path: Path, source: Path):
    (tmp_path / "out").mkdir()
    import_checkpoint(source, tmp_path / "out")
    assert (tmp_path / "out" / WEIGHTS).is_file()


def test_import_checkpoint__others_may_read_it(tmp_path: Path, source: Path):
    (tmp_path / "plain").mkdir()
    import_checkpoint(source, tmp_path / "deep" / "in" / "out")
    found = (tmp_path / "deep" / "in" / "out").stat().st_mode
    assert found == (tmp_path / "plain").stat().st_mode


def test_import_checkpoint__replaces_when_asked(tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "out")
    with pytest.raises(ConfigError, match="left alone"):
        import_checkpoint(source, tmp_path / "out")
    done = import_checkpoint(source, tmp_path / "out", statistics="sat493m", replaces=True)
    assert done.checkpoint.mean == SAT[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_import_checkpoint__folder_that_is_a_link(tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "real")
    (tmp_path / "out").symlink_to("real")
    for target in ("real", "in", "nothing"):
        (tmp_path / "out").unlink()
        (tmp_path / "out").symlink_to(target)
        with pytest.raises(ConfigError, match="is a link or has no name of its own"):
            import_checkpoint(source, tmp_path / "out", replaces=True)
    for name in (".", "..", "/"):
        with pytest.raises(ConfigError, match="is a link or has no name of its own"):
            import_checkpoint(source, Path(name), replaces=True)


def test_import_checkpoint__source_inside_the_folder(tmp_path: Path, source: Path):
    with pytest.raises(ConfigError, match=r"lies in .*Import into another folder"):
        import_checkpoint(source, source.parent, replaces=True)
    assert source.is_file()


def test_import_checkpoint__refusal_leaves_the_old_one(tmp_path: Path, source: Path):
    before = import_checkpoint(source, tmp_path / "out").checkpoint
    source.write_bytes(source.read_bytes()[:-1000])
    with pytest.raises(InvalidCheckpointError):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == before


class InterruptionError(BaseException):
    """Like Ctrl-C or a cancelled run: no Exception."""


@pytest.mark.parametrize("place", ["_write", "_write_shard", "read_checkpoint", "publish_folder"])
@pytest.mark.parametrize("is_there", [False, True])
def test_import_checkpoint__interrupted(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, place: str, is_there: bool
):
    before = import_checkpoint(source, tmp_path / "out").checkpoint if is_there else None

    def interrupt(*args: object, **kwargs: object) -> None:
        raise InterruptionError

    monkeypatch.setattr(imports, place, interrupt)
    with pytest.raises(InterruptionError):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == (["in", "out"] if is_there else ["in"])
    if before:
        assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == before


def test_import_checkpoint__last_rename_fails(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
):
    before = import_checkpoint(source, tmp_path / "out").checkpoint
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".out.importing-") and self.name == "out":
            raise OSError("no more today")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    monkeypatch.setattr(folders, "exchange_names", lambda new, folder: False)  # as on NFS
    with pytest.raises(ConfigError, match=r"cannot be imported into .*no more today"):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


KILLED = """
import os, signal, sys
from pathlib import Path
import dino_assets.weights.importing.writing as imports

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

imports.read_checkpoint = die
imports.import_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_import_checkpoint__killed_leaves_what_the_next_one_clears_away(
    tmp_path: Path, source: Path
):
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, source, out], check=False)
    assert done.returncode == -9
    assert not out.exists()
    (left,) = tmp_path.glob(".out.importing-*")
    assert (left / "out" / WEIGHTS).is_file()
    import_checkpoint(source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_import_checkpoint__other_import_at_work_is_not_disturbed(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
):
    """The slower of two leaves the checkpoint of the faster alone."""
    real = imports.read_checkpoint

    def let_another_in(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(imports, "read_checkpoint", real)
        import_checkpoint(source, tmp_path / "out", statistics="sat493m")
        return real(*args, **kwargs)

    monkeypatch.setattr(imports, "read_checkpoint", let_another_in)
    with pytest.raises(ConfigError, match="is there already and was left alone"):
        import_checkpoint(source, tmp_path / "out")
    found = read_checkpoint(tmp_path / "out", model="m")
    assert found.mean == SAT[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_import_checkpoint__memory_is_one_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every tensor is gone before the next is read."""
    import weakref

    path = write(tmp_path / "w.safetensors", as_timm_v3(make_model("dinov3_vit")))
    alive: list[Any] = []
    most = 0
    real = import_plans.convert

    def count(*args: Any) -> torch.Tensor:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        tensor = real(*args)
        alive.append(weakref.ref(tensor))
        return tensor

    monkeypatch.setattr(import_plans, "convert", count)
    import_checkpoint(path, tmp_path / "out")
    assert len(alive) > 20
    assert most <= 1


def test_import_checkpoint__text_of_the_error_has_no_foreign_advice(tmp_path: Path):
    torch.save({"x": Runs(tmp_path / "ran")}, sink := io.BytesIO())
    (tmp_path / "w.pth").write_bytes(sink.getvalue())
    with pytest.raises(InvalidCheckpointError) as caught:
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    assert "weights_only" not in str(caught.value)  # torch's text advises to turn it off
