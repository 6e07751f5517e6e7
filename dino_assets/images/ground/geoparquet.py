"""Geometries for other programs: WKB (well-known binary) for GeoParquet, and GeoJSON."""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Ring = list[tuple[float, float]]
_POINT, _POLYGON, _MULTIPOLYGON = 1, 3, 6
_NAMES = {_POINT: "Point", _POLYGON: "Polygon", _MULTIPOLYGON: "MultiPolygon"}
_DIGITS = 9  # a tenth of a millimetre


def describe_geometry() -> bytes:
    """Make the GeoParquet 1.1 metadata (key ``geo``) of a table with a WKB column ``geometry``."""
    column = {
        "encoding": "WKB",
        "geometry_types": ["MultiPolygon", "Polygon"],
        # Written explicitly, because a reader may treat a missing system as unknown.
        "crs": json.loads(files("dino_assets.images.ground").joinpath("crs84.json").read_text()),
        "edges": "planar",
        "orientation": "counterclockwise",
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return json.dumps(geo, separators=(",", ":")).encode()


def encode_wkb(corners: NDArray[np.float64]) -> list[bytes | None]:
    """Encode areas, given by their corners (N, 4, 2: longitude, latitude), as WKB polygons.

    The polygons are counter-clockwise, closed, and cut at the antimeridian. The result is None for an area
    that is unknown or empty. It is also None for an area around a pole, which no polygon in degrees can
    contain.
    """
    areas = np.asarray(corners, np.float64).reshape(-1, 4, 2)
    steps = np.diff(areas[..., 0], axis=1, append=areas[:, :1, 0])
    steps = (steps + 180) % 360 - 180
    longitudes = areas[:, :1, 0] + np.cumsum(np.pad(steps[:, :3], ((0, 0), (1, 0))), axis=1)
    with np.errstate(invalid="ignore"):
        is_known = np.isfinite(areas).all((1, 2)) & (np.abs(steps.sum(1)) < 1)
    encoded: list[bytes | None] = []
    for has_area, east, north in zip(is_known, longitudes, areas[..., 1], strict=True):
        ring = list(zip(east.tolist(), north.tolist(), strict=True))
        encoded.append(_encode_area(ring) if has_area else None)
    return encoded


def encode_point(longitude: float | None, latitude: float | None) -> bytes | None:
    """Encode a point as WKB; return None if a coordinate is None."""
    if longitude is None or latitude is None:
        return None
    return struct.pack("<BIdd", 1, _POINT, longitude, latitude)


def decode_wkb(wkb: bytes) -> list[_Ring]:
    """Decode the outer rings of an area that ``encode_wkb`` wrote: one, or two at the antimeridian."""
    kind, count = struct.unpack_from("<xII", wkb)
    if kind == _POLYGON:
        return [_decode_ring(wkb, 9)[0]]
    rings, at = [], 9
    for _ in range(count):
        ring, at = _decode_ring(wkb, at + 9)
        rings.append(ring)
    return rings


def unify_kind(geometries: Sequence[bytes]) -> tuple[str, list[bytes]]:
    """Convert geometries to one type, as a GeoPackage layer needs; return the type's name and the geometries.

    If some areas have several parts, all areas become lists of parts. The type is ``Unknown`` if there is no
    geometry, or if points and areas are mixed.
    """
    kinds = {_find_kind(wkb) for wkb in geometries}
    if kinds == {_POLYGON, _MULTIPOLYGON}:
        head = struct.pack("<BII", 1, _MULTIPOLYGON, 1)
        lists = [head + wkb if _find_kind(wkb) == _POLYGON else wkb for wkb in geometries]
        return _NAMES[_MULTIPOLYGON], lists
    return _NAMES[kinds.pop()] if len(kinds) == 1 else "Unknown", list(geometries)


def encode_geojson(geometries: Sequence[bytes | None], rows: Iterable[Mapping[str, Any]]) -> str:
    """Encode geometries and their properties as GeoJSON (RFC 7946). Equal input gives equal text."""
    features = [
        {"type": "Feature", "geometry": _to_json(wkb), "properties": _clean(row)}
        for wkb, row in zip(geometries, rows, strict=True)
    ]
    lines = ",\n".join(
        json.dumps(feature, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        for feature in features
    )
    return '{"type":"FeatureCollection","features":[\n' + lines + "\n]}\n"


def _encode_area(ring: _Ring) -> bytes | None:
    lowest = min(x for x, _ in ring)
    shift = -360 * math.floor((lowest + 180) / 360)
    ring = [(x + shift, y) for x, y in ring]
    if max(x for x, _ in ring) <= 180:
        return _encode_polygon(ring)
    parts = [_clip(ring, keep_west=True), [(x - 360, y) for x, y in _clip(ring, keep_west=False)]]
    polygons = [p for p in map(_encode_polygon, parts) if p is not None]
    if len(polygons) < 2:
        return polygons[0] if polygons else None
    return struct.pack("<BII", 1, _MULTIPOLYGON, len(polygons)) + b"".join(polygons)


def _clip(ring: _Ring, *, keep_west: bool) -> _Ring:
    """Cut a convex ring at 180 degrees, and return the part on one side."""
    inside: _Ring = []
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
        if (x0 <= 180) if keep_west else (x0 >= 180):
            inside.append((x0, y0))
        if (x0 - 180) * (x1 - 180) < 0:
            inside.append((180.0, y0 + (y1 - y0) * (180 - x0) / (x1 - x0)))
    return inside


def _encode_polygon(ring: _Ring) -> bytes | None:
    doubled = _doubled_area(ring)
    if doubled == 0:
        return None
    ordered = ring if doubled > 0 else ring[::-1]
    closed = [*ordered, ordered[0]]
    flat = [number for point in closed for number in point]
    return struct.pack(f"<BIII{len(flat)}d", 1, _POLYGON, 1, len(closed), *flat)


def _doubled_area(ring: _Ring) -> float:
    """Compute twice the area of a ring; it is positive if the ring is counter-clockwise.

    Coordinates are taken relative to one corner, for precision.
    """
    x0, y0 = ring[0] if ring else (0.0, 0.0)
    near = [(x - x0, y - y0) for x, y in ring]
    pairs = zip(near, near[1:] + near[:1], strict=True)
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs)


def _decode_ring(wkb: bytes, at: int) -> tuple[_Ring, int]:
    (count,) = struct.unpack_from("<I", wkb, at)
    flat = struct.unpack_from(f"<{2 * count}d", wkb, at + 4)
    return list(zip(flat[::2], flat[1::2], strict=True)), at + 4 + 16 * count


def _find_kind(wkb: bytes) -> int:
    return int(struct.unpack_from("<xI", wkb)[0])


def _to_json(wkb: bytes | None) -> dict[str, Any] | None:
    if wkb is None:
        return None
    if _find_kind(wkb) == _POINT:
        point = struct.unpack_from("<dd", wkb, 5)
        return {"type": "Point", "coordinates": [round(value, _DIGITS) for value in point]}
    rings = [[[[round(x, _DIGITS), round(y, _DIGITS)] for x, y in r]] for r in decode_wkb(wkb)]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _clean(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values for JSON: no NaN, no numpy numbers, times in ISO 8601."""
    cleaned: dict[str, Any] = {}
    for name, value in row.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, float) and not math.isfinite(plain):
            plain = None
        cleaned[name] = plain.isoformat() if isinstance(plain, date) else plain
    return cleaned
