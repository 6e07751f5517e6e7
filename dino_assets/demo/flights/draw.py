"""Drawing of two drops of drone pictures, with EXIF, two bad files, and ground truth as GeoJSON."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dino_assets.demo.flights.camera import Camera, Pose, Site, take_picture
from dino_assets.demo.flights.sites import Scene, draw_burn, draw_farm
from dino_assets.demo.flights.tags import Exposure, write_exif, write_xmp
from dino_assets.demo.flights.terrain import Outline, Raster
from dino_assets.errors import ConfigError

TRUTH = "truth.geojson"
VERSION = 1  # of the drawing: increase it if the same seed would give other pictures
FULL_PX = (4000, 3000)
PICTURES = 3
FORWARD_OVERLAP = 0.7
MARGIN_M = 3.0  # also drawn, around the cameras' footprints, because the drone sways
NOT_A_PICTURE = b"This is a text file that somebody named .JPG. It is here to be quarantined.\n"


@dataclass(frozen=True)
class Flight:
    """One flight line over one site. With ``bad_files``, a truncated picture and a text file are added."""

    drop: str
    place: Site
    altitude_m: float
    start: datetime
    interval_s: int
    draw: Callable[[np.random.Generator, Raster], Scene]
    bad_files: bool


# Each site's light uses the sun's real position at that place and time, within two degrees.
FLIGHTS = (
    Flight(
        drop="ridge-north",
        place=Site(47.610213, 13.781904, elevation_m=742.0, bearing_deg=38.0),
        altitude_m=110.0,
        start=datetime(2024, 6, 14, 10, 5, 12),  # noqa: DTZ001 - EXIF times are local, without a zone
        interval_s=6,
        draw=draw_farm,
        bad_files=False,
    ),
    Flight(
        drop="river-burn",
        place=Site(-38.704871, -71.893306, elevation_m=388.0, bearing_deg=131.0),
        altitude_m=90.0,
        start=datetime(2024, 1, 23, 17, 27, 40),  # noqa: DTZ001
        interval_s=5,
        draw=draw_burn,
        bad_files=True,
    ),
)


def draw_flights(folder: Path, *, seed: int = 0, scale: float = 1.0) -> list[Path]:
    """Draw the drops ``ridge-north`` and ``river-burn``, and ``truth.geojson`` beside them.

    The same seed gives the same bytes. Finished files are kept, so a second call only reads them; the work of
    a killed call is completed. A ``scale`` below 1 gives smaller pictures of the same ground.

    Raises:
        ConfigError: the scale is not above 0 and at most 1, or a folder holds files that were not drawn.
    """
    if not 0 < scale <= 1:
        raise ConfigError(
            f"scale is {scale!r}; expected above 0 and at most 1 (12 megapixels).",
            setting="scale",
            value=scale,
        )
    drops = [folder / flight.drop for flight in FLIGHTS]
    earlier = _read_truth(folder)
    if _is_finished(folder, earlier, seed=seed, scale=scale):
        return drops

    def draw_one(number: int) -> list[tuple[str, bytes, dict[str, Any] | None]]:
        return list(
            _draw_flight(np.random.default_rng([seed, number]), FLIGHTS[number], scale=scale)
        )

    # NumPy and Pillow release the interpreter's lock while they draw, so two flights use two cores.
    with ThreadPoolExecutor(len(FLIGHTS)) as pool:
        drawn = [drawn for flight in pool.map(draw_one, range(len(FLIGHTS))) for drawn in flight]
    files = {path: data for path, data, _ in drawn if path}
    _refuse_foreign_files(folder, files, earlier)
    for path, data in files.items():
        _write_file(folder, path, data)
    # Written last: a valid truth file means that all other files are complete.
    truth = {"type": "FeatureCollection", "drawing": VERSION, "seed": seed, "scale": scale}
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    features = [feature for _, _, feature in drawn if feature]
    text = json.dumps({**truth, "files": hashes, "features": features}, indent=1)
    _write_file(folder, TRUTH, text.encode())
    return drops


def _read_truth(folder: Path) -> dict[str, Any]:
    """Read the truth file of an earlier call; empty if it is missing or invalid."""
    try:
        truth = json.loads((folder / TRUTH).read_bytes())
        return truth if isinstance(truth["files"], dict) and "drawing" in truth else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _list_files(folder: Path) -> list[str]:
    paths = (path for flight in FLIGHTS for path in (folder / flight.drop).rglob("*"))
    return sorted(path.relative_to(folder).as_posix() for path in paths if not path.is_dir())


def _refuse_foreign_files(folder: Path, files: dict[str, bytes], earlier: dict[str, Any]) -> None:
    """Raise an error if a folder holds files that were not drawn: a real flight may have the same names."""
    drawn = earlier.get("files", {})
    foreign = [
        path
        for path in _list_files(folder)
        if path not in files or (path not in drawn and (folder / path).read_bytes() != files[path])
    ]
    if (folder / TRUTH).exists() and not earlier:
        foreign.append(TRUTH)
    if foreign:
        raise ConfigError(
            f"cannot draw sample flights in {folder.name!r}: it holds {len(foreign)} files that were not "
            f"drawn; the first is {foreign[0]!r}. Nothing was written. Move these files away.",
            setting="folder",
            value=foreign,
        )


def _is_finished(folder: Path, truth: dict[str, Any], *, seed: int, scale: float) -> bool:
    try:
        return (
            (truth["drawing"], truth["seed"], truth["scale"]) == (VERSION, seed, scale)
            and _list_files(folder) == sorted(truth["files"])
            and all(
                hashlib.sha256((folder / path).read_bytes()).hexdigest() == sha256
                for path, sha256 in truth["files"].items()
            )
        )
    except (OSError, KeyError):
        return False


def _write_file(folder: Path, path: str, data: bytes) -> None:
    """Write a file completely or not at all; a file with equal bytes keeps its time stamp."""
    target = folder / path
    if target.is_file() and target.read_bytes() == data:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = (
        folder / ".unfinished"
    )  # outside the drops, so a kill leaves no partial picture in one
    unfinished.write_bytes(data)
    unfinished.replace(target)


def _draw_flight(
    rng: np.random.Generator, flight: Flight, *, scale: float
) -> Iterator[tuple[str, bytes, dict[str, Any] | None]]:
    """Draw the site and take pictures along its y axis; yield path, bytes and ground truth of each file.

    Each region of the site is yielded first, as ground truth with an empty path. Bad files have no ground
    truth.
    """
    world, wind, sensor = rng.spawn(3)
    camera = Camera(*(round(side * scale) for side in FULL_PX))
    ground_px_m = camera.ground_px_m(flight.altitude_m)
    step_m = (1 - FORWARD_OVERLAP) * camera.height_px * ground_px_m
    width_m = camera.width_px * ground_px_m + 2 * MARGIN_M
    length_m = camera.height_px * ground_px_m + (PICTURES - 1) * step_m + 2 * MARGIN_M
    scene = flight.draw(world, Raster(width_m, length_m, 1 / ground_px_m))
    ground = Image.fromarray(scene.picture)
    for order, region in enumerate(scene.regions):
        about = {"drop": flight.drop, "class": region.kind, "order": order}
        yield "", b"", _make_feature(flight.place, region.outline, about)
    data = b""
    for number in range(PICTURES):
        pose, capture = _choose_pose(wind, flight, number=number, step_m=step_m)
        picture = take_picture(sensor, ground, scene.raster, camera=camera, pose=pose)
        path = _name(flight, capture.name)
        data = _encode(picture, camera, capture)
        about = {
            "drop": flight.drop,
            "class": "image",
            "file": path,
            "image_id": hashlib.sha256(data).hexdigest(),
            "width_px": camera.width_px,
            "height_px": camera.height_px,
            "longitude_deg": capture.longitude_deg,
            "latitude_deg": capture.latitude_deg,
            "altitude_m": capture.altitude_m,
            "yaw_deg": capture.yaw_deg,
            "ground_px_m": camera.ground_px_m(capture.altitude_m),
        }
        yield path, data, _make_feature(flight.place, pose.footprint(camera), about)
    if flight.bad_files:
        # Like a card that was being written when the battery was pulled.
        yield _name(flight, "DJI_0004.JPG"), data[: int(len(data) * 0.45)], None
        yield _name(flight, "DJI_0005.JPG"), NOT_A_PICTURE, None


def _name(flight: Flight, name: str) -> str:
    return f"{flight.drop}/DCIM/100MEDIA/{name}"


def _choose_pose(
    wind: np.random.Generator, flight: Flight, *, number: int, step_m: float
) -> tuple[Pose, Exposure]:
    """Choose the drone's pose for a picture, near the flight line and shifted as if by wind.

    Return the pose and the metadata of the picture.
    """
    sway, lift, twist = wind.uniform(-1, 1, 2), wind.uniform(-0.2, 0.2), wind.uniform(-0.3, 0.3)
    # Rounded as DJI writes them, so that the metadata is exact.
    altitude_m = round(flight.altitude_m + lift, 1)
    yaw_deg = round(flight.place.bearing_deg + twist, 1)
    along = (number - (PICTURES - 1) / 2) * step_m
    pose = Pose(
        float(sway[0]), float(along + sway[1]), altitude_m, yaw_deg - flight.place.bearing_deg
    )
    longitude, latitude = flight.place.to_degrees(np.array([[pose.x, pose.y]]))[0]
    capture = Exposure(
        name=f"DJI_{number + 1:04d}.JPG",
        taken=flight.start + timedelta(seconds=number * flight.interval_s),
        latitude_deg=float(latitude),
        longitude_deg=float(longitude),
        elevation_m=flight.place.elevation_m + altitude_m,
        altitude_m=altitude_m,
        yaw_deg=yaw_deg,
        flight_roll_deg=round(float(wind.normal(0, 2)), 1),
        flight_pitch_deg=round(float(wind.normal(-8, 2)), 1),
    )
    return pose, capture


def _encode(picture: Image.Image, camera: Camera, capture: Exposure) -> bytes:
    sink = io.BytesIO()
    picture.save(
        sink,
        "JPEG",
        quality=88,
        subsampling="4:2:2",  # as DJI does
        exif=write_exif(camera, capture),
        xmp=write_xmp(capture),
    )
    return sink.getvalue()


def _make_feature(place: Site, outline: Outline, about: dict[str, Any]) -> dict[str, Any]:
    ring = place.to_degrees(np.concatenate([outline, outline[:1]])).round(8).tolist()
    return {
        "type": "Feature",
        "properties": about,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
