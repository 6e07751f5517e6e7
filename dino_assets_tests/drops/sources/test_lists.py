import os
import tracemalloc
from pathlib import Path

import pytest

from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.lists import ListSource
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import fingerprint
from dino_assets.drops.sources.tables import read_csv
from dino_assets.errors import ConfigError, SourceError
from dino_assets_tests.worlds.cards import SECRET, listing, put
from dino_assets_tests.worlds.raising import raising


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A folder of a list, and beside it a file that no list may read."""
    put(tmp_path, "card/list.csv")
    (tmp_path / "secret.jpg").write_bytes(SECRET)
    return tmp_path / "card"


def write_list(card: Path, text: str, name: str = "list.csv") -> ListSource:
    (card / name).write_bytes(text.encode(errors="surrogateescape"))
    return ListSource(card / name, shown=name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "image_path\nb.jpg\nsub/a.jpg\n"),
        ("list.csv", "\ufeffimage_path,label\r\nsub/a.jpg,1\r\nb.jpg\r\n"),
        ("list.CSV", 'id,image_path\n1," b.jpg "\n2,"sub/a.jpg"\n3,\n4\n'),
        ("list.txt", "b.jpg\nsub/a.jpg\n"),
        ("list.txt", "\ufeffsub/a.jpg\r\n\r\n  b.jpg"),
        (
            "list.csv",
            "image_path\nb.jpg\nsub/a.jpg\nb.jpg\n./b.jpg\nsub/../sub/a.jpg\nsub//a.jpg\n",
        ),
    ],
)
def test_list__the_listed_files_each_once(card: Path, name: str, text: str):
    put(card, "b.jpg", "sub/a.jpg", "not-listed.jpg")
    source = write_list(card, text, name)
    assert listing(source) == {"b.jpg": None, "sub/a.jpg": None}
    assert source.read("sub/a.jpg") == b"sub/a.jpg"


def test_list__quoted_names(card: Path):
    put(card, "a,b.jpg", 'q"q.jpg')
    source = write_list(card, 'image_path\n"a,b.jpg"\n"q""q.jpg"\n\n"\nq""q.jpg\n"\nq"q.jpg\n')
    assert listing(source) == {"a,b.jpg": None, 'q"q.jpg': None}


def test_list__missing_and_special_files(card: Path):
    put(card, "a.jpg", "sub/b.jpg")
    (card / "link.jpg").symlink_to(card / "a.jpg")
    os.mkfifo(card / "pipe.jpg")
    source = write_list(
        card, f"a.jpg\ngone.jpg\nlink.jpg\npipe.jpg\nsub\n.\nnul\0.jpg\n{'x' * 300}.jpg\n", "l.txt"
    )
    assert listing(source) == {
        "a.jpg": None, "gone.jpg": "missing", "link.jpg": "link", "pipe.jpg": "special-file",
        "sub": "special-file", ".": "special-file", "nul\0.jpg": "missing",
        f"{'x' * 300}.jpg": "missing",
    }  # fmt: skip


def test_list__zero_byte_is_reported(card: Path):
    (entry,) = write_list(card, "nul\0.jpg\n", "l.txt").entries()
    assert (entry.refusal, "zero byte" in entry.refusal_detail) == ("missing", True)


def test_list__paths_that_lead_out(card: Path):
    put(card, "a.jpg")
    inside, outside = card / "a.jpg", card.parent / "secret.jpg"
    source = write_list(
        card, f"{inside}\n{outside}\n../secret.jpg\nx/../../secret.jpg\n/etc/passwd\n..\n", "l.txt"
    )
    assert listing(source) == {
        "a.jpg": None, str(outside): "outside", "../secret.jpg": "outside",
        "x/../../secret.jpg": "outside", "/etc/passwd": "outside", "..": "outside",
    }  # fmt: skip
    assert all(e.size == 0 for e in source.entries() if e.refusal == "outside")
    with raising(SourceError, reason="outside", path="../secret.jpg"):
        source.read("../secret.jpg")


def test_list__a_linked_folder_is_not_followed(card: Path):
    (card / "link").symlink_to(card.parent)
    source = write_list(card, "link/secret.jpg\n", "l.txt")
    with raising(SourceError, path="link/secret.jpg"):
        source.read("link/secret.jpg")


def test_list__below_a_linked_folder_is_a_link(card: Path):
    put(card, "real/y.jpg", "deep/a.jpg")
    (card / "lnk").symlink_to(card / "real")
    (card / "deep" / "lnk").symlink_to(card / "real")
    (card / "gone").symlink_to(card / "nowhere")
    source = write_list(
        card, "lnk/y.jpg\n./lnk/y.jpg\ndeep/lnk/y.jpg\ngone/y.jpg\nreal/y.jpg\n", "l.txt"
    )
    assert listing(source) == {
        "lnk/y.jpg": "link", "deep/lnk/y.jpg": "link", "gone/y.jpg": "link", "real/y.jpg": None,
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["l.csv", "l.txt"])
def test_list__utf16(card: Path, name: str, encoding: str):
    (card / name).write_bytes("image_path\na.jpg\n".encode(encoding))
    with raising(SourceError, reason="encoding", path=name):
        ListSource(card / name, shown=name).entries()


def test_list__folder_with_the_same_prefix_is_outside(card: Path):
    put(card.parent, "card-2/a.jpg")
    assert listing(write_list(card, "../card-2/a.jpg\n", "l.txt")) == {"../card-2/a.jpg": "outside"}


@pytest.mark.parametrize(
    "address", ["https://example.org/a.jpg", "s3://bucket/a.jpg", "HTTP://example.org//b.jpg"]
)
def test_list__addresses_are_refused(card: Path, address: str):
    put(card, "a.jpg")
    (entry, _) = sorted(
        write_list(card, f"{address}\na.jpg\n", "l.txt").entries(), key=lambda e: e.path == "a.jpg"
    )
    assert (entry.path, entry.refusal) == (address, "outside")
    assert "address" in str(entry.refusal_detail)


def test_list__undecodable_names(card: Path):
    put(card, "\udcff.jpg")
    source = write_list(card, "\udcff.jpg\ngone\udcfe.jpg\n", "l.txt")
    assert listing(source) == {"\\xff.jpg": "undecodable-name", "gone\\xfe.jpg": "missing"}


@pytest.mark.parametrize(
    ("text", "columns"),
    [("file,label\na.jpg,1\n", "file, label"), ("", "none"), ("a.jpg\n", r"a\.jpg")],
)
def test_list__missing_column(card: Path, text: str, columns: str):
    source = write_list(card, text)
    sentence = f"has no column 'image_path'. Its columns: {columns}"
    with raising(SourceError, reason="column-missing", path="list.csv", match=sentence):
        source.entries()


def test_list__another_column(card: Path):
    put(card, "a.jpg")
    (card / "l.csv").write_text("photo\na.jpg\n")
    assert listing(ListSource(card / "l.csv", shown="l", column="photo")) == {"a.jpg": None}


def test_list__empty_text_list(card: Path):
    assert write_list(card, "\n\n", "l.txt").entries() == []


def test_list__unreadable_csv(card: Path):
    source = write_list(card, "image_path\n" + "x" * 200_000 + "\n")
    with raising(SourceError, reason="row"):
        source.entries()


def test_list__list_is_missing(card: Path):
    source = write_list(card, "a.jpg\n", "l.txt")
    (card / "l.txt").unlink()
    with raising(SourceError, reason="unreadable", path="l.txt"):
        source.entries()


def describe(source: ListSource) -> dict[str, tuple[str | None, str | None, str | None]]:
    return {e.path: (e.label, e.metadata, e.refusal) for e in source.entries()}


def test_list__labels_and_metadata(card: Path):
    put(card, "wheat/a.jpg", "b.jpg", "c.jpg")
    text = "Image_Path , LABEL,field,crop year\nwheat/a.jpg, ripe ,7,\nb.jpg,,8,2024\nc.jpg,,,\n"
    assert describe(write_list(card, text)) == {
        "wheat/a.jpg": ("ripe", '{"field": "7"}', None),
        "b.jpg": (None, '{"crop year": "2024", "field": "8"}', None),
        "c.jpg": (None, None, None),
    }


def test_list__fields_without_a_column_are_kept(card: Path):
    put(card, "a.jpg", "b.jpg")
    text = "image_path,label,,x\na.jpg,1,two,3,four,,six\nb.jpg\n"
    expected = '{"column 3": "two", "column 5": "four", "column 7": "six", "x": "3"}'
    assert describe(write_list(card, text)) == {
        "a.jpg": ("1", expected, None), "b.jpg": (None, None, None),
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "image_path;label;note\na.jpg;ripe;x,y\n",
        "image_path\tlabel\tnote\r\na.jpg\tripe\tx,y\r\n",
        'image_path,label,note\na.jpg,ripe,"x,y"\n',
        '\ufeffsep=;\r\nlabel;"Image_Path";note\r\nripe;a.jpg;x,y\r\n',
        'sep=|\nimage_path|label|note\na.jpg|ripe|"x,y"\n',
        '\n\nimage_path,"label","note"\n\na.jpg,ripe,"x,y"\n',
    ],
)
def test_list__delimiters(card: Path, text: str):
    put(card, "a.jpg")
    assert describe(write_list(card, text)) == {"a.jpg": ("ripe", '{"note": "x,y"}', None)}


def test_list__a_delimiter_in_a_name_is_no_delimiter(card: Path):
    put(card, "a;b.jpg")
    assert listing(write_list(card, "image_path\na;b.jpg\n")) == {"a;b.jpg": None}


def test_list__a_column_twice(card: Path):
    source = write_list(card, "image_path,Label,label\na.jpg,1,2\n")
    with raising(SourceError, reason="column-twice"):
        source.entries()


def test_list__the_same_file_twice(card: Path):
    put(card, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    (card / "link.jpg").symlink_to("a.jpg")
    text = (
        "image_path,label,x\nlink.jpg,a,\nlink.jpg,b,\na.jpg,ripe,1\n./a.jpg,ripe,1\nb.jpg,ripe,1\nb.jpg,green,1\n"
        "c.jpg,,1\nc.jpg,ripe,\nd.jpg,ripe,2\nd.jpg,ripe,1\ngone.jpg,a,\ngone.jpg,b,\n"
    )
    entries = write_list(card, text).entries()
    assert {e.path: (e.label, e.metadata, e.refusal) for e in entries} == {
        "a.jpg": ("ripe", '{"x": "1"}', None),
        "b.jpg": (None, '{"x": "1"}', "conflicting-labels"),
        "c.jpg": ("ripe", '{"x": "1"}', None),
        "d.jpg": ("ripe", '{"x": ["2", "1"]}', None),
        "gone.jpg": ("a", None, "missing"),
        "link.jpg": ("a", None, "link"),
    }
    assert entries[1].refusal_detail == "the list calls it 'green' and 'ripe'; keep one"


def test_list__a_text_list_has_no_comments(card: Path):
    put(card, "#1.jpg", "a.jpg")
    source = write_list(card, "# my flight\n#1.jpg\na.jpg\n", "l.txt")
    assert listing(source) == {"# my flight": "missing", "#1.jpg": None, "a.jpg": None}


def test_list__backslashes_are_explained(card: Path):
    put(card, "sub/a.jpg")
    (entry,) = write_list(card, "sub\\a.jpg\n", "l.txt").entries()
    assert entry.refusal_detail == "No such file or directory; folders are separated by /, not \\"


@pytest.fixture
def archive(card: Path) -> Path:
    put(card.parent / "archive", "2023/a.jpg", "b.jpg")
    (card.parent / "archive" / "out").symlink_to(card.parent)
    return card.parent / "archive"


def test_list__files_in_a_configured_root(card: Path, archive: Path):
    put(card, "c.jpg")
    secret = card.parent / "secret.jpg"
    text = f"{archive}/2023/a.jpg\n../archive/b.jpg\n../archive/2023/../2023/a.jpg\nc.jpg\n"
    text += f"{secret}\n../secret.jpg\n../archive/../secret.jpg\n../archive/out/secret.jpg\n"
    (card / "l.txt").write_text(text)
    source = open_source("card/l.txt", root=card.parent, image_roots=[Path("archive")])
    assert listing(source) == {
        "../archive/2023/a.jpg": None, "../archive/b.jpg": None, "c.jpg": None,
        str(secret): "outside", "../secret.jpg": "outside", "../archive/../secret.jpg": "outside",
        "../archive/out/secret.jpg": "link",
    }  # fmt: skip
    assert source.read("../archive/2023/a.jpg") == b"2023/a.jpg"
    with source.open_file("../archive/b.jpg") as file:
        assert file.read_bytes() == b"b.jpg"
    for path in ("../secret.jpg", "../archive/../secret.jpg", str(secret), f"{archive}/b.jpg"):
        with raising(SourceError, reason="outside", path=path):
            source.read(path)
        with raising(SourceError, reason="outside", path=path):
            source.open_file(path)
    with raising(SourceError, path="../archive/out/secret.jpg", hides=str(card.parent)):
        source.read("../archive/out/secret.jpg")


def test_list__files_outside_without_roots(card: Path, archive: Path):
    (card / "l.txt").write_text(f"{archive}/b.jpg\n../archive/b.jpg\n")
    source = open_source("card/l.txt", root=card.parent)
    assert set(listing(source).values()) == {"outside"}
    assert "DINO_IMAGE_ROOTS" in source.entries()[0].refusal_detail


def test_list__a_root_under_a_linked_name(card: Path, archive: Path):
    (card.parent / "mnt").symlink_to(archive)
    (card / "l.txt").write_text(f"{card.parent}/mnt/b.jpg\n../archive/b.jpg\n")
    source = open_source("card/l.txt", root=card.parent, image_roots=[card.parent / "mnt"])
    assert listing(source) == {"../archive/b.jpg": None}
    assert source.read("../archive/b.jpg") == b"b.jpg"


def test_list__missing_root_is_an_error_only_if_needed(card: Path):
    put(card, "a.jpg")
    unmounted = card.parent / "unmounted"
    (card / "l.txt").write_text("a.jpg\n../other/x.jpg\n")
    source = open_source("card/l.txt", root=card.parent, image_roots=[unmounted])
    assert listing(source) == {"a.jpg": None, "../other/x.jpg": "outside"}
    (card / "l.txt").write_text("a.jpg\n../unmounted/x.jpg\n")
    with raising(ConfigError, reason="unmounted"):
        source.entries()


def test_fingerprint__includes_labels_and_metadata_of_lists(card: Path):
    put(card, "wheat/a.jpg")
    texts = [
        "image_path\nwheat/a.jpg\n",
        "image_path,label\nwheat/a.jpg,wheat\n",  # the folder's own name, said by the list
        "image_path,label\nwheat/a.jpg,ripe\n",
        "image_path,x\nwheat/a.jpg,ripe\n",
        "image_path,label,x\nwheat/a.jpg,ripe,1\n",
        "image_path,label,x\nwheat/a.jpg,ripe,2\n",
    ]
    fingerprints = [fingerprint(write_list(card, text).entries()) for text in texts]
    assert len(set(fingerprints)) == len(texts)
    assert fingerprints[0] == fingerprint(
        e for e in FolderSource(card, shown="x").entries() if e.path.endswith(".jpg")
    )


# --- stray quotes and other text ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        # What follows the quote was taken for its text, and no row of it was missed.
        ('image_path,label,note\na.jpg,x,ok\nb.jpg,y,"5 inch\nc.jpg,z,ok\nd.jpg,z,ok\n', 3, "unexpected"),
        ('image_path,label\na.jpg,"19" wall\nb.jpg,y\n', 2, "',' expected after '\"'"),
        ('image_path,label,note\n\na.jpg,x,"5 inch\nb.jpg,y,6 inch"\nc.jpg,z,\n', 3, "the row of 'b.jpg'"),
        ('image_path,label,note\na.jpg,x,"5 inch\r\nd/b.jpg,y,\r\nc.jpg,z,6"\r\n', 2, "the row of 'b.jpg'"),
        ('note;image_path\n"\n6;b.jpg\n7";c.jpg\n', 2, "the row of 'b.jpg'"),
        (',image_path\n"5\rx,b.jpg\r",\n', 2, "the row of 'b.jpg'"),
        ('image_path,label\n"a.jpg,x\nb.jpg,y"\n', 2, "a path or label continues"),
        ('image_path,label\na.jpg,"x\nb.jpg,y"\n', 2, "a path or label continues"),
        ('sep=;\n\nimage_path;n\na.jpg;"' + "x\n" * 100 + '"\n', 4, "a row of more than 100 lines"),
        ('\n"image_path,x\n' + "a.jpg,1\n" * 200, 2, "a row of more than 100 lines"),
        ('image_path,"x\na.jpg,1\n', 1, "unexpected end of data"),
    ],
)  # fmt: skip
def test_list__a_stray_quote_loses_no_row(card: Path, text: str, line: int, why: str):
    with raising(SourceError, reason="row", line=line, match=why):
        write_list(card, text).entries()


def test_list__valid_quotes(card: Path):
    put(card, "a.jpg", "b.jpg", "c.jpg")
    rows = (
        'a.jpg,5" pipe,"wet, cold\nthen, dry: see b.jpg\n"\nb.jpg,,"say ""x"""\nc.jpg,,"'
        + "x\n" * 99
    )
    source = write_list(card, f'image_path,size 5",note\n{rows}"\n')
    assert describe(source) == {
        "a.jpg": (None, '{"note": "wet, cold\\nthen, dry: see b.jpg", "size 5\\"": "5\\" pipe"}', None),
        "b.jpg": (None, '{"note": "say \\"x\\""}', None),
        "c.jpg": (None, '{"note": "' + "\\n".join("x" * 99) + '"}', None),
    }  # fmt: skip


def test_list__quote_in_the_head_reads_few_lines(card: Path):
    lines = iter(['"image_path,x\n', *["a.jpg,1\n"] * 20_000])
    with raising(SourceError, reason="row"):
        list(read_csv(lines, column="image_path", shown="l"))
    assert len(list(lines)) >= 19_899


@pytest.mark.parametrize(
    ("text", "seen", "line"),
    [
        ("image_path;label\r\na.jpg;Grün\r\n", r"Gr\\\\xfcn", 2),
        ("image_path,Höhe\na.jpg,5\n", r"H\\\\xf6he", 1),
        ("image_path,label,x\na.jpg,1,2\nb.jpg,1,2,é\n", r"\\\\xe9", 3),
        ("image_path,label\n,é\n", r"\\\\xe9", 2),
    ],
)
def test_list__excels_own_encoding(card: Path, text: str, seen: str, line: int):
    (card / "l.csv").write_bytes(text.encode("cp1252"))
    with raising(SourceError, reason="encoding", path="l", line=line, match=f"see '{seen}'"):
        ListSource(card / "l.csv", shown="l").entries()


def test_list__a_path_in_another_encoding_is_a_row(card: Path):
    put(card, "\udce9.jpg")
    source = write_list(card, "image_path,label\n\udce9.jpg,grün\ngr\udcfcn.jpg,\n")
    assert describe(source) == {
        "\\xe9.jpg": ("grün", None, "undecodable-name"), "gr\\xfcn.jpg": (None, None, "missing"),
    }  # fmt: skip


def test_list__escaped_looking_text_is_unchanged(card: Path):
    put(card, "a.jpg")
    source = write_list(card, "image_path,label,\\xe9\na.jpg,\\xe9,\\xe9\n")
    assert describe(source) == {"a.jpg": ("\\xe9", '{"\\\\xe9": "\\\\xe9"}', None)}


# --- odd paths ------------------------------------------------------------------------------


def test_list__path_that_is_too_long(card: Path):
    put(card, "a.jpg")
    path = "a.jpg" + ("/" + "y" * 200) * 30
    (entry,) = write_list(card, f"{path}\n", "l.txt").entries()
    assert (entry.path, entry.refusal, entry.refusal_detail) == (path, "missing", "Not a directory")


def test_list__own_folder_through_a_link(card: Path):
    put(card, "sub/a.jpg", "b.jpg")
    (card.parent / "tmp").symlink_to(card)
    (card.parent / "up").symlink_to(card.parent)
    (card / "here").symlink_to(card)
    link = card.parent / "tmp"
    (card / "l.txt").write_text(
        f"{link}/sub/a.jpg\n{card.parent}/up/card/b.jpg\n{link}/here/b.jpg\n"
        f"{card.parent}/up/secret.jpg\n{link}/../secret.jpg\n/no/\0/a.jpg\n"
    )
    for source in (
        open_source("tmp/l.txt", root=card.parent),
        open_source("card/l.txt", root=card.parent),
    ):
        assert listing(source) == {
            "sub/a.jpg": None, "b.jpg": None, "here/b.jpg": "link",
            f"{card.parent}/up/secret.jpg": "outside", f"{link}/../secret.jpg": "outside",
            "/no/\0/a.jpg": "outside",
        }  # fmt: skip
        assert source.read("sub/a.jpg") == b"sub/a.jpg"


def test_list__names_that_look_escaped_are_read(card: Path):
    put(card.parent / "ro\\xe9ot", "z\\xe9.jpg")
    put(card, "a\\b/z\\xe9.jpg", "z\udce9.jpg")
    text = "a\\b/z\\xe9.jpg\nz\udce9.jpg\n../ro\\xe9ot/z\\xe9.jpg\n"
    (card / "l.txt").write_bytes(text.encode(errors="surrogateescape"))
    source = open_source("card/l.txt", root=card.parent, image_roots=[Path("ro\\xe9ot")])
    assert listing(source) == {
        "a\\b/z\\\\xe9.jpg": None, "z\\xe9.jpg": "undecodable-name",
        "../ro\\\\xe9ot/z\\\\xe9.jpg": None,
    }  # fmt: skip
    for path, content in (
        ("a\\b/z\\\\xe9.jpg", b"a\\b/z\\xe9.jpg"),
        ("../ro\\\\xe9ot/z\\\\xe9.jpg", b"z\\xe9.jpg"),
    ):
        assert source.read(path) == content
        with source.open_file(path) as file:
            assert file.read_bytes() == content


def test_list__memory_for_many_files(tmp_path: Path):
    """A million files take 300 MB: what lines say alike is held once, and each file's own is small."""
    count = 20_000
    with (tmp_path / "list.csv").open("w") as lines:
        lines.write("image_path,label,site\n")
        lines.writelines(f"flight/DJI_{n:06d}.JPG,fire,site-{n % 50}\n" for n in range(count))
    source = ListSource(tmp_path / "list.csv", shown="list.csv")
    tracemalloc.start()
    try:
        entries = source.entries()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(entries) == count
    assert entries[51].metadata == '{"site": "site-1"}'
    assert peak / count < 420
