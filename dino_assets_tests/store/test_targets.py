"""Atomic writing of files that a user asked for, and the errors when a path cannot be written."""

from pathlib import Path

import pytest

from dino_assets.errors import ConfigError, DiskFullError, TargetError
from dino_assets.store.targets import write_target, writing
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.targets import mounted


def test_write_target__makes_folders_and_replaces(tmp_path: Path):
    target = tmp_path / "a" / "b" / "page.html"
    for text in (b"old", b"new"):
        write_target(target, text)
        assert target.read_bytes() == text
    assert list(target.parent.iterdir()) == [target]


def test_writing__failed_block_keeps_the_older_file(tmp_path: Path):
    target = tmp_path / "page.html"
    target.write_bytes(b"old")
    with raising(ConfigError, reason="test"), writing(target) as staging_file:
        staging_file.write_bytes(b"half")
        raise ConfigError("no", reason="test")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_write_target__parent_is_a_file(tmp_path: Path):
    (tmp_path / "out").write_bytes(b"a file")
    for target in (tmp_path / "out" / "page.html", tmp_path / "out" / "deep" / "page.html"):
        with raising(TargetError, path=str(target), reason="no-folder", match="out' is a file"):
            write_target(target, b"x")
    assert (tmp_path / "out").read_bytes() == b"a file"


def test_write_target__target_is_a_folder(tmp_path: Path):
    with raising(TargetError, path=str(tmp_path), reason="is-a-folder"):
        write_target(tmp_path, b"x")


def test_write_target__name_too_long(tmp_path: Path):
    with raising(TargetError, reason="refused", match="too long"):
        write_target(tmp_path / ("x" * 300), b"x")


def test_write_target__read_only_disk(tmp_path: Path):
    with mounted(tmp_path / "disk", "ro") as disk:
        for target in (disk / "page.html", disk / "out" / "page.html"):
            with raising(TargetError, path=str(target), reason="denied", match="read-only"):
                write_target(target, b"x")


def test_write_target__full_disk_leaves_no_partial_file(tmp_path: Path):
    with mounted(tmp_path / "disk", "size=64k") as disk:
        write_target(disk / "small", b"x")
        with pytest.raises(DiskFullError):
            write_target(disk / "large", bytes(2**20))
        assert [path.name for path in disk.iterdir()] == ["small"]
