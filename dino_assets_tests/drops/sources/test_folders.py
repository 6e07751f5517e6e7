"""A folder as a source: what is listed, what is read, and what never is."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_assets.drops.sources.folders import FolderSource, find_name, is_decodable, show_name
from dino_assets.drops.sources.source import fingerprint
from dino_assets.errors import SourceError
from dino_assets_tests.worlds.cards import SECRET, count_open_files, listing, put
from dino_assets_tests.worlds.raising import raising


def test_folder__copy_of_a_card(card: Path):
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
        with raising(SourceError, path=path):
            source.read(path)


def test_folder__special_files_are_listed_and_not_opened(card: Path):
    os.mkfifo(card / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("card/s.jpg")  # relative: a socket's path may have 107 bytes
        source = FolderSource(card, shown="card")
        assert listing(source) == {"pipe.jpg": "special-file", "s.jpg": "special-file"}
        for path in ("pipe.jpg", "s.jpg"):
            with raising(SourceError, path=path):
                source.read(path)


def test_folder__undecodable_names(card: Path):
    put(card, "caf\udce9/a.jpg", "\udcff.jpg")
    entries = FolderSource(card, shown="card").entries()
    assert [(e.path, e.refusal) for e in entries] == [
        ("\\xff.jpg", "undecodable-name"),
        ("caf\\xe9/a.jpg", "undecodable-name"),
    ]
    assert entries[0].refusal_detail == "the name is not UTF-8; rename the file"
    assert fingerprint(entries) != fingerprint(entries[:1])


def test_folder__deeper_than_python_recurses(card: Path):
    path = "d/" * 600 + "a.jpg"
    put(card, path)
    source = FolderSource(card, shown="card")
    assert listing(source) == {path: None}
    assert source.read(path).decode() == path


def test_folder__unreadable_folder_is_a_row(as_nobody: Path):
    put(as_nobody, "a.jpg", "closed/b.jpg")
    (as_nobody / "closed").chmod(0)
    entries = FolderSource(as_nobody, shown="card").entries()
    (as_nobody / "closed").chmod(0o700)
    assert [(e.path, e.refusal, e.refusal_detail) for e in entries] == [
        ("a.jpg", None, ""),
        ("closed/", "unreadable", "folder: Permission denied"),
    ]


def test_folder__ignores_closed_folders_of_an_operating_system(as_nobody: Path):
    closed_folders = [".Trashes", ".Spotlight-V100", "lost+found", "DCIM/System Volume Information"]
    put(as_nobody, "a.jpg", *(f"{folder}/b.jpg" for folder in closed_folders), "lost.dir/c.jpg")
    for folder in closed_folders:
        (as_nobody / folder).chmod(0)
    (as_nobody / "lost.dir").chmod(0o400)
    refusals = listing(FolderSource(as_nobody, shown="card"))
    for folder in (*closed_folders, "lost.dir"):
        (as_nobody / folder).chmod(0o700)
    assert refusals == {"a.jpg": None}


def test_folder__a_folder_that_may_be_listed_but_not_entered(as_nobody: Path):
    put(as_nobody, "a.jpg", "bad/b.jpg", "bad/\udcff.jpg", "bad/sub/c.jpg")
    (as_nobody / "bad").chmod(0o400)
    entries = FolderSource(as_nobody, shown="card").entries()
    (as_nobody / "bad").chmod(0o700)
    reason = "Permission denied"
    assert [(e.path, e.refusal, e.refusal_detail, e.label) for e in entries] == [
        ("a.jpg", None, "", None),
        ("bad/\\xff.jpg", "unreadable", f"file: {reason}", "bad"),
        ("bad/b.jpg", "unreadable", f"file: {reason}", "bad"),
        ("bad/sub/", "unreadable", f"folder: {reason}", None),
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
    entries = FolderSource(card, shown="card").entries()
    assert [(e.path, e.refusal, e.refusal_detail) for e in entries] == [
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
def test_show_name__different_names_stay_different(raw: bytes):
    name = os.fsdecode(raw)
    text = show_name(name)
    text.encode()
    assert find_name(text) == name  # so that no other name is shown like this one
    if b"\\x" not in raw and is_decodable(name):
        assert text == name
    assert "/".join(map(show_name, name.split("/"))) == text


@given(st.sets(NAMES, max_size=8))
def test_show_name__as_many_texts_as_names(raw: set[bytes]):
    assert len({show_name(os.fsdecode(name)) for name in raw}) == len(raw)


def test_folder__unreadable_root_folder(as_nobody: Path):
    as_nobody.chmod(0)
    with raising(SourceError, reason="unlistable", path="the card"):
        FolderSource(as_nobody, shown="the card").entries()
    as_nobody.chmod(0o700)


def test_folder__unreadable_file(as_nobody: Path):
    put(as_nobody, "a.jpg")
    (as_nobody / "a.jpg").chmod(0)
    with raising(SourceError, reason="unreadable", path="a.jpg"):
        FolderSource(as_nobody, shown="card").read("a.jpg")


def test_folder__folder_is_missing(card: Path):
    source = FolderSource(card, shown="card")
    card.rmdir()
    with raising(SourceError, reason="unlistable", path="card"):
        source.entries()


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent.parent.parent / "secret.jpg")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_parent_by_link(path: Path) -> None:
    outside = path.parent.parent.parent / "outside"
    outside.mkdir()
    (outside / path.name).write_bytes(SECRET)
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(outside)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "change",
    [replace_by_link, replace_by_pipe, replace_by_folder, replace_parent_by_link, remove],
)
def test_folder__replaced_between_listing_and_reading(card: Path, change: Callable[[Path], None]):
    put(card, "100MEDIA/a.jpg")
    source = FolderSource(card, shown="card")
    entries = source.entries()
    assert [e.refusal for e in entries] == [None]
    change(card / "100MEDIA" / "a.jpg")
    open_files = count_open_files()
    with raising(SourceError, path="100MEDIA/a.jpg", hides=str(card)):
        source.read("100MEDIA/a.jpg")
    assert count_open_files() == open_files
    assert fingerprint(source.entries()) != fingerprint(entries)


@pytest.mark.parametrize(
    "path", ["../secret.jpg", "/etc/passwd", "sub/../../secret.jpg", "..", "", "/"]
)
def test_folder__refuses_paths_outside(card: Path, path: str):
    (card / "sub").mkdir()
    with raising(SourceError, reason="outside"):
        FolderSource(card, shown="card").read(path)


def test_folder__labels_are_the_top_folders(card: Path):
    put(card, "wheat/a.jpg", "wheat/north/b.jpg", "rye/a.jpg", "top.jpg", "x/100MEDIA/c.jpg")
    labels = {e.path: e.label for e in FolderSource(card, shown="card").entries()}
    assert labels == {
        "wheat/a.jpg": "wheat", "wheat/north/b.jpg": "wheat", "rye/a.jpg": "rye", "top.jpg": None,
        "x/100MEDIA/c.jpg": None,
    }  # fmt: skip
    assert all(e.metadata is None for e in FolderSource(card, shown="card").entries())


def test_folder__open_file(card: Path):
    put(card, "100MEDIA/a.jpg")
    source = FolderSource(card, shown="card")
    open_files = count_open_files()
    with source.open_file("100MEDIA/a.jpg") as file:
        (card / "100MEDIA" / "a.jpg").unlink()  # what was opened stays
        assert file.read_bytes() == file.read_bytes() == b"100MEDIA/a.jpg"
    assert count_open_files() == open_files


@pytest.mark.parametrize(
    "change",
    [replace_by_link, replace_by_pipe, replace_by_folder, replace_parent_by_link, remove],
)
def test_folder__open_file_after_replacement(card: Path, change: Callable[[Path], None]):
    put(card, "100MEDIA/a.jpg")
    change(card / "100MEDIA" / "a.jpg")
    open_files = count_open_files()
    with (
        raising(SourceError, path="100MEDIA/a.jpg"),
        FolderSource(card, shown="card").open_file("100MEDIA/a.jpg"),
    ):
        pass
    assert count_open_files() == open_files


def test_folder__read_is_bounded(card: Path):
    put(card, "12345")
    source = FolderSource(card, shown="card")
    assert source.read("12345", max_bytes=5) == b"12345"
    with raising(SourceError, reason="too-large", path="12345"):
        source.read("12345", max_bytes=4)


def test_folder__reads_a_file_without_a_size():
    source = FolderSource(Path("/proc/self").resolve(), shown="x")
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    assert source.read("status").startswith(b"Name:")
    with raising(SourceError, reason="too-large"):
        source.read("status", max_bytes=10)


def test_folder__a_folder_replaced_by_a_link_while_it_is_listed(card: Path):
    put(card, "sub/a.jpg", "z.jpg")
    put(card.parent / "outside", "secret-name.jpg")

    class Swapping(FolderSource):
        def open_folder(self, folder: str) -> int:
            if folder == "sub/":
                (card / "sub").rename(card.parent / "moved")
                (card / "sub").symlink_to(card.parent / "outside")
            return super().open_folder(folder)

    open_files = count_open_files()
    assert listing(Swapping(card, shown="card")) == {"sub/": "unreadable", "z.jpg": None}
    assert count_open_files() == open_files


def test_folder__a_device_is_listed_and_not_opened(card: Path):
    try:
        os.mknod(card / "null.jpg", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device needs root")
    source = FolderSource(card, shown="card")
    assert listing(source) == {"null.jpg": "special-file"}
    with raising(SourceError, reason="not-a-file"):
        source.read("null.jpg")


def test_folder__the_strangest_names(card: Path):
    names = ["a\x01\x1b[31m.jpg", "trailing .jpg ", "\t.jpg", "x" * 251 + ".jpg", "é.jpg", "e\u0301.jpg",
             "\u202egpj.exe.jpg", "...jpg", "\\.jpg"]  # fmt: skip
    put(card, *names)
    os.link(card / "é.jpg", card / "hard link.jpg")
    source = FolderSource(card, shown="card")
    assert listing(source) == dict.fromkeys([*names, "hard link.jpg"])
    assert [source.read(name).decode() for name in names] == names
    assert source.read("hard link.jpg").decode() == "é.jpg"


def test_folder__name_with_a_zero_byte(card: Path):
    with raising(SourceError, reason="no-name"):
        FolderSource(card, shown="card").read("a\0.jpg")
