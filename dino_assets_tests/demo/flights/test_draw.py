import re
from pathlib import Path

import pytest

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.errors import ConfigError, UnusableImageError
from dino_assets.images.decoding import decode_image
from dino_assets.images.inspection import inspect_image
from dino_assets_tests.worlds.raising import raising

SCALE = 0.125  # 500 × 375 px of the same ground
GOOD = [
    f"{drop}/DCIM/100MEDIA/DJI_000{n}.JPG"
    for drop in ("ridge-north", "river-burn")
    for n in (1, 2, 3)
]
TRUNCATED = "river-burn/DCIM/100MEDIA/DJI_0004.JPG"
TEXT = "river-burn/DCIM/100MEDIA/DJI_0005.JPG"


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: shared by the tests of this file."""
    folder = tmp_path_factory.mktemp("inbox")
    draw_flights(folder, scale=SCALE)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_draw_flights__file_names_like_a_cards(inbox: Path):
    files = contents(inbox)
    assert sorted(files) == sorted([*GOOD, TRUNCATED, TEXT, "truth.geojson"])
    drops = draw_flights(inbox, scale=SCALE)
    assert drops == [inbox / "ridge-north", inbox / "river-burn"]
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", drop.name) for drop in drops)


def test_draw_flights__same_seed_same_bytes(inbox: Path, tmp_path: Path):
    draw_flights(tmp_path / "again", scale=SCALE)
    draw_flights(tmp_path / "other", scale=SCALE, seed=1)
    assert contents(tmp_path / "again") == contents(inbox)
    other_files = contents(tmp_path / "other")
    assert not any(
        other_files[path] == data for path, data in contents(inbox).items() if path != TEXT
    )


def test_draw_flights__finished_work_is_left_alone(inbox: Path):
    times_before = {path: (inbox / path).stat().st_mtime_ns for path in contents(inbox)}
    draw_flights(inbox, scale=SCALE)
    assert {path: (inbox / path).stat().st_mtime_ns for path in contents(inbox)} == times_before


def test_draw_flights__completes_after_a_kill(inbox: Path, tmp_path: Path):
    files = contents(inbox)
    for path in GOOD[:2]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(files[path])
    (tmp_path / ".unfinished").write_bytes(files[GOOD[2]][:1000])
    time_ns = (tmp_path / GOOD[0]).stat().st_mtime_ns
    draw_flights(tmp_path, scale=SCALE)
    assert contents(tmp_path) == files
    assert (tmp_path / GOOD[0]).stat().st_mtime_ns == time_ns


TINY = 0.02


def test_draw_flights__damaged_picture_is_drawn_again(tmp_path: Path):
    draw_flights(tmp_path, scale=TINY)
    files = contents(tmp_path)
    (tmp_path / GOOD[0]).write_bytes(b"damaged")
    draw_flights(tmp_path, scale=TINY)
    assert contents(tmp_path) == files
    (tmp_path / GOOD[0]).unlink()
    draw_flights(tmp_path, scale=TINY)
    assert contents(tmp_path) == files


@pytest.mark.parametrize("own", [GOOD[0], "ridge-north/mine.JPG", "truth.geojson"])
@pytest.mark.parametrize("is_drawn", [False, True])
def test_draw_flights__refuses_foreign_files(tmp_path: Path, own: str, is_drawn: bool):
    """DJI calls everybody's first picture DJI_0001.JPG."""
    if is_drawn:
        draw_flights(tmp_path, scale=TINY)
        (tmp_path / "truth.geojson").unlink()
    (tmp_path / own).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / own).write_bytes(b"{}")
    files_before = contents(tmp_path)
    with raising(ConfigError, setting="folder", value=[own]):
        draw_flights(tmp_path, scale=TINY)
    assert contents(tmp_path) == files_before


def test_draw_flights__a_picture_added_later_is_noticed(tmp_path: Path):
    draw_flights(tmp_path, scale=TINY)
    (tmp_path / "river-burn" / "mine.JPG").write_bytes(b"mine")
    with pytest.raises(ConfigError) as caught:
        draw_flights(tmp_path, scale=TINY)
    assert caught.value.value == ["river-burn/mine.JPG"]


@pytest.mark.parametrize("scale", [0, -1, 1.5, float("nan")])
def test_draw_flights__scale_out_of_range(tmp_path: Path, scale: float):
    with pytest.raises(ConfigError) as caught:
        draw_flights(tmp_path, scale=scale)
    assert caught.value.setting == "scale"
    assert not list(tmp_path.iterdir())


def test_draw_flights__good_files_are_accepted(inbox: Path):
    for path in GOOD:
        facts = inspect_image((inbox / path).read_bytes())
        assert (facts.format, facts.mode, facts.width, facts.height) == ("JPEG", "RGB", 500, 375)
        assert facts.orientation == 1


@pytest.mark.parametrize(("path", "reason"), [(TRUNCATED, "truncated"), (TEXT, "not-an-image")])
def test_draw_flights__bad_files_are_rejected(inbox: Path, path: str, reason: str):
    data = (inbox / path).read_bytes()
    # Its header tells a text; that a picture is cut off shows when it is decoded.
    look = decode_image if reason == "truncated" else inspect_image
    with pytest.raises(UnusableImageError) as caught:
        look(data)
    assert caught.value.reason == reason
