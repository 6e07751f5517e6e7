"""Gaps and new beginnings in a card's numbering, by names alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_assets.drops.cards import find_label, find_raw_twins
from dino_assets.images.report.numbering import Gap, RollOver, find_gaps, find_roll_overs


def number_files(folder: str, numbers, pattern: str = "DJI_{:04d}.JPG") -> list[str]:
    return [f"{folder}/{pattern.format(number)}" for number in numbers]


def missing(photos, others=()) -> list[tuple[str, int, int]]:
    return [(gap.folder, gap.first, gap.last) for gap in find_gaps(photos, others)]


def test_find_gaps__in_one_folder():
    gaps = find_gaps(number_files("100MEDIA", [1, 2, 4, 8]), [])
    assert gaps == [Gap("100MEDIA", "DJI_", 3, 3), Gap("100MEDIA", "DJI_", 5, 7)]
    assert [gap.count for gap in gaps] == [1, 3]


def test_find_gaps__none_before_the_first_number():
    assert missing(number_files("100MEDIA", [317, 318])) == []
    assert missing([]) == []


def test_find_gaps__other_media_share_the_numbers():
    photos = number_files("100MEDIA", [4, 6, 9])
    other_media = ["100MEDIA/DJI_0005.MP4", "100MEDIA/DJI_0007.DNG", "100MEDIA/._DJI_0008.JPG"]
    assert missing(photos, other_media) == [("100MEDIA", 8, 8)]
    assert missing(photos, ["101MEDIA/DJI_0005.MP4"]) == [
        ("100MEDIA", 5, 5), ("100MEDIA", 7, 8), ("100MEDIA", 10, 999), ("101MEDIA", 1, 4),
    ]  # fmt: skip


def test_find_gaps__a_folder_of_videos_misses_no_photograph():
    assert missing([], number_files("100MEDIA", [1, 5], "DJI_{:04d}.MP4")) == []


def test_find_gaps__a_panorama_takes_a_number():
    photos = number_files("DCIM/100MEDIA", [1, 3, 6])
    panorama = number_files("DCIM/PANORAMA/100_0002", range(1, 5))
    hyperlapse = ["DCIM/HYPERLAPSE/100_0005/HYPERLAPSE_0001.JPG"]
    assert missing(photos + panorama, hyperlapse) == [("DCIM/100MEDIA", 4, 4)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (range(1, 1000), range(1, 5), []),
        (range(1, 998), range(1, 5), [("100MEDIA", 998, 999)]),
        (range(1, 1000), range(3, 5), [("101MEDIA", 1, 2)]),
        (range(1, 998), range(3, 5), [("100MEDIA", 998, 999), ("101MEDIA", 1, 2)]),
        (range(500, 1000), range(1, 2), []),
        (range(1, 101), range(101, 103), []),  # Canon counts on
        (range(1, 101), range(104, 106), [("101MEDIA", 101, 103)]),
        (range(9990, 10000), range(1, 3), []),
        (range(9990, 9999), range(1, 3), [("100MEDIA", 9999, 9999)]),
    ],
)
def test_find_gaps__from_folder_to_folder(first, second, expected):
    photos = number_files("100MEDIA", first) + number_files("101MEDIA", second)
    assert missing(photos) == expected
    assert missing(reversed(photos)) == expected
    below = [f"card 1/DCIM/{path}" for path in photos]
    assert missing(below) == [(f"card 1/DCIM/{folder}", a, b) for folder, a, b in expected]


def test_find_gaps__folders_that_do_not_follow_each_other():
    a, b = number_files("100MEDIA", range(1, 5)), range(3, 6)
    for folder in ("102MEDIA", "101CANON", "card 2/101MEDIA", "flight", "100_0002"):
        assert missing(a + number_files(folder, b)) == []


def test_find_gaps__two_series_in_one_folder_count_apart():
    photos = number_files("x", [1, 2]) + number_files("x", [7, 9], "DSC{:05d}.JPG")
    assert missing(photos) == [("x", 8, 8)]


@pytest.mark.parametrize(
    "pattern",
    [
        "DJI_{:04d}.JPG", "dji_{:04d}.jpg", "DSC0{:04d}.JPG", "DSC_{:04d}.JPG", "_DSC{:04d}.JPG",
        "DSCF{:04d}.JPG", "IMG_{:04d}.JPG", "_MG_{:04d}.JPG", "IMG_{:04d}_3.tif", "P100{:04d}.JPG",
        "P614{:04d}.JPG", "GOPR{:04d}.JPG", "G001{:04d}.JPG", "YUN_{:04d}.jpg", "MAX_{:04d}.JPG",
        "EP-01-12345_0119_{:04d}.JPG", "DJI_{:04d}-edit.jpg", "DJI_{:04d} (1).JPG", "DJI_{:04d}_T.JPG",
        "DJI_20230614100512_{:04d}_W.JPG", "DJI_20230614100512_{:04d}_MS_NIR.TIF",
        "DJI_20230614100512_{:04d}_V_waypoint3.JPG",
    ],
)  # fmt: skip
def test_find_gaps__cameras(pattern: str):
    assert missing(number_files("x", [1, 2, 5], pattern)) == [("x", 3, 4)]


@pytest.mark.parametrize(
    "pattern",
    [
        "IMG ({}).jpg", "plot-{}.png", "tile_{:04d}_0002.png", "tile_0001_{:04d}.png", "{:04d}.jpg",
        "frame{:04d}.jpg", "d{:04d}ab37.jpg", "P{}.jpg", "IMG_20240514_1011{:02d}.jpg",
        "IMG_2024051{}.jpg", "DJI_{}.JPG", "MYDJI_{:04d}.JPG", "IMG-20240514-WA{:04d}.jpg",
        "Screenshot_{:04d}.png", "G001{:04d}abc.jpg", "DJI_{:04d}1234.JPG", "pic{:04d}.jpg",
    ],
)  # fmt: skip
def test_find_gaps__names_without_a_series(pattern: str):
    assert missing(number_files("x", [1, 5, 9], pattern)) == []


def test_find_gaps__shared_counters():
    assert missing(["x/IMG_0001.JPG", "x/_MG_0003.JPG"], ["x/MVI_0002.MOV"]) == []
    assert missing(["x/GOPR0001.JPG", "x/G0010003.JPG"], ["x/GH010002.MP4"]) == []


def test_find_gaps__lenses_share_numbers():
    photos = [
        f"x/DJI_2023061410051{second}_{number:04d}_{lens}.JPG"
        for second, number in ((2, 1), (4, 2), (8, 4))
        for lens in "WZTV"
    ]
    # A lens is sometimes stamped a second late, when the next shot is already there.
    late_photos = ["x/DJI_20230614100512_0002_W.JPG", "x/DJI_20230614100513_0001_T.JPG"]
    assert missing(photos + late_photos) == [("x", 3, 3)]


def test_find_gaps__late_lens_does_not_start_a_run():
    stamps = ["12_0001_W", "12_0002_W", "13_0001_T", "15_0003_W"]
    assert missing([f"x/DJI_202306141005{stamp}.JPG" for stamp in stamps]) == []


def test_find_gaps__not_in_the_bin():
    assert missing([".Trashes/DJI_0001.JPG", ".Trashes/DJI_0005.JPG"]) == []


def test_find_gaps__flights_in_one_folder_each_count_from_one():
    flights = [
        f"x/DJI_202306141{hour}05{number:02d}_{number:04d}_W.JPG"
        for hour, numbers in ((0, (1, 2, 3, 4)), (1, (1, 2, 4)))
        for number in numbers
    ]
    assert missing(flights) == [("x", 3, 3)]
    assert missing(reversed(flights)) == [("x", 3, 3)]


def test_find_gaps__a_counter_that_wraps_in_one_folder():
    assert missing(number_files("x", [9998, 9999, 1, 3], "IMG_{:04d}.JPG")) == [("x", 2, 2)]
    assert missing(number_files("x", [9997, 9999, 0, 1], "IMG_{:04d}.JPG")) == [("x", 9998, 9998)]
    all_but_one = set(range(1, 10_000)) - {5}
    assert missing(number_files("x", all_but_one, "IMG_{:04d}.JPG")) == [("x", 5, 5)]
    assert missing(number_files("x", [1, 500, 999])) == [("x", 2, 499), ("x", 501, 998)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("crop", "weed"),
        ("001", "002"),
        ("train/crop", "val/weed"),
        ("crop", "crop/late"),
        ("", "b"),
    ],
)
def test_find_gaps__a_series_sorted_into_classes(first: str, second: str):
    photos = [f"{(first, second)[n % 2]}/DJI_{n:04d}.JPG".lstrip("/") for n in range(1, 51)]
    assert missing(photos) == []
    assert find_roll_overs(photos) == []
    folder = "crop" if second == "crop/late" else ""
    assert missing(photos[:20] + photos[22:]) == [(folder, 21, 22)]
    # Only one of them has numbers on both sides of 2, and of 49.
    assert missing([photos[0], *photos[2:]]) == [(second, 2, 2)]
    assert missing(photos[:48] + photos[49:]) == [(first, 49, 49)]


def test_find_gaps__folder_with_a_subset():
    assert missing(number_files("all", range(1, 90)) + number_files("best", [5, 17, 80])) == []


def test_find_gaps__folders_made_by_hand_do_not_follow_each_other():
    assert missing(number_files("a", range(1, 11)) + number_files("b", range(200, 211))) == []
    assert missing(number_files("000", range(200)) + number_files("001", range(200, 250))) == []


def test_find_gaps__camera_folders_are_not_filled_by_others():
    photos = number_files("100MEDIA", [1, 3]) + number_files("card 2/100MEDIA", [2, 3])
    photos += number_files("weed", [2]) + number_files("PANORAMA/100_0004", [2])
    assert missing(photos) == [("100MEDIA", 2, 2)]


def test_find_gaps__flights_sorted_into_classes_each_count_from_one():
    flights = [
        f"{'ab'[number % 2]}/DJI_202306141{hour}05{number:02d}_{number:04d}_W.JPG"
        for hour in (0, 1)
        for number in range(1, 9)
        if (hour, number) != (1, 4)
    ]
    assert missing(flights) == [("", 4, 4)]  # the first flight's 4 fills nothing of the second


def test_find_gaps__six_bands_of_ten_numbers():
    bands = [n for n in range(10, 500) if n % 10 < 6]
    assert missing(number_files("000/FPLAN", bands)) == []
    assert missing(number_files("100FPLAN", bands)) == []
    missing_numbers = {23, 40, 41, 42, 43, 44, 45}
    gaps = missing(number_files("x", [n for n in bands if n not in missing_numbers]))
    assert gaps == [("x", 23, 23), ("x", 40, 45)]
    # Two sets of six, or a single 7, are chance.
    assert missing(number_files("x", [n for n in range(16) if n % 10 < 6])) == [("x", 6, 9)]
    assert len(missing(number_files("x", [*bands, 27]))) == 49


@given(st.sets(st.integers(1, 900), min_size=1), st.randoms(use_true_random=False))
def test_find_gaps__equal_the_removed_numbers(kept, random):
    photos = number_files("100MEDIA", kept)
    random.shuffle(photos)
    gaps = find_gaps(photos, [])
    missing_numbers = [number for gap in gaps for number in range(gap.first, gap.last + 1)]
    assert missing_numbers == sorted(set(range(min(kept), max(kept) + 1)) - kept)
    assert sum(gap.count for gap in gaps) == len(missing_numbers)


@given(
    st.sets(st.integers(1, 999), min_size=1, max_size=40),
    st.sets(st.integers(1, 999), min_size=1, max_size=40),
    st.sets(st.integers(1, 999), max_size=40),
)
def test_find_gaps__filled_by_other_folders(first, second, videos):
    photos = number_files("100MEDIA", first) + number_files("101MEDIA", second)
    gaps = find_gaps(photos, number_files("100MEDIA", videos, "DJI_{:04d}.MP4"))
    fillings = [
        f"{gap.folder}/DJI_{number:04d}.JPG"
        for gap in gaps
        for number in range(gap.first, gap.last + 1)
    ]
    assert not set(fillings) & set(photos)
    all_photos = photos + fillings
    assert find_gaps(all_photos, number_files("100MEDIA", videos, "DJI_{:04d}.MP4")) == []


@given(st.lists(st.text(max_size=25), max_size=20))
def test_find_gaps__arbitrary_names(paths):
    for gap in find_gaps(paths, paths[::2]):
        assert gap.first <= gap.last
    find_roll_overs(paths)
    find_raw_twins(paths)
    for path in paths:
        find_label(path)


def test_find_roll_overs__from_folder_to_folder():
    photos = number_files("100MEDIA", range(1, 1000)) + number_files("101MEDIA", range(1, 5))
    assert find_roll_overs(photos) == [RollOver("101MEDIA", "DJI_", "100MEDIA", 999, 1)]
    assert find_roll_overs(number_files("100MEDIA", [1, 2]) + number_files("101MEDIA", [3])) == []
    assert find_roll_overs(number_files("100MEDIA", [1]) + number_files("102MEDIA", [1])) == []


def test_find_roll_overs__of_the_counter_alone():
    photos = [
        f"x/DJI_20230614100{500 + second}_{number:04d}_D.JPG"
        for second, number in enumerate((998, 999, 1, 2))
    ]
    assert find_roll_overs(photos) == [RollOver("x", "DJI_*_", "x", 999, 1)]
    assert missing(photos) == []
