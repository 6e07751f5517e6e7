"""Atomic replacement of folders, free disk space, and the lock on a folder that is being filled."""

import contextlib
import errno
import fcntl
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from dino_assets.errors import DiskFullError
from dino_assets.store.folders import check_room, exchange_names, publish_folder, write_small
from dino_assets.weights.hub.filling import hold_workplace
from dino_assets_tests.worlds.raising import raising


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def cannot_exchange(new: Path, folder: Path) -> bool:
    """Behave like a file system that cannot swap two names in one step."""
    return False


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture(params=["exchange", "two renames"])
def exchange(request: pytest.FixtureRequest) -> Callable[[Path, Path], bool]:
    """Both ways to exchange two folders: some file systems do not support the first."""
    return exchange_names if request.param == "exchange" else cannot_exchange


def test_publish_folder__to_a_free_path(tmp_path, exchange):
    publish_folder(
        write(tmp_path / "new", a="1"), tmp_path / "deep" / "down" / "folder", exchange=exchange
    )
    assert read(tmp_path / "deep" / "down" / "folder") == {"a": "1"}
    assert not (tmp_path / "new").exists()


def test_publish_folder__over_an_empty_folder(tmp_path, exchange):
    (tmp_path / "folder").mkdir()
    publish_folder(write(tmp_path / "new", a="1"), tmp_path / "folder", exchange=exchange)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert read(tmp_path / "folder") == {"a": "1"}


def test_publish_folder__replaces_an_older_folder(tmp_path, exchange):
    write(tmp_path / "folder", a="old", b="old")
    publish_folder(write(tmp_path / "new", a="new"), tmp_path / "folder", exchange=exchange)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert read(tmp_path / "folder") == {"a": "new"}


def test_publish_folder__reader_always_sees_a_whole_folder(tmp_path):
    """A thread reads all the time; the file system here must support the exchange."""
    folder = write(tmp_path / "folder", a="0", b="0")
    is_over = threading.Event()
    faults: list[str] = []
    looks = 0

    def look() -> None:
        nonlocal looks
        while not is_over.is_set():
            try:
                a_before, b_between, a_after = ((folder / n).read_text() for n in ("a", "b", "a"))
            except OSError as err:
                faults.append(str(err))
            else:
                looks += 1
                if a_before == a_after != b_between:
                    faults.append(f"{a_before} {b_between} {a_after}")

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(1, 150):
            publish_folder(write(tmp_path / "new", a=str(number), b=str(number)), folder)
    finally:
        is_over.set()
        reader.join()
    assert faults == []
    assert looks > 0


def test_publish_folder__failed_second_rename_restores_the_older_folder(tmp_path):
    folder = write(tmp_path / "folder", a="old")
    new_folder = write(tmp_path / "new", a="new")

    def lose_the_new_one(new: Path, folder: Path) -> bool:
        new.rename(tmp_path / "lost")
        return False

    with raising(FileNotFoundError, filename=str(new_folder)):
        publish_folder(new_folder, folder, exchange=lose_the_new_one)
    assert read(folder) == {"a": "old"}
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "lost"}


def test_exchange_names__swaps_two_folders(tmp_path):
    first_folder, second_folder = write(tmp_path / "one", a="1"), write(tmp_path / "two", a="2")
    assert exchange_names(first_folder, second_folder)
    assert (read(first_folder), read(second_folder)) == ({"a": "2"}, {"a": "1"})
    with raising(FileNotFoundError, filename=str(tmp_path / "gone")):
        exchange_names(first_folder, tmp_path / "gone")


def test_write_small__replaces_in_one_step(tmp_path):
    write_small(tmp_path / "new" / "file", b"1")
    with (tmp_path / "new" / "file").open("rb") as old_file:
        write_small(tmp_path / "new" / "file", b"22")
        assert old_file.read() == b"1"  # another file, not the same one rewritten
    assert read(tmp_path / "new") == {"file": "22"}


def test_check_room__names_needed_and_free_bytes(tmp_path):
    check_room(tmp_path, 1, what="a model", advice="Free some.")
    with pytest.raises(
        DiskFullError, match=r"a model needs 1,000,000,000,000,000 more bytes, and only .* Free"
    ) as caught:
        check_room(tmp_path, 10**15, what="a model", advice="Free some.")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.needed_bytes == 10**15 > caught.value.free_bytes > 0


def test_check_room__exactly_enough(tmp_path):
    check = partial(
        check_room,
        tmp_path,
        what="a model",
        advice="",
        measure=lambda folder: shutil.disk_usage(folder)._replace(free=7),
    )
    check(7)
    with raising(DiskFullError, needed_bytes=8, free_bytes=7):
        check(8)


def test_hold_workplace__waits_and_logs_it(tmp_path, caplog):
    place = tmp_path / "place"
    order: list[str] = []

    def take() -> None:
        with hold_workplace(place):
            order.append("second")

    with hold_workplace(place):
        thread = threading.Thread(target=take)
        thread.start()
        deadline = time.monotonic() + 60
        while "waiting for it" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        order.append("first")
        shutil.rmtree(place)  # as the holder does when it is done
    thread.join()
    assert order == ["first", "second"]
    with (place / "lock").open("ab") as lock:  # the lock was released
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_hold_workplace__releases_the_lock_after_an_error(tmp_path):
    with contextlib.suppress(KeyError), hold_workplace(tmp_path / "place"):
        raise KeyError
    with hold_workplace(tmp_path / "place"):
        pass
