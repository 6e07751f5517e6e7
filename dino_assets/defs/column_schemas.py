"""The columns of each table for the UI: name, type and a word on what is in it.

In the assets' definitions, not in the Parquet files: better words must not change committed bytes.
"""

import dagster as dg
import pyarrow as pa

COLUMN_SCHEMA = "dagster/column_schema"

_WORDS = {
    "drop": "The drop that it came with",
    "path": "The file, as seen from the drop's source",
    "bytes": "Size of the file",
    "is_usable": "Whether it is a photograph that tiles are cut from",
    "reason": "Why it is quarantined; empty for a usable one",
    "detail": "The reason in the reader's own words",
    "image_id": "sha256 of the file: the same file in two drops has one id",
    "format": "What the bytes are, whatever the name says: JPEG, TIFF, …",
    "mode": "Channels and depth as they are stored",
    "width": "Pixels, upright",
    "height": "Pixels, upright",
    "stored_width": "Pixels as the file stores them, before it is turned upright",
    "stored_height": "Pixels as the file stores them, before it is turned upright",
    "orientation": "EXIF's number for how to turn it upright",
    "note": "What was left out or changed in reading, such as: first of 3 pages",
    "label": "The label that a list or a class folder gave it",
    "metadata": "What else a list said of it, as a JSON object",
    "raw_path": "The DNG that was taken with it",
    "thermal": "How the pixels hold temperatures, if they do",
    "taken": "When it was taken, in the camera's local time",
    "utc_offset": "The camera's time zone, where it says one",
    "edited_by": "The program that wrote the file anew after it was taken",
    "satellite_date": "The date that the satellites gave",
    "make": "Who made the camera",
    "model": "The camera's model",
    "lens": "The lens or the one of several cameras",
    "image_source": "The one of several cameras, as DJI calls it",
    "focal_mm": "Focal length in mm",
    "focal_35mm": "Focal length in mm, as if on 35 mm film",
    "focal_px": "Focal length in pixels of the stored frame",
    "focal_from": "Where focal_px is from: calibration, tags or a table of cameras",
    "center_x_px": "Principal point in the stored frame; empty: the middle",
    "center_y_px": "Principal point in the stored frame; empty: the middle",
    "latitude": "Degrees north, WGS 84",
    "longitude": "Degrees east, WGS 84",
    "altitude_m": "Metres above sea level, as the camera says",
    "relative_altitude_m": "Metres above the place of take-off; of Pix4D words, above the ground",
    "gimbal_yaw_deg": "Where the camera looked, clockwise from north",
    "gimbal_pitch_deg": "How far down the camera looked; -90 is straight down",
    "gimbal_roll_deg": "How far the camera was turned about its own axis",
    "flight_yaw_deg": "Where the drone was headed, clockwise from north",
    "flight_pitch_deg": "How far the drone was tilted forwards",
    "flight_roll_deg": "How far the drone was tilted sideways",
    "rtk": "Quality of the corrected position: fixed, float or single",
    "sharpness": "Larger is sharper; compared among the photographs of a drop",
    "contrast": "Brightness levels that its liveliest parts differ by; below 8 sharpness alone says nothing",
    "exposure_ev": "Stops above or below a middle grey",
    "dark_share": "Share of pixels that are as good as black",
    "bright_share": "Share of pixels that are as good as white",
    "look": "A fingerprint of how it looks, for duplicates",
    "thumb": "A small picture, WebP",
    "is_mosaic": "Whether it is read by windows, as an orthomosaic is",
    "valid": "Which cells of a mosaic hold anything, packed bits",
    "scale_low": "The value that is shown black, where pixels are scaled",
    "scale_high": "The value that is shown white, where pixels are scaled",
    "crs": "The reference system of a mosaic",
    "transform": "From a mosaic's pixels to its reference system: six numbers",
    "turned_deg": "By how much a program turned the pixels clockwise, as overlapping pictures prove; "
    "empty: not in question, or not proven",
    "height_m": "Metres above the ground that the footprint is made with",
    "place_quality": "How the place is known: ortho, rtk-nadir, gps-nadir, oblique or none; edited-nadir "
    "and edited-oblique: the file was written anew after the shot, and may have been turned",
    "center_longitude": "Of its middle on the ground, degrees east",
    "center_latitude": "Of its middle on the ground, degrees north",
    "gsd_m": "Metres of ground in one pixel",
    "geometry": "Its outline on the ground: WKB, OGC:CRS84",
    "tile_id": "Image, window and grid: the same window of the same file has one id",
    "x": "Left edge of the window in its image, pixels",
    "y": "Upper edge of the window in its image, pixels",
    "w": "Width of the window, pixels",
    "h": "Height of the window, pixels",
    "side_px": "Side of the square that the model sees",
    "span_px": "Side of the square of the image that it shows; 0: a whole image",
    "is_whole": "Whether it is a whole small image",
    "is_padded": "Whether it reaches over the image's edge",
    "cls": "The model's vector for the whole tile; only where asked for",
    "mean": "The mean of the model's patch vectors; only where asked for",
    "round": "The round's number",
    "rank": "Its place in the round; 1 was chosen first",
    "cluster": "The cluster that it was chosen from",
    "distance": "What decided: how far from the nearest that was chosen before, or from its cluster's centre",
}
_OF_ONE_ASSET = {
    "projections": {"x": "Place on the map; only nearness means something", "y": "As x"},
    "selections": {
        "reason": "Why it was chosen: random, central, first or farthest",
        "latitude": "Of its middle on the ground, degrees north",
        "longitude": "Of its middle on the ground, degrees east",
        "path": "The photograph, as seen from the drop's source",
    },
}


def describe_columns(asset: str, schema: pa.Schema) -> dict[str, dg.TableSchema]:
    """Describe the columns of an asset's table, as the metadata of its definition."""
    words = _WORDS | _OF_ONE_ASSET.get(asset, {})
    columns = [
        dg.TableColumn(
            field.name,
            _spell_type(field.type),
            description=words[field.name],
            constraints=dg.TableColumnConstraints(nullable=field.nullable),
        )
        for field in schema
    ]
    return {COLUMN_SCHEMA: dg.TableSchema(columns)}


def _spell_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list of {_spell_type(kind.value_type)}"
    return "float16" if pa.types.is_float16(kind) else str(kind)
