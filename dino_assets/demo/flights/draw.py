"""Two drops of drawn drone pictures, with EXIF, two bad files, and the truth about what they show."""

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
VERSION = 1  # of the drawing: raise it when the same seed would give other pictures
FULL_PX = (4000, 3000)
PICTURES = 3
FORWARD_OVERLAP = 0.7
MARGIN_M = 3.0  # drawn around what the cameras see: they sway
NOT_A_PICTURE = b"This is a text file that somebody named .JPG. It is here to be quarantined.\n"


@dataclass(frozen=True)
class Flight:
    """One flight line over one place. ``bad_files``: a card with a truncated picture and a stray text."""

    drop: str
    place: Site
    altitude_m: float
    start: datetime
    interval_s: int
    draw: Callable[[np.random.Generator, Raster], Scene]
    bad_files: bool


# The sun of each place's light stands where it did at that hour there, within two degrees.
FLIGHTS = (
    Flight(
        drop="ridge-north",
        place=Site(47.610213, 13.781904, elevation_m=742.0, bearing_deg=38.0),
        altitude_m=110.0,
        start=datetime(2024, 6, 14, 10, 5, 12),  # noqa: DTZ001 - EXIF times are local and say no zone
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
    """Write the drops ``ridge-north`` and ``river-burn`` and ``truth.geojson`` beside them.

    The same seed gives the same bytes. Finished work is left alone, so that a second call costs only
    reading; what a killed call left is completed. ``scale`` below 1 gives smaller pictures of the same
    ground.

    Raises:
        ConfigError: the scale is not above 0 and at most 1, or files of somebody's own are in the way.
    """
    if not 0 < scale <= 1:
        raise ConfigError(
            f"scale is {scale!r}; it must be above 0 and at most 1 (12 megapixels).",
            setting="scale",
            value=scale,
        )
    drops = [folder / flight.drop for flight in FLIGHTS]
    ours = _read_truth(folder)
    if _is_finished(folder, ours, seed=seed, scale=scale):
        return drops

    def fly(number: int) -> list[tuple[str, bytes, dict[str, Any] | None]]:
        return list(_fly(np.random.default_rng([seed, number]), FLIGHTS[number], scale=scale))

    # NumPy and Pillow let go of the interpreter while they draw: two cores, two flights at a time.
    with ThreadPoolExecutor(len(FLIGHTS)) as pool:
        drawn = [drawn for flight in pool.map(fly, range(len(FLIGHTS))) for drawn in flight]
    files = {path: data for path, data, _ in drawn if path}
    _refuse_strangers(folder, files, ours)
    for path, data in files.items():
        _put(folder, path, data)
    # Last: a truth that is there and agrees says that everything before it is.
    truth = {"type": "FeatureCollection", "drawing": VERSION, "seed": seed, "scale": scale}
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    features = [feature for _, _, feature in drawn if feature]
    text = json.dumps({**truth, "files": hashes, "features": features}, indent=1)
    _put(folder, TRUTH, text.encode())
    return drops


def _read_truth(folder: Path) -> dict[str, Any]:
    """What an earlier call wrote here, empty if that is not to be known."""
    try:
        truth = json.loads((folder / TRUTH).read_bytes())
        return truth if isinstance(truth["files"], dict) and "drawing" in truth else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _list_files(folder: Path) -> list[str]:
    paths = (path for flight in FLIGHTS for path in (folder / flight.drop).rglob("*"))
    return sorted(path.relative_to(folder).as_posix() for path in paths if not path.is_dir())


def _refuse_strangers(folder: Path, files: dict[str, bytes], ours: dict[str, Any]) -> None:
    """Somebody's own flight may have one of our names, and DJI's files have the names they have."""
    drawn = ours.get("files", {})
    strangers = [
        path
        for path in _list_files(folder)
        if path not in files or (path not in drawn and (folder / path).read_bytes() != files[path])
    ]
    if (folder / TRUTH).exists() and not ours:
        strangers.append(TRUTH)
    if strangers:
        raise ConfigError(
            f"{len(strangers)} files in {folder.name!r} lie where sample flights would be drawn and are "
            f"not theirs, {strangers[0]!r} first. Move them away; nothing was written.",
            setting="folder",
            value=strangers,
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


def _put(folder: Path, path: str, data: bytes) -> None:
    """Write whole or not at all; equal bytes keep their time stamp, so no drop looks changed."""
    target = folder / path
    if target.is_file() and target.read_bytes() == data:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder / ".unfinished"  # outside the drops: what a kill leaves is nobody's picture
    unfinished.write_bytes(data)
    unfinished.replace(target)


def _fly(
    rng: np.random.Generator, flight: Flight, *, scale: float
) -> Iterator[tuple[str, bytes, dict[str, Any] | None]]:
    """Draw the place, fly along its y axis: files (path, bytes) and what to say about them."""
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
        yield "", b"", _tell(flight.place, region.outline, about)
    data = b""
    for number in range(PICTURES):
        pose, capture = _hold(wind, flight, number=number, step_m=step_m)
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
        yield path, data, _tell(flight.place, pose.footprint(camera), about)
    if flight.bad_files:
        # The battery was pulled while the card was still being written.
        yield _name(flight, "DJI_0004.JPG"), data[: int(len(data) * 0.45)], None
        yield _name(flight, "DJI_0005.JPG"), NOT_A_PICTURE, None


def _name(flight: Flight, name: str) -> str:
    return f"{flight.drop}/DCIM/100MEDIA/{name}"


def _hold(
    wind: np.random.Generator, flight: Flight, *, number: int, step_m: float
) -> tuple[Pose, Exposure]:
    """Where the drone hangs for its next picture: near the line, as well as a gust allows."""
    sway, lift, twist = wind.uniform(-1, 1, 2), wind.uniform(-0.2, 0.2), wind.uniform(-0.3, 0.3)
    # As coarse as DJI writes them, so that what is written is exactly what was flown.
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


def _tell(place: Site, outline: Outline, about: dict[str, Any]) -> dict[str, Any]:
    ring = place.to_degrees(np.concatenate([outline, outline[:1]])).round(8).tolist()
    return {
        "type": "Feature",
        "properties": about,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
