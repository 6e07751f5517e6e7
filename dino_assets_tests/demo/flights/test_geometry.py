"""What a stranger reads from the drawn files agrees with their pixels and with the truth."""

import hashlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.demo.flights.terrain import lies_inside
from dino_assets.images.inspection import inspect_image

SCALE = 0.125  # 500 × 375 px of the same ground
GOOD = [
    f"{drop}/DCIM/100MEDIA/DJI_000{n}.JPG"
    for drop in ("ridge-north", "river-burn")
    for n in (1, 2, 3)
]
EARTH_M_PER_DEG = 2 * np.pi * 6_371_000 / 360


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: shared by the tests of this file."""
    folder = tmp_path_factory.mktemp("inbox")
    draw_flights(folder, scale=SCALE)
    return folder


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen seconds; for slow tests only."""
    folder = tmp_path_factory.mktemp("full")
    draw_flights(folder)
    return folder


def read_truth(folder: Path) -> list[dict]:
    return json.loads((folder / "truth.geojson").read_text())["features"]


def read_position(path: Path) -> dict[str, float]:
    """Read position and optics from EXIF, height above ground and heading from XMP."""
    with Image.open(path) as image:
        exif, xmp, size = image.getexif(), image.info["xmp"].decode(), image.size
    gps, photo = exif.get_ifd(ExifTags.IFD.GPSInfo), exif.get_ifd(ExifTags.IFD.Exif)
    position = {name: float(value) for name, value in re.findall(r'drone-dji:(\w+)="([^"]+)"', xmp)}
    for tag, ref, name in ((2, 1, "latitude"), (4, 3, "longitude")):
        degrees, minutes, seconds = (float(part) for part in gps[tag])
        position[name] = (degrees + minutes / 60 + seconds / 3600) * (-1 if gps[ref] in "SW" else 1)
    sensor_mm = size[0] / float(photo[ExifTags.Base.FocalPlaneXResolution])
    focal_mm = float(photo[ExifTags.Base.FocalLength])
    position["ground_px_m"] = position["RelativeAltitude"] * sensor_mm / (focal_mm * size[0])
    return position


def to_px(path: Path, degrees: np.ndarray) -> np.ndarray:
    """Longitude, latitude (N, 2) to column, row in a picture, from what its file says alone."""
    position = read_position(path)
    with Image.open(path) as image:
        middle = np.array(image.size) / 2
    east = (
        (degrees[:, 0] - position["longitude"])
        * EARTH_M_PER_DEG
        * np.cos(np.radians(position["latitude"]))
    )
    north = (degrees[:, 1] - position["latitude"]) * EARTH_M_PER_DEG
    yaw = np.radians(position["GimbalYawDegree"])
    right, ahead = (
        east * np.cos(yaw) - north * np.sin(yaw),
        east * np.sin(yaw) + north * np.cos(yaw),
    )
    return np.stack([right, -ahead], 1) / position["ground_px_m"] + middle


def read_grey(path: Path, *, width: int) -> np.ndarray:
    with Image.open(path) as image:
        height = round(width * image.height / image.width)
        return np.asarray(image.convert("L").resize((width, height), Image.Resampling.BOX), float)


def measure_shift(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Phase correlation: by how many pixels (x, y) does what ``one`` shows lie elsewhere in ``two``?"""
    window = np.outer(*(np.hanning(n) for n in one.shape))
    spectra = [np.fft.rfft2((picture - picture.mean()) * window) for picture in (one, two)]
    cross = spectra[1] * np.conj(spectra[0])
    peaks = np.fft.irfft2(cross / (np.abs(cross) + 1e-9), s=one.shape)
    # The pictures are turned by up to half a degree against each other, which smears the peak.
    blur = np.exp(-0.5 * (np.fft.fftfreq(9) * 9 / 1.5) ** 2)
    for axis in (0, 1):
        peaks = sum(
            np.roll(peaks, int(s), axis) * w
            for s, w in zip(np.fft.fftfreq(9) * 9, blur, strict=True)
        )
    row, column = np.unravel_index(np.argmax(peaks), peaks.shape)
    shift = []
    for index, line in ((column, peaks[row]), (row, peaks[:, column])):
        before, top, after = line[index - 1], line[index], line[(index + 1) % len(line)]
        peak = index + 0.5 * (before - after) / (before - 2 * top + after)
        shift.append(peak - len(line) if peak > len(line) / 2 else peak)
    return np.array(shift)


def registration_errors_m(folder: Path, *, width: int) -> dict[str, float]:
    """Measure for each pair of neighbours the metres between the pixels' and the GPS's shift."""
    errors = {}
    for first, second in itertools.pairwise(GOOD):
        if first.split("/")[0] != second.split("/")[0]:
            continue
        position = read_position(folder / first)
        with Image.open(folder / first) as image:
            shrink = image.width / width
        # Where the middle of the pictures' overlap lies in each: a turn about it cancels out.
        centres = np.array(
            [
                [read_position(folder / p)[k] for k in ("longitude", "latitude")]
                for p in (first, second)
            ]
        )
        middle = centres.mean(0, keepdims=True)
        expected = (to_px(folder / second, middle) - to_px(folder / first, middle))[0] / shrink
        measured = measure_shift(
            read_grey(folder / first, width=width), read_grey(folder / second, width=width)
        )
        errors[f"{first} → {second[-12:]}"] = float(
            np.hypot(*(measured - expected)) * shrink * position["ground_px_m"]
        )
    return errors


def test_draw_flights__exif_like_a_cameras(inbox: Path):
    with Image.open(inbox / GOOD[4]) as image:
        exif = image.getexif()
    photo, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    base = ExifTags.Base
    assert (exif[base.Make], exif[base.Model], exif[base.Orientation]) == ("DJI", "FC300S", 1)
    assert exif[base.ImageDescription] == "DCIM\\100MEDIA\\DJI_0002.JPG"
    assert photo[base.DateTimeOriginal] == "2024:01:23 17:27:45"
    assert photo[base.ExposureTime] == pytest.approx(1 / 640)
    assert (photo[base.FNumber], photo[base.ISOSpeedRatings]) == (2.8, 100)
    assert (photo[base.FocalLength], photo[base.FocalLengthIn35mmFilm]) == (3.61, 20)
    assert (photo[base.ExifImageWidth], photo[base.ExifImageHeight]) == (500, 375)
    assert (gps[1], gps[3], gps[5]) == ("S", "W", b"\x00")
    assert [float(part) for part in gps[2]][:2] == [38, 42]
    assert float(gps[6]) == pytest.approx(388 + read_position(inbox / GOOD[4])["RelativeAltitude"])


@pytest.mark.parametrize("path", GOOD)
def test_draw_flights__xmp_agrees_with_exif(inbox: Path, path: str):
    with Image.open(inbox / path) as image:
        packet = image.info["xmp"]
    assert packet.startswith(b'<?xpacket begin="\xef\xbb\xbf"')
    assert re.search(rb'drone-dji:RelativeAltitude="\+\d+\.\d\d"', packet)
    position = read_position(inbox / path)
    assert position["GpsLatitude"] == pytest.approx(position["latitude"], abs=1e-7)
    assert position["GpsLongitude"] == pytest.approx(position["longitude"], abs=1e-7)
    assert (position["GimbalPitchDegree"], position["GimbalRollDegree"]) == (-90, 0)
    assert {"AbsoluteAltitude", "FlightRollDegree", "FlightYawDegree", "FlightPitchDegree"} <= set(
        position
    )
    assert position["RelativeAltitude"] == pytest.approx(110 if "ridge" in path else 90, abs=0.3)


def test_draw_flights__neighbours_match_the_gps(inbox: Path):
    errors = registration_errors_m(inbox, width=500)
    assert len(errors) == 4
    # One pixel is 0.38 m and 0.31 m here.
    assert max(errors.values()) < 0.5, errors


def test_draw_flights__neighbours_overlap_by_seventy_percent(inbox: Path):
    for first, second in ((GOOD[0], GOOD[1]), (GOOD[4], GOOD[5])):
        centre = np.array([[read_position(inbox / first)[k] for k in ("longitude", "latitude")]])
        point = to_px(inbox / second, centre)[0] - (250, 187.5)
        assert point[1] / 375 == pytest.approx(0.3, abs=0.03)
        assert abs(point[0]) / 500 < 0.03


def test_truth__positions_of_pictures(inbox: Path):
    features = {
        f["properties"]["file"]: f for f in read_truth(inbox) if f["properties"]["class"] == "image"
    }
    assert sorted(features) == GOOD
    for path, feature in features.items():
        assert (
            feature["properties"]["image_id"]
            == hashlib.sha256((inbox / path).read_bytes()).hexdigest()
        )
        ring = np.array(feature["geometry"]["coordinates"][0])
        # Clockwise from the upper left, closed; a sphere's radius is up to 0.4 % off the ellipsoid's.
        corners = [(0, 0), (500, 0), (500, 375), (0, 375), (0, 0)]
        np.testing.assert_allclose(to_px(inbox / path, ring), corners, atol=1.5)


def colours_in(folder: Path, path: str, kind: str, *, without: tuple[str, ...] = ()) -> np.ndarray:
    """Pixels (N, 3) of one class, as the truth outlines it, in one picture."""
    with Image.open(folder / path) as image:
        pixels = np.asarray(image, float)[::2, ::2]
    rows, columns = pixels.shape[:2]
    points = np.stack(
        np.meshgrid(2 * np.arange(columns) + 0.5, 2 * np.arange(rows) + 0.5), -1
    ).reshape(-1, 2)
    inside, drop = {}, path.split("/")[0]
    for feature in read_truth(folder):
        properties = feature["properties"]
        if properties["drop"] == drop and properties["class"] in (kind, *without):
            ring = to_px(folder / path, np.array(feature["geometry"]["coordinates"][0]))
            hit = lies_inside(points, ring)
            inside[properties["class"]] = inside.get(properties["class"], False) | hit
    wanted = inside[kind]
    for other_kind in without:
        wanted = wanted & ~inside[other_kind]
    assert wanted.sum() > 100, kind
    return pixels.reshape(-1, 3)[wanted]


def test_truth__colours_of_the_burn(inbox: Path):
    picture = GOOD[4]
    burnt = colours_in(inbox, picture, "burnt", without=("smoke",))
    forest = colours_in(inbox, picture, "forest", without=("burnt", "smoke", "water"))
    water = colours_in(inbox, picture, "water")
    smoke = colours_in(inbox, picture, "smoke")
    red, green, blue = forest.mean(0)
    assert green > 1.1 * red, "green, although some of it is scorched"
    assert green > 1.2 * blue
    red, _, blue = water.mean(0)
    assert blue > 1.1 * red, "blue-green, brown where it is shallow"
    assert max(burnt.mean(0)) < 1.25 * min(burnt.mean(0)), "black and grey have no hue"
    assert burnt.mean() < 0.8 * water.mean()
    assert smoke.mean() > 2 * burnt.mean()


def test_truth__colours_of_the_farm(inbox: Path):
    picture = GOOD[1]
    forest = colours_in(inbox, picture, "forest")
    road = colours_in(inbox, picture, "road", without=("forest",))
    field = colours_in(inbox, picture, "field")
    building = colours_in(inbox, picture, "building")
    assert forest.mean() < 0.75 * field.mean(), "crowns shade each other"
    assert forest.mean(0)[1] > 1.2 * forest.mean(0)[2]
    assert max(road.mean(0)) < 1.1 * min(road.mean(0)), "asphalt is grey"
    assert building.mean(0)[0] > 1.2 * building.mean(0)[2], "most roofs are red or brown"


@pytest.mark.slow
def test_draw_flights__full_size(full_size: Path):
    for path in GOOD:
        data = (full_size / path).read_bytes()
        facts = inspect_image(data)
        assert (facts.width, facts.height) == (4000, 3000)
        assert 2e6 < len(data) < 8e6
        expected_m = 0.047 if "ridge" in path else 0.0385
        assert read_position(full_size / path)["ground_px_m"] == pytest.approx(expected_m, rel=0.01)
    assert max(registration_errors_m(full_size, width=1000).values()) < 0.25


@pytest.mark.slow
def test_draw_flights__scaled_pictures_show_the_same_ground(inbox: Path, full_size: Path):
    for path in GOOD:
        small_picture, large_picture = (
            read_grey(folder / path, width=250) for folder in (inbox, full_size)
        )
        assert np.corrcoef(small_picture.ravel(), large_picture.ravel())[0, 1] > 0.8
