"""File names of a detector, and the pictures of a drop that they mean."""

from dino_assets.tiles.box_names import find_pictures

PATHS = ["cam1/IMG_1.JPG", "cam1/IMG_2.JPG", "cam2/IMG_1.JPG", "cam2/IMG_3.JPG"]


def find(*files: str, paths: list[str] = PATHS, without_suffix: bool = False):
    named = find_pictures(files, paths, without_suffix=without_suffix)
    return named.path_of, named.missing, named.unclear


def test_find_pictures__paths_below_and_above_the_drops_folder():
    names = ["cam1/IMG_1.JPG", "/data/traps/cam2/IMG_1.JPG", "IMG_2.JPG", ".\\cam2\\IMG_3.JPG"]
    path_of, missing, unclear = find(*names)
    assert path_of == dict(zip(names, [PATHS[0], PATHS[2], PATHS[1], PATHS[3]], strict=True))
    assert missing == unclear == []


def test_find_pictures__names_that_are_not_clear():
    assert find("IMG_1.JPG") == ({}, [], ["IMG_1.JPG"])
    # Two folders of the detector cannot both be the one picture of this name.
    assert find("x/IMG_2.JPG", "y/IMG_2.JPG", paths=["IMG_2.JPG"]) == (
        {}, [], ["x/IMG_2.JPG", "y/IMG_2.JPG"],
    )  # fmt: skip
    assert find("IMG_2.JPG", "y/IMG_2.JPG", paths=["IMG_2.JPG"]) == (
        {"IMG_2.JPG": "IMG_2.JPG"}, [], ["y/IMG_2.JPG"],
    )  # fmt: skip


def test_find_pictures__names_of_no_picture():
    assert find("cam3/IMG_1.JPG", "IMG_9.JPG", "img_2.jpg", "", "/") == (
        {}, ["cam3/IMG_1.JPG", "IMG_9.JPG", "img_2.jpg", "", "/"], [],
    )  # fmt: skip


def test_find_pictures__the_picture_with_more_folders_in_common():
    paths = ["IMG_1.JPG", "cam1/IMG_1.JPG"]
    assert find("data/cam1/IMG_1.JPG", paths=paths)[0] == {"data/cam1/IMG_1.JPG": "cam1/IMG_1.JPG"}
    assert find("IMG_1.JPG", paths=paths)[0] == {"IMG_1.JPG": "IMG_1.JPG"}


def test_find_pictures__label_files():
    path_of, missing, _ = find("train/cam1/IMG_2", "cam2/IMG_1", "IMG_2.JPG", without_suffix=True)
    assert path_of == {"train/cam1/IMG_2": "cam1/IMG_2.JPG", "cam2/IMG_1": "cam2/IMG_1.JPG"}
    assert missing == ["IMG_2.JPG"]
    assert find("a.b", paths=["a.b.jpg"], without_suffix=True)[0] == {"a.b": "a.b.jpg"}


def test_find_pictures__accents_apart_and_together():
    """macOS writes "Höhle" with the two dots as a letter of their own."""
    together, apart = "H\u00f6hle.jpg", "Ho\u0308hle.jpg"
    assert find(together, paths=[apart]) == ({together: apart}, [], [])
    assert find(apart, paths=[together]) == ({apart: together}, [], [])
