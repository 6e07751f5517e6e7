"""Which source an address opens."""

from pathlib import Path

import pytest

from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.lists import ListSource
from dino_assets.drops.sources.opening import open_source
from dino_assets.errors import ConfigError, SourceError
from dino_assets_tests.worlds.cards import put
from dino_assets_tests.worlds.raising import raising


def test_open_source__kinds(tmp_path: Path):
    put(tmp_path, "flight/a.jpg", "list.csv", "LIST.TXT")
    assert isinstance(open_source("flight", root=tmp_path), FolderSource)
    assert isinstance(open_source(str(tmp_path / "flight"), root=Path("/")), FolderSource)
    assert isinstance(open_source("list.csv", root=tmp_path), ListSource)
    assert isinstance(open_source("LIST.TXT", root=tmp_path), ListSource)
    assert isinstance(open_source("minio://bucket/prefix", root=tmp_path), BucketSource)


@pytest.mark.parametrize("source", ["nowhere", "nowhere/a.jpg", "a.csv"])
def test_open_source__nothing_there(tmp_path: Path, source: str):
    put(tmp_path, "a.jpg")
    with raising(SourceError, reason="missing", path=source):
        open_source(source, root=tmp_path)


def test_open_source__a_single_picture(tmp_path: Path):
    put(tmp_path, "card/a.jpg")
    with raising(SourceError, reason="a-file", path="card/a.jpg", match="such as 'card', or a"):
        open_source("card/a.jpg", root=tmp_path)


def test_open_source__a_password_is_not_repeated(tmp_path: Path):
    with raising(ConfigError, match="'ftp://…@host/x' is not a source", hides="sesame"):
        open_source("ftp://me:sesame@host/x", root=tmp_path)


def test_open_source__addresses_that_cannot_be_opened(as_nobody: Path):
    put(as_nobody, "closed/card/a.jpg", "b.jpg")
    (as_nobody / "loop").symlink_to("loop")
    (as_nobody / "closed").chmod(0)
    for source, cause in (
        ("loop", RuntimeError),
        ("loop/l.csv", RuntimeError),
        ("a\0b", ValueError),
        ("x" * 300, OSError),
        ("closed/card", PermissionError),
        ("~nosuchuser/x", RuntimeError),
    ):
        with raising(SourceError, reason="unreadable", path=source) as caught:
            open_source(source, root=as_nobody)
        assert isinstance(caught.value.__cause__, cause)
    (as_nobody / "closed").chmod(0o700)


@pytest.mark.parametrize("source", ["http://x/y", "file:///etc", "ftp://a"])
def test_open_source__unknown_scheme(tmp_path: Path, source: str):
    with raising(ConfigError, reason="no-source"):
        open_source(source, root=tmp_path)
