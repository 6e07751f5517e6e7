"""Refused imports: code, damage, existing folders; interrupted and concurrent imports."""

import argparse
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from dino_assets.errors import (
    CheckpointNotFoundError,
    ConfigError,
    InvalidCheckpointError,
)
from dino_assets.weights.checkpoint import WEIGHTS, read_checkpoint
from dino_assets.weights.conversion.recognition import Piece
from dino_assets.weights.importing.folders import open_plan
from dino_assets.weights.importing.writing import (
    SHARD_BYTES,
    Step,
    import_checkpoint,
    write_shard,
)
from dino_assets_tests.worlds.original_files import SAT, write
from dino_assets_tests.worlds.originals import (
    State,
    as_timm_v3,
    make_model,
)
from dino_assets_tests.worlds.raising import raising


class Runs:
    """An object whose unpickling makes a file."""

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
    sentence = (
        r"^'w.pth' holds code \('posix.mkdir'\) that would run on loading, so it was not loaded. If"
    )
    # torch's own text advises to turn weights_only off.
    with raising(
        InvalidCheckpointError,
        key="posix.mkdir",
        reason="code",
        match=sentence,
        hides="weights_only",
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
    with raising(InvalidCheckpointError, file="w.pth", key=what, reason="code"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")


def test_import_checkpoint__bare_pickle_with_code(tmp_path: Path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Runs(tmp_path / "ran"), protocol=2))
    with raising(InvalidCheckpointError, file="w.pt"):
        import_checkpoint(tmp_path / "w.pt", tmp_path / "out")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_import_checkpoint__truncated(tmp_path: Path, state: State, suffix: str, share: float):
    path = write(tmp_path / f"w.{suffix}", state)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with raising(InvalidCheckpointError, file=path.name, reason="unreadable"):
        import_checkpoint(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_import_checkpoint__flipped_bit_in_a_pickle(source: Path, tmp_path: Path):
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1  # inside a weight: torch itself does not detect it
    source.write_bytes(bytes(data))
    with raising(InvalidCheckpointError, file=source.name, reason="unreadable"):
        import_checkpoint(source, tmp_path / "out")


def test_import_checkpoint__compressed_archive(source: Path, tmp_path: Path):
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with raising(
        InvalidCheckpointError,
        file="w.pth",
        reason="unreadable",
        match=r"^'w.pth' is not a whole PyTorch checkpoint \('.*' in it has a wrong checksum, or is "
        r"compressed\). Fetch or copy it again.",
    ):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")


def test_import_checkpoint__wrong_hash_in_the_name(tmp_path: Path, state: State):
    misnamed_file = write(tmp_path / "dinov3_vits16_pretrain_lvd1689m-08c60483.pth", state)
    with raising(InvalidCheckpointError, file=misnamed_file.name, reason="altered"):
        import_checkpoint(misnamed_file, tmp_path / "out")
    import hashlib

    digest = hashlib.sha256(misnamed_file.read_bytes()).hexdigest()[:8]
    renamed_file = misnamed_file.rename(tmp_path / f"dinov3_vits16_pretrain_lvd1689m-{digest}.pth")
    assert f"sha256 {digest}" in str(import_checkpoint(renamed_file, tmp_path / "out").checkpoint)


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        ([torch.ones(1)], ""),
        ({}, ""),
        (torch.ones(3), ""),
        ({"epoch": 3}, "epoch"),
        ({3: torch.ones(1)}, "3"),
        ({"model": {"a": {"b": torch.ones(1)}}}, "a"),
    ],
)
def test_import_checkpoint__no_tensors(tmp_path: Path, tree: Any, key: str):
    torch.save(tree, tmp_path / "w.pth")
    with raising(InvalidCheckpointError, file="w.pth", key=key, reason="unsupported"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")


def test_import_checkpoint__no_file(tmp_path: Path):
    with raising(CheckpointNotFoundError, file="w.pth"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    os.mkfifo(tmp_path / "w.safetensors")
    with raising(CheckpointNotFoundError, file="w.safetensors"):
        import_checkpoint(tmp_path / "w.safetensors", tmp_path / "out")


def test_import_checkpoint__unknown_suffix(tmp_path: Path):
    (tmp_path / "w.onnx").write_bytes(b"x")
    with raising(InvalidCheckpointError, file="w.onnx", reason="unsupported"):
        import_checkpoint(tmp_path / "w.onnx", tmp_path / "out")


def test_import_checkpoint__quantised(tmp_path: Path, state: State):
    quantised_state = state | {"norm.weight": torch.ones(64, dtype=torch.int8)}
    for suffix in ("pth", "safetensors"):
        with raising(InvalidCheckpointError, key="norm.weight", reason="unsupported"):
            import_checkpoint(write(tmp_path / f"w.{suffix}", quantised_state), tmp_path / "out")


def test_import_checkpoint__blocks_numbered_twice(tmp_path: Path, state: State):
    doubled_state = state | {"blocks.0.1.norm1.bias": torch.ones(64)}
    with raising(InvalidCheckpointError, file="w.pth", key="blocks", reason="mismatch"):
        import_checkpoint(write(tmp_path / "w.pth", doubled_state), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("blocks.1.attn.qkv.bias_mask", torch.ones(192)),
        ("blocks.1.attn.qkv.bias_mask", torch.full((192,), torch.nan)),
        ("rope_embed.periods", torch.arange(16.0)),
    ],
)
def test_import_checkpoint__values_that_would_change_the_outputs(
    tmp_path: Path, state: State, name: str, values: torch.Tensor
):
    with raising(InvalidCheckpointError, key=name, reason="unsupported"):
        import_checkpoint(write(tmp_path / "w.pth", state | {name: values}), tmp_path / "out")


def test_import_checkpoint__periods_in_bfloat16(tmp_path: Path, state: State):
    periods = state["rope_embed.periods"].to(torch.bfloat16)
    import_checkpoint(
        write(tmp_path / "w.pth", state | {"rope_embed.periods": periods}), tmp_path / "out"
    )


def test_import_checkpoint__refuses_an_existing_folder(tmp_path: Path, source: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with raising(ConfigError, value=str(tmp_path / "out"), reason="exists"):
        import_checkpoint(source, tmp_path / "out")
    with raising(ConfigError, value="config.json", reason="no-checkpoint"):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_import_checkpoint__empty_folder_is_used(tmp_path: Path, source: Path):
    (tmp_path / "out").mkdir()
    import_checkpoint(source, tmp_path / "out")
    assert (tmp_path / "out" / WEIGHTS).is_file()


def test_import_checkpoint__other_users_can_read_it(tmp_path: Path, source: Path):
    (tmp_path / "plain").mkdir()
    import_checkpoint(source, tmp_path / "deep" / "in" / "out")
    mode = (tmp_path / "deep" / "in" / "out").stat().st_mode
    assert mode == (tmp_path / "plain").stat().st_mode


def test_import_checkpoint__replaces_when_asked(tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "out")
    with raising(ConfigError, reason="exists", match="exists already. Nothing was changed. Give a"):
        import_checkpoint(source, tmp_path / "out")
    imported = import_checkpoint(source, tmp_path / "out", statistics="sat493m", replaces=True)
    assert imported.checkpoint.mean == SAT[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_import_checkpoint__folder_that_is_a_link(tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "real")
    (tmp_path / "out").symlink_to("real")
    for target in ("real", "in", "nothing"):
        (tmp_path / "out").unlink()
        (tmp_path / "out").symlink_to(target)
        with raising(ConfigError, value=str(tmp_path / "out"), reason="link"):
            import_checkpoint(source, tmp_path / "out", replaces=True)
    for name in (".", "..", "/"):
        with raising(ConfigError, reason="link"):
            import_checkpoint(source, Path(name), replaces=True)


def test_import_checkpoint__source_inside_the_folder(tmp_path: Path, source: Path):
    with raising(ConfigError, value=str(source.parent), reason="source"):
        import_checkpoint(source, source.parent, replaces=True)
    assert source.is_file()


def test_import_checkpoint__refusal_keeps_the_old_checkpoint(tmp_path: Path, source: Path):
    before = import_checkpoint(source, tmp_path / "out").checkpoint
    source.write_bytes(source.read_bytes()[:-1000])
    with pytest.raises(InvalidCheckpointError):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == before


class InterruptionError(BaseException):
    """An interruption that is not an Exception, like Ctrl-C or a cancelled run."""


@pytest.mark.parametrize("at", get_args(Step))
@pytest.mark.parametrize("is_there", [False, True])
def test_import_checkpoint__interrupted(tmp_path: Path, source: Path, at: Step, is_there: bool):
    before = import_checkpoint(source, tmp_path / "out").checkpoint if is_there else None

    def interrupt(step: Step) -> None:
        if step == at:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        import_checkpoint(source, tmp_path / "out", replaces=True, on_step=interrupt)
    assert sorted(p.name for p in tmp_path.iterdir()) == (["in", "out"] if is_there else ["in"])
    if before:
        assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == before


def test_import_checkpoint__last_rename_fails(tmp_path: Path, source: Path, small_disk: Path):
    """A mount point can be written, but not replaced by another folder."""
    import_checkpoint(source, tmp_path / "out")
    shutil.copytree(tmp_path / "out", small_disk, dirs_exist_ok=True)
    before = read_checkpoint(small_disk, model="m")
    with raising(ConfigError, setting="folder", value=str(small_disk), reason="EBUSY"):
        import_checkpoint(source, small_disk, replaces=True)
    assert read_checkpoint(small_disk, model="m") == before
    assert not list(small_disk.parent.glob(f".{small_disk.name}.*"))


KILLED_SCRIPT = """
import os, signal, sys
from pathlib import Path
from dino_assets.weights.importing.writing import import_checkpoint

def die(step):
    if step == "check":
        os.kill(os.getpid(), signal.SIGKILL)

import_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]), on_step=die)
"""


def test_import_checkpoint__removes_the_remains_of_a_killed_import(tmp_path: Path, source: Path):
    out = tmp_path / "out"
    process = subprocess.run([sys.executable, "-c", KILLED_SCRIPT, source, out], check=False)
    assert process.returncode == -9
    assert not out.exists()
    (leftover,) = tmp_path.glob(".out.importing-*")
    assert (leftover / "out" / WEIGHTS).is_file()
    import_checkpoint(source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_import_checkpoint__does_not_disturb_a_concurrent_import(tmp_path: Path, source: Path):
    """The slower of two imports keeps the checkpoint of the faster."""

    def let_another_in(step: Step) -> None:
        if step == "check":
            import_checkpoint(source, tmp_path / "out", statistics="sat493m")

    with raising(ConfigError, value=str(tmp_path / "out"), reason="exists"):
        import_checkpoint(source, tmp_path / "out", on_step=let_another_in)
    checkpoint = read_checkpoint(tmp_path / "out", model="m")
    assert checkpoint.mean == SAT[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_write_shard__holds_one_tensor_at_a_time(tmp_path: Path):
    """Every tensor is freed before the next is read."""
    import weakref

    path = write(tmp_path / "w.safetensors", as_timm_v3(make_model("dinov3_vit")))
    tensor_refs: list[Any] = []
    max_alive = 0
    with open_plan(path, asked=None, shard_bytes=SHARD_BYTES) as plan:
        assert plan.weights
        make = plan.weights.make

        def count(piece: Piece) -> torch.Tensor:
            nonlocal max_alive
            max_alive = max(max_alive, sum(ref() is not None for ref in tensor_refs))
            tensor = make(piece)
            tensor_refs.append(weakref.ref(tensor))
            return tensor

        for shard in plan.weights.shards:
            write_shard(tmp_path / shard.name, shard, count)
    assert len(tensor_refs) > 20
    assert max_alive <= 1
