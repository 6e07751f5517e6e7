"""Sources."""

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.folders import FolderSource, find_name, is_decodable, show_name
from dino_assets.drops.sources.lists import ListSource
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import fingerprint
from dino_assets.errors import ConfigError, SourceError
from dino_assets_tests.worlds.source_files import (
    count_open_files,
    listing,
    put,
    remove,
    replace_by_folder,
    replace_by_link,
    replace_by_pipe,
    replace_parent_by_link,
)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder reached without root's rights, which would open anything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        if os.geteuid():
            yield folder
            return
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


def test_open_source__kinds(tmp_path: Path):
    put(tmp_path, "flight/a.jpg", "list.csv", "LIST.TXT")
    assert isinstance(open_source("flight", root=tmp_path), FolderSource)
    assert isinstance(open_source(str(tmp_path / "flight"), root=Path("/")), FolderSource)
    assert isinstance(open_source("list.csv", root=tmp_path), ListSource)
    assert isinstance(open_source("LIST.TXT", root=tmp_path), ListSource)
    assert isinstance(open_source("minio://bucket/prefix", root=tmp_path), BucketSource)


@pytest.mark.parametrize("source", ["nowhere", "a.jpg", "a.csv"])
def test_open_source__nothing_there(tmp_path: Path, source: str):
    put(tmp_path, "a.jpg")
    with pytest.raises(SourceError, match=rf"no folder and no \.csv or \.txt list at '{source}'"):
        open_source(source, root=tmp_path)


def test_open_source__a_password_is_not_repeated(tmp_path: Path):
    with pytest.raises(ConfigError, match="'ftp://…@host/x' is no source") as caught:
        open_source("ftp://me:sesame@host/x", root=tmp_path)
    assert "sesame" not in str(caught.value)


def test_open_source__addresses_that_cannot_be_opened(as_nobody: Path):
    put(as_nobody, "closed/card/a.jpg", "b.jpg")
    (as_nobody / "loop").symlink_to("loop")
    (as_nobody / "closed").chmod(0)
    for source, why in (
        ("loop", "Symlink loop from .*loop'"),
        ("loop/l.csv", "Symlink loop from .*"),
        ("a\0b", "embedded null byte"),
        ("x" * 300, "File name too long"),
        ("closed/card", "Permission denied"),
        ("~nosuchuser/x", "Could not determine home directory"),
    ):
        with pytest.raises(SourceError, match=rf"cannot be opened: {why}\. Check the path"):
            open_source(source, root=as_nobody)
    (as_nobody / "closed").chmod(0o700)


@pytest.mark.parametrize("source", ["http://x/y", "file:///etc", "ftp://a"])
def test_open_source__unknown_scheme(tmp_path: Path, source: str):
    with pytest.raises(ConfigError, match=f"'{source}' is no source: a folder, a .csv or .txt"):
        open_source(source, root=tmp_path)


def test_folder__as_it_comes_off_a_card(card: Path):
    paths = [
        "100MEDIA/DJI_0001.JPG",
        "101MEDIA/DJI_0001.JPG",
        "101MEDIA/DJI_0002.jpg",
        "a b.jpg",
        "deep/er/and/deeper/x.png",
        "line\nbreak.jpg",
        "pic#1",
        "pic.jpg#1",
        "ünï cödé 文.jpg",
        "*?[].jpg",
        "-rf.jpg",
        " .jpg",
    ]
    put(card, *paths)
    source = FolderSource(card, shown="card")
    assert listing(source) == dict.fromkeys(paths)
    assert [source.read(path).decode() for path in paths] == paths
    sizes = {entry.path: entry.size for entry in source.entries()}
    assert sizes == {path: len(path.encode()) for path in paths}


def test_folder__empty(card: Path):
    (card / "100MEDIA").mkdir()
    assert FolderSource(card, shown="card").entries() == []


def test_folder__links_are_listed_and_never_followed(card: Path):
    put(card, "real.jpg", "sub/inner.jpg")
    (card / "to-file.jpg").symlink_to(card / "real.jpg")
    (card / "to-secret.jpg").symlink_to(card.parent / "secret.jpg")
    (card / "to-folder").symlink_to(card / "sub")
    (card / "to-outside").symlink_to(card.parent)
    (card / "to-itself").symlink_to(card)
    (card / "dangling.jpg").symlink_to(card / "gone")
    source = FolderSource(card, shown="card")
    assert listing(source) == {
        "real.jpg": None, "sub/inner.jpg": None, "to-file.jpg": "link", "to-secret.jpg": "link",
        "to-folder": "link", "to-outside": "link", "to-itself": "link", "dangling.jpg": "link",
    }  # fmt: skip
    for path in ("to-file.jpg", "to-secret.jpg", "to-folder/inner.jpg", "to-outside/secret.jpg"):
        with pytest.raises(SourceError, match=f"cannot read '{path}'"):
            source.read(path)


def test_folder__special_files_are_listed_and_not_opened(card: Path):
    os.mkfifo(card / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("card/s.jpg")  # relative: a socket's path may have 107 bytes
        source = FolderSource(card, shown="card")
        assert listing(source) == {"pipe.jpg": "special-file", "s.jpg": "special-file"}
        for path in ("pipe.jpg", "s.jpg"):
            with pytest.raises(SourceError, match=f"cannot read '{path}'"):
                source.read(path)


def test_folder__undecodable_names(card: Path):
    put(card, "caf\udce9/a.jpg", "\udcff.jpg")
    found = FolderSource(card, shown="card").entries()
    assert [(e.path, e.refusal) for e in found] == [
        ("\\xff.jpg", "undecodable-name"),
        ("caf\\xe9/a.jpg", "undecodable-name"),
    ]
    assert found[0].refusal_detail == "the name is not UTF-8; rename the file"
    assert fingerprint(found) != fingerprint(found[:1])


def test_folder__deeper_than_python_recurses(card: Path):
    path = "d/" * 600 + "a.jpg"
    put(card, path)
    source = FolderSource(card, shown="card")
    assert listing(source) == {path: None}
    assert source.read(path).decode() == path


def test_folder__unreadable_folder_is_a_row(as_nobody: Path):
    put(as_nobody, "a.jpg", "closed/b.jpg")
    (as_nobody / "closed").chmod(0)
    found = FolderSource(as_nobody, shown="card").entries()
    (as_nobody / "closed").chmod(0o700)
    assert [(e.path, e.refusal, e.refusal_detail) for e in found] == [
        ("a.jpg", None, ""),
        ("closed/", "unreadable", "folder: Permission denied"),
    ]


def test_folder__an_operating_systems_closed_folders_are_no_rows(as_nobody: Path):
    closed = [".Trashes", ".Spotlight-V100", "lost+found", "DCIM/System Volume Information"]
    put(as_nobody, "a.jpg", *(f"{folder}/b.jpg" for folder in closed), "lost.dir/c.jpg")
    for folder in closed:
        (as_nobody / folder).chmod(0)
    (as_nobody / "lost.dir").chmod(0o400)
    found = listing(FolderSource(as_nobody, shown="card"))
    for folder in (*closed, "lost.dir"):
        (as_nobody / folder).chmod(0o700)
    assert found == {"a.jpg": None}


def test_folder__a_folder_that_may_be_listed_but_not_entered(as_nobody: Path):
    put(as_nobody, "a.jpg", "bad/b.jpg", "bad/\udcff.jpg", "bad/sub/c.jpg")
    (as_nobody / "bad").chmod(0o400)
    found = FolderSource(as_nobody, shown="card").entries()
    (as_nobody / "bad").chmod(0o700)
    why = "Permission denied"
    assert [(e.path, e.refusal, e.refusal_detail, e.label) for e in found] == [
        ("a.jpg", None, "", None),
        ("bad/\\xff.jpg", "unreadable", f"file: {why}", "bad"),
        ("bad/b.jpg", "unreadable", f"file: {why}", "bad"),
        ("bad/sub/", "unreadable", f"folder: {why}", None),
    ]


def test_folder__a_bad_sector_is_a_row(card: Path, monkeypatch: pytest.MonkeyPatch):
    put(card, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    errors = {"b.jpg": OSError(errno.EIO, "Input/output error"), "c.jpg": FileNotFoundError()}

    class Item:
        def __init__(self, item: os.DirEntry[str]) -> None:
            self.name, self.is_dir, self.inner = item.name, item.is_dir, item

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            if error := errors.get(self.name):
                raise error
            return self.inner.stat(follow_symlinks=follow_symlinks)

    scandir = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda handle: contextlib.nullcontext(map(Item, scandir(handle)))
    )
    found = FolderSource(card, shown="card").entries()
    assert [(e.path, e.refusal, e.refusal_detail) for e in found] == [
        ("a.jpg", None, ""), ("b.jpg", "unreadable", "file: Input/output error"), ("d.jpg", None, ""),
    ]  # fmt: skip


def test_folder__names_that_look_escaped(card: Path):
    names = ["z\udce9.jpg", "z\\xe9.jpg", "z\\\\xe9.jpg", "z\\\udce9.jpg", "z\\x41.jpg", "a\\b.jpg"]
    put(card, *names, "a\\b/\udcff.jpg")
    source = FolderSource(card, shown="card")
    assert listing(source) == {
        "z\\xe9.jpg": "undecodable-name",
        "z\\\\xe9.jpg": None,  # which is z\xe9.jpg
        "z\\\\\\\\xe9.jpg": None,
        "z\\\\\\xe9.jpg": "undecodable-name",
        "z\\x41.jpg": None,
        "a\\b.jpg": None,
        "a\\b/\\xff.jpg": "undecodable-name",
    }
    assert source.read("z\\\\xe9.jpg") == b"z\\xe9.jpg"
    assert source.read("z\\\\\\\\xe9.jpg") == b"z\\\\xe9.jpg"
    assert source.read("z\\x41.jpg") == b"z\\x41.jpg"
    with source.open_file("z\\\\xe9.jpg") as file:
        assert file.read_bytes() == b"z\\xe9.jpg"


NAMES = st.lists(
    st.sampled_from([b"\\", b"x", b"e", b"9", b"xe9", b"\\xe9", b"\xe9", b"\xc3\xa9", b"/"])
    | st.binary(max_size=3)
).map(b"".join)


@given(NAMES)
def test_show_name__no_two_names_are_shown_alike(raw: bytes):
    name = os.fsdecode(raw)
    shown = show_name(name)
    shown.encode()
    assert find_name(shown) == name  # so that no other name is shown like this one
    if b"\\x" not in raw and is_decodable(name):
        assert shown == name
    assert "/".join(map(show_name, name.split("/"))) == shown


@given(st.sets(NAMES, max_size=8))
def test_show_name__as_many_as_there_are(raw: set[bytes]):
    assert len({show_name(os.fsdecode(name)) for name in raw}) == len(raw)


def test_folder__unreadable_as_a_whole(as_nobody: Path):
    as_nobody.chmod(0)
    with pytest.raises(SourceError, match="cannot list 'the card': Permission denied"):
        FolderSource(as_nobody, shown="the card").entries()
    as_nobody.chmod(0o700)


def test_folder__unreadable_file(as_nobody: Path):
    put(as_nobody, "a.jpg")
    (as_nobody / "a.jpg").chmod(0)
    with pytest.raises(SourceError, match=r"^cannot read 'a\.jpg': Permission denied$"):
        FolderSource(as_nobody, shown="card").read("a.jpg")


def test_folder__gone(card: Path):
    source = FolderSource(card, shown="card")
    card.rmdir()
    with pytest.raises(SourceError, match="cannot list 'card': No such file"):
        source.entries()


@pytest.mark.parametrize(
    "change",
    [replace_by_link, replace_by_pipe, replace_by_folder, replace_parent_by_link, remove],
)
def test_folder__replaced_between_listing_and_reading(card: Path, change: Callable[[Path], None]):
    put(card, "100MEDIA/a.jpg")
    source = FolderSource(card, shown="card")
    before = source.entries()
    assert [e.refusal for e in before] == [None]
    change(card / "100MEDIA" / "a.jpg")
    opened = count_open_files()
    with pytest.raises(SourceError, match=r"^cannot read '100MEDIA/a\.jpg': ") as caught:
        source.read("100MEDIA/a.jpg")
    assert count_open_files() == opened
    assert str(card) not in str(caught.value)
    assert fingerprint(source.entries()) != fingerprint(before)


@pytest.mark.parametrize(
    "path", ["../secret.jpg", "/etc/passwd", "sub/../../secret.jpg", "..", "", "/"]
)
def test_folder__no_way_out(card: Path, path: str):
    (card / "sub").mkdir()
    with pytest.raises(SourceError, match=r"cannot read .*: it leads out of the folder"):
        FolderSource(card, shown="card").read(path)
