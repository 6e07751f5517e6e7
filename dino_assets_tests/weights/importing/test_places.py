"""Target folders of imports: full disks, replacement in one step, files that must survive."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dino_assets.errors import CheckpointNotFoundError, ConfigError, DiskFullError
from dino_assets.store.folders import exchange_names, publish_folder
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import PREPROCESSOR, WEIGHTS, read_checkpoint
from dino_assets.weights.fetching import fetch_checkpoint
from dino_assets.weights.hub.listings import RECORD
from dino_assets.weights.importing.places import check_old
from dino_assets.weights.importing.writing import Step, import_checkpoint
from dino_assets_tests.worlds.hub_server import HubServer
from dino_assets_tests.worlds.original_files import hash_file
from dino_assets_tests.worlds.originals import as_meta_v3, make_model
from dino_assets_tests.worlds.raising import raising


@pytest.fixture(params=["file", "folder", "pickled"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """About 600 kB of weights."""
    model = make_model("dinov3_vit")
    if request.param == "file":
        torch.save(as_meta_v3(model), tmp_path / "w.pth")
        (tmp_path / "LICENSE.md").write_text("text" * 100)
        return tmp_path / "w.pth"
    model.save_pretrained(tmp_path / "theirs")
    if request.param == "pickled":
        torch.save(load_file(tmp_path / "theirs" / WEIGHTS), tmp_path / "theirs/pytorch_model.bin")
        (tmp_path / "theirs" / WEIGHTS).unlink()
    return tmp_path / "theirs"


def count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("[!.]*"))


def test_disk__too_small_fails_before_writing(small_disk: Path, tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "elsewhere")
    (small_disk / "others").write_bytes(bytes(600_000))
    free_bytes = shutil.disk_usage(small_disk).free
    needed_bytes = count_bytes(tmp_path / "elsewhere")
    with pytest.raises(DiskFullError) as caught:
        import_checkpoint(source, small_disk / "deep" / "out")
    assert str(caught.value) == (
        f"importing '{source.name}' needs {needed_bytes:,} more bytes, and only {free_bytes:,} are free. Free "
        "some space, or give a folder on another disk."
    )
    assert (caught.value.needed_bytes, caught.value.free_bytes) == (needed_bytes, free_bytes)
    assert [path.name for path in small_disk.iterdir()] == ["others"]


@pytest.mark.parametrize("is_there", [False, True])
def test_disk__fills_up_during_the_import(
    small_disk: Path, tmp_path: Path, source: Path, is_there: bool
):
    old_model = make_model("dinov3_vit", layers=1)
    torch.save(as_meta_v3(old_model), tmp_path / "old.pth")
    if is_there:
        import_checkpoint(tmp_path / "old.pth", small_disk / "out")
    (small_disk / "others").touch()
    before = sorted(small_disk.rglob("*"))

    def fill(step: Step) -> None:
        if step == "write":
            (small_disk / "others").write_bytes(bytes(300_000 if is_there else 600_000))

    with raising(
        DiskFullError, errno=errno.ENOSPC, match="the disk became full. The partial"
    ) as caught:
        import_checkpoint(source, small_disk / "out", replaces=True, on_step=fill)
    assert isinstance(caught.value, OSError)
    assert caught.value.needed_bytes > 500_000
    assert sorted(small_disk.rglob("*")) == before
    if is_there:
        assert read_checkpoint(small_disk / "out", model="m").layers == 1
    else:
        (small_disk / "others").unlink()
        import_checkpoint(source, small_disk / "out")


def test_disk__removes_remains_of_a_killed_import_first(small_disk: Path, source: Path):
    leftover = small_disk / ".out.importing-x1"
    leftover.mkdir()
    (leftover / "lock").touch()
    (leftover / "half").write_bytes(bytes(800_000))
    import_checkpoint(source, small_disk / "out")
    assert [path.name for path in small_disk.iterdir()] == ["out"]


@pytest.mark.parametrize("source", ["folder"], indirect=True)
def test_disk__no_room_for_temporary_files(
    small_disk: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(OSError, match="No space"):
        (small_disk / "others").write_bytes(bytes(2 * 2**20))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with raising(DiskFullError, match=r"'theirs' needs a little space .*set TMPDIR"):
        import_checkpoint(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["folder"], indirect=True)
def test_import_checkpoint__places_that_cannot_be_written(
    small_disk: Path, source: Path, tmp_path: Path
):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    sentence = r"importing .* into .* failed: Read-only file system. Check that the source can be"
    with raising(ConfigError, setting="folder", reason="EROFS", match=sentence):
        import_checkpoint(source, small_disk / "out")
    (tmp_path / "file").write_text("x")
    with raising(ConfigError, value=str(tmp_path / "file" / "out"), reason="EEXIST"):
        import_checkpoint(source, tmp_path / "file" / "out")
    with raising(ConfigError, setting="folder", value=str(tmp_path / "file")):
        import_checkpoint(source, tmp_path / "file")
    with raising(ConfigError, setting="folder", value="config.json"):
        import_checkpoint(source, tmp_path / "file", replaces=True)


def test_import_checkpoint__source_without_permission(source: Path):
    if os.geteuid() != 0:
        pytest.skip("becoming somebody else needs root")
    place = Path(tempfile.mkdtemp(prefix="somebody-"))
    try:
        place.chmod(0o777)
        secret = place / source.name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, secret)
        for path in [secret, *secret.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o600)
        os.seteuid(65534)
        try:
            with raising(ConfigError, setting="folder", reason="EACCES"):
                import_checkpoint(secret, place / "out")
        finally:
            os.seteuid(0)
        assert [path.name for path in place.iterdir()] == [secret.name]
    finally:
        shutil.rmtree(place)


# --- replacing ------------------------------------------------------------------------------


def look(folder: Path) -> tuple[str, str] | None:
    """Read origin and weights of a folder; None if it was replaced meanwhile."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # a missing folder fails here
    try:

        def read(name: str) -> bytes:
            with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=handle), "rb") as file:
                return file.read()

        try:
            origin = json.loads(read(CONFIG))["imported_from"]["sha256"]
            return origin, hashlib.sha256(read(WEIGHTS)).hexdigest()
        except FileNotFoundError:
            # Only the old folder may lose its files, after it was replaced.
            assert os.fstat(handle).st_ino != folder.stat().st_ino, (
                "the folder in place is not whole"
            )
            return None
    finally:
        os.close(handle)


def test_import_checkpoint__replaces_in_one_step(tmp_path: Path):
    """A reader always sees a whole folder, the old one or the new one."""
    pairs = {}
    for number in range(2):
        torch.save(as_meta_v3(make_model("dinov3_vit", seed=number)), tmp_path / f"{number}.pth")
        imported = import_checkpoint(tmp_path / f"{number}.pth", tmp_path / str(number))
        pairs[hash_file(tmp_path / f"{number}.pth")] = imported.checkpoint.weights_sha256
    import_checkpoint(tmp_path / "0.pth", tmp_path / "out")
    observations: list[tuple[str, str]] = []
    failures: list[Exception] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            try:
                observation = look(tmp_path / "out")
            except (OSError, AssertionError, LookupError, ValueError) as err:
                failures.append(err)
                return
            if observation:
                observations.append(observation)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(1, 31):
            source = tmp_path / f"{number % 2}.pth"
            import_checkpoint(source, tmp_path / "out", replaces=True)
    finally:
        is_over.set()
        watcher.join()
    assert not failures, failures
    assert dict(observations) == pairs
    assert set(observations) == set(pairs.items())


def test_import_checkpoint__replaced_folder_always_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Deterministic: the folder exists before and after every call that may rename it."""
    torch.save(as_meta_v3(make_model("dinov3_vit")), tmp_path / "w.pth")
    import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    real_rename = Path.rename

    def rename(self: Path, target: Path) -> Any:
        assert self != tmp_path / "out", "the folder was moved away"
        return real_rename(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    finished_folders: list[Path] = []

    def look(step: Step) -> None:
        if step == "publish":
            finished_folders.extend(tmp_path.glob(".out.importing-*/out"))  # on the same disk

    before = (tmp_path / "out").stat().st_ino
    import_checkpoint(tmp_path / "w.pth", tmp_path / "out", replaces=True, on_step=look)
    assert (tmp_path / "out").stat().st_ino != before
    assert len(finished_folders) == 1


def put(folder: Path, name: str) -> None:
    """Make a file, or for a name with a slash at the end a folder with a file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("/"):
        path.mkdir()
        path = path / "precious"
    path.write_text("precious")


def contents(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in paths
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An imported checkpoint, and its source beside it."""
    torch.save(as_meta_v3(make_model("dinov3_vit")), tmp_path / "w.pth")
    (tmp_path / "LICENSE.rst").write_text("text")
    import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    return tmp_path / "out"


USERS_FILES = ["notes.txt", "head.pt", ".git/", "data/", "runs/", ".env", ".cache/", "dagster.yaml"]


@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("name", USERS_FILES)
def test_import_checkpoint__replaces_nothing_that_would_be_lost(
    out: Path, name: str, is_recorded: bool
):
    if not is_recorded:
        (out / RECORD).unlink()
    put(out, name)
    before = contents(out)
    with raising(ConfigError, setting="folder", value=name.rstrip("/")):
        import_checkpoint(out.parent / "w.pth", out, replaces=True)
    assert contents(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["LICENSE.rst", "out", "w.pth"]


@pytest.mark.parametrize("name", ["adapter.safetensors", "NOTICE", "generation_config.json"])
def test_import_checkpoint__with_a_record_only_its_files_may_be_replaced(out: Path, name: str):
    put(out, name)
    with raising(ConfigError, setting="folder", value=name):
        import_checkpoint(out.parent / "w.pth", out, replaces=True)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_import_checkpoint__replaces_a_checkpoint_and_litter(out: Path, is_recorded: bool):
    names = [".DS_Store", "._config.json", ".gitattributes", ".cache/huggingface/x"]
    if not is_recorded:
        (out / RECORD).unlink()
        names += ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "README",
                  "processor_config.json", "generation_config.json", "License-Meta", "readme.md"]  # fmt: skip
    for name in names:
        put(out, name)
    import_checkpoint(out.parent / "w.pth", out, statistics="sat493m", replaces=True)
    assert read_checkpoint(out, model="m").statistics_from == "sat493m, as asked"
    assert not any((out / name).exists() for name in names)


def test_import_checkpoint__replaces_what_was_fetched(out: Path, hub: HubServer):
    hub.add("org/x", {path.name: path for path in out.glob("[!.]*")})
    fetch_checkpoint("org/x", out.parent / "dinov3", root=out.parent)
    import_checkpoint(out.parent / "w.pth", out.parent / "dinov3", replaces=True)
    assert read_checkpoint(out.parent / "dinov3", model="m").imported_from


@pytest.mark.parametrize("is_replaced", [True, False])
@pytest.mark.parametrize("at", [".", "sub/deep"])
def test_import_checkpoint__refuses_the_current_folder(
    out: Path, monkeypatch: pytest.MonkeyPatch, at: str, is_replaced: bool
):
    current_folder = out if is_replaced else out.parent / "empty"
    (out.parent / "empty").mkdir()
    (current_folder / at).mkdir(parents=True, exist_ok=True)
    before = contents(current_folder)
    monkeypatch.chdir(current_folder / at)
    with raising(ConfigError, setting="folder", value=str(current_folder), reason="project"):
        import_checkpoint(out.parent / "w.pth", current_folder, replaces=True)
    assert contents(current_folder) == before


def test_import_checkpoint__refuses_the_projects_folder(out: Path, monkeypatch: pytest.MonkeyPatch):
    """The project's folder also has a config.json."""
    (out / "dagster.yaml").touch()
    (out / "models").mkdir()
    monkeypatch.chdir(out / "models")
    with raising(ConfigError, setting="folder", value=str(out), reason="project"):
        import_checkpoint(Path("../../w.pth"), out, replaces=True)
    assert (out / "models").is_dir()


@pytest.mark.parametrize("replaces", [True, False])
def test_import_checkpoint__keeps_files_that_appear_meanwhile(out: Path, replaces: bool):
    """A second import into the same new folder, or a user's notes in an older one."""
    target = out if replaces else out.parent / "new"

    def meanwhile(step: Step) -> None:
        if step == "check":
            if not replaces:
                shutil.copytree(out, target)
            (target / "notes.txt").write_text("mine")

    with raising(ConfigError, setting="folder", reason="loss" if replaces else "exists"):
        import_checkpoint(
            out.parent / "w.pth",
            target,
            statistics="sat493m",
            replaces=replaces,
            on_step=meanwhile,
        )
    assert (target / PREPROCESSOR).read_bytes() == (out / PREPROCESSOR).read_bytes()
    assert (target / "notes.txt").read_text() == "mine"
    assert not list(out.parent.glob(".*"))


def test_check_old__keeps_files_that_appear_before_the_exchange(out: Path):
    import_checkpoint(out.parent / "w.pth", out.parent / "new", statistics="sat493m")
    before = contents(out)

    def late(new: Path, folder: Path) -> bool:
        if not (new / "notes.txt").exists():
            (folder / "notes.txt").write_text("mine")
        return exchange_names(new, folder)

    check = partial(check_old, out, replaces=True)
    with raising(ConfigError, setting="folder", value="notes.txt"):
        publish_folder(out.parent / "new", out, check_old=check, exchange=late)
    assert contents(out) == before | {"notes.txt": b"mine"}


@pytest.mark.parametrize("text", ["~nosuchuser/x", "x" * 300, "a\0b", "a\ud800b"])
def test_import_checkpoint__invalid_paths(tmp_path: Path, text: str):
    for source, folder in ((Path(text), tmp_path / "out"), (tmp_path / "w.pth", Path(text))):
        with raising(ConfigError, reason="path"):
            import_checkpoint(source, folder)


def test_import_checkpoint__links_in_circles(tmp_path: Path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "w.pth").write_bytes(b"x")
    with raising(ConfigError, reason="path"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "loop" / "out")
    with raising(CheckpointNotFoundError, file="loop"):
        import_checkpoint(tmp_path / "loop", tmp_path / "out")


KILLED_SCRIPT = """
import os, signal, sys
from pathlib import Path
import dino_assets.store.folders as folders
from dino_assets.weights.importing.writing import import_checkpoint

rename = Path.rename

def die(self, target):
    if ".importing-" in self.parent.name and not target.exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

Path.rename = die
folders.publish_folder.__kwdefaults__["exchange"] = lambda new, folder: False
import_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]), replaces=True)
"""


def test_import_checkpoint__killed_between_two_renames(tmp_path: Path):
    """Without atomic exchange a kill may leave the old folder in the workplace; it is restored."""
    torch.save(as_meta_v3(make_model("dinov3_vit")), tmp_path / "w.pth")
    before = import_checkpoint(
        tmp_path / "w.pth", tmp_path / "out", statistics="sat493m"
    ).checkpoint
    process = subprocess.run(
        [sys.executable, "-c", KILLED_SCRIPT, tmp_path / "w.pth", tmp_path / "out"], check=False
    )
    assert process.returncode == -9
    assert not (tmp_path / "out").exists()
    with raising(ConfigError, setting="folder", value=str(tmp_path / "out")):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "w.pth"]
