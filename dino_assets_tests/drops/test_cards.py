import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_assets.drops.cards import find_label, find_raw_twins, is_photo_name

# --- photographs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "a.jpg", "DCIM/100MEDIA/DJI_0001.JPG", "x.Jpeg", "a.b.tif", "é.WEBP", "a#1.png", ".jpg.jpg",
        "a.HEIC", "a.heif", "DJI_0001.DNG", "a.TIFF", "a.bmp", "../other/a.jpg", "./a.jpg",
        "eadir/a.jpg", "a/_x.jpg", "lost/a.jpg",
    ],
)  # fmt: skip
def test_is_photo_name__photographs(path: str):
    assert is_photo_name(path)


@pytest.mark.parametrize(
    "path",
    [
        "._DJI_0001.JPG",
        "x/._a.jpg",
        "__MACOSX/a.jpg",
        "x/__MACOSX/y/a.jpg",
        ".Trashes/501/a.jpg",
        ".Spotlight-V100/a.jpg",
        ".Trash-1000/files/a.jpg",
        "DCIM/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
        "#recycle/a.jpg",
        "$RECYCLE.BIN/a.jpg",
        "System Volume Information/a.jpg",
        "lost+found/a.jpg",
        "LOST.DIR/a.jpg",
        ".DS_Store",
        "x/Thumbs.db",
        ".DJI_0001.JPG.x7Yz",
        "a.THM",
        "a.SRT",
        "a.MRK",
        "a.LRF",
        "a.xmp",
        "a_PPKRAW.bin",
        "a.gpx",
        "a.MP4",
        "a.mov",
        "a.mts",
        "jpg",
        "a.jpg/b",
        "a.jpg ",
        "_SUCCESS",
        "a.ARW",
        "",
    ],
)
def test_is_photo_name__others(path: str):
    assert not is_photo_name(path)


def test_is_photo_name__a_suffix_alone_is_a_hidden_file():
    assert not is_photo_name(".jpg")
    assert not is_photo_name("x/.jpg")


# --- twins ----------------------------------------------------------------------------------


def test_find_raw_twins__same_folder_same_stem():
    paths = [
        "100MEDIA/DJI_0001.JPG", "100MEDIA/DJI_0001.DNG",
        "101MEDIA/DJI_0001.dng",  # another folder
        "100MEDIA/DJI_0002.DNG",  # alone
        "x/a.JPEG", "x/A.dng",
        "x/b.png", "x/b.dng",  # a PNG is an export, not the camera's twin
        "top.jpg", "top.DNG",
        "y/._c.jpg", "y/c.dng", "y/._d.dng", "y/d.jpg",
    ]  # fmt: skip
    expected = {
        "100MEDIA/DJI_0001.DNG": "100MEDIA/DJI_0001.JPG",
        "x/A.dng": "x/a.JPEG",
        "top.DNG": "top.jpg",
    }
    assert find_raw_twins(paths) == find_raw_twins(reversed(paths)) == expected
    assert find_raw_twins(iter(paths)) == expected


def test_find_raw_twins__two_jpegs():
    assert find_raw_twins(["b.jpg", "b.JPG", "b.dng"]) == {"b.dng": "b.JPG"}


names = st.builds(
    lambda folder, stem, suffix: f"{folder}{stem}.{suffix}",
    st.sampled_from(["", "a/", "A/", "a/b/"]),
    st.sampled_from(["x", "X", "y", "._x", "x.y"]),
    st.sampled_from(["jpg", "JPG", "jpeg", "dng", "DNG", "png"]),
)


@given(st.lists(names, unique=True).flatmap(lambda n: st.tuples(st.just(n), st.permutations(n))))
def test_find_raw_twins__properties(both):
    paths, shuffled = both
    twins = find_raw_twins(paths)
    assert twins == find_raw_twins(shuffled)
    for raw, photo in twins.items():
        assert raw in paths
        assert photo in paths
        assert raw.rpartition("/")[0] == photo.rpartition("/")[0]
        assert raw.lower().rpartition(".")[0] == photo.lower().rpartition(".")[0]
    # A photograph is never lost: a DNG without twin stays.
    stems = {p.rpartition("/")[0] + "/" + p.rpartition("/")[2].lower().rpartition(".")[0]
             for p in paths if p.lower().endswith((".jpg", ".jpeg"))}  # fmt: skip
    for path in set(paths) - set(twins):
        if path.lower().endswith(".dng") and "._" not in path:
            folder, _, name = path.rpartition("/")
            assert f"{folder}/{name.lower().rpartition('.')[0]}" not in stems


# --- labels ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("wheat/a.jpg", "wheat"),
        ("wheat/north/a.jpg", "wheat"),
        ("Wild Boar/x.png", "Wild Boar"),
        ("0/a.jpg", "0"),
        ("001/a.jpg", "001"),
        ("001.Black_footed_Albatross/a.jpg", "001.Black_footed_Albatross"),
        ("a.jpg", None),
        ("", None),
        ("DCIM/100MEDIA/DJI_0001.JPG", None),
        ("dcim/a.jpg", None),
        ("100MEDIA/a.jpg", None),
        ("field-7/100MEDIA/a.jpg", None),
        ("101D7000/a.jpg", None),
        ("100_PANA/a.jpg", None),
        ("DJI_202306141005_001_name/a.jpg", None),
        ("DJI_001/a.jpg", None),
        ("PANORAMA/100_0001/a.jpg", None),
        ("MISC/THM/a.jpg", None),
        ("2024-05-01/a.jpg", None),
        ("20240501/a.jpg", None),
        ("20240501_101500/a.jpg", None),
        ("2024/05/01/a.jpg", None),
        ("wheat/2024-05-01/a.jpg", None),
        (".Trashes/a.jpg", None),
        ("wheat/@eaDir/a.jpg", None),
        ("../other/a.jpg", None),
        ("0001SET/000/IMG_0001_1.tif", None),
    ],
)
def test_find_label__folders(path: str, label: str | None):
    assert find_label(path) == label
