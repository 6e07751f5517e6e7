"""Column descriptions of each table, for the UI: name, type and meaning.

Descriptions are part of the assets' definitions, not of the Parquet files. So a better description does not
change committed bytes.
"""

import dagster as dg
import pyarrow as pa

from dino_assets.selections.strategies.strategy import REASONS

COLUMN_SCHEMA = "dagster/column_schema"

_DESCRIPTIONS = {
    "drop": "Name of the drop",
    "path": "Path of the file, relative to the drop's source",
    "bytes": "Size of the file in bytes",
    "is_usable": "Whether tiles can be cut from the file; false: it is quarantined",
    "reason": "Why the file is quarantined; empty for usable files",
    "detail": "The error message of the program that tried to read the file",
    "image_id": "sha256 of the file; equal files in two drops have the same id",
    "format": "File format, found from the content, not from the name: JPEG, TIFF, …",
    "mode": "Channels and bit depth, as stored",
    "width": "Width of the upright image, in pixels",
    "height": "Height of the upright image, in pixels",
    "stored_width": "Width in the file, in pixels, before the image is turned upright",
    "stored_height": "Height in the file, in pixels, before the image is turned upright",
    "orientation": "EXIF orientation number, 1 to 8: how to turn the image upright",
    "note": "What was left out or changed when the file was read, for example: first of 3 pages",
    "label": "Label from a list, or from a folder named after a class",
    "metadata": "The other columns of the list, as a JSON object",
    "raw_path": "The DNG file that was taken with the photograph",
    "thermal": "How the pixels store temperatures; empty for colour images",
    "taken": "Time of the shot, in the camera's local time",
    "utc_offset": "Time zone of the camera, if recorded",
    "edited_by": "Program that saved the file after the camera did",
    "satellite_date": "Date from the satellite receiver (GPS)",
    "make": "Manufacturer of the camera",
    "model": "Model of the camera",
    "lens": "Lens, or name of the camera on drones with several",
    "image_source": "DJI's name for the camera, on drones with several",
    "focal_mm": "Focal length in mm",
    "focal_35mm": "Focal length in mm, converted to 35 mm film",
    "focal_px": "Focal length in pixels of the stored image",
    "focal_from": "Source of focal_px: calibration, tags or the table of cameras",
    "center_x_px": "Principal point in the stored image, in pixels; empty: the middle",
    "center_y_px": "Principal point in the stored image, in pixels; empty: the middle",
    "latitude": "Latitude of the camera, degrees north, WGS 84",
    "longitude": "Longitude of the camera, degrees east, WGS 84",
    "altitude_m": "Metres above sea level, as recorded by the camera",
    "relative_altitude_m": "Metres above the take-off; from Pix4D tags: above the ground",
    "gimbal_yaw_deg": "Direction of the camera, clockwise from north",
    "gimbal_pitch_deg": "Tilt of the camera; -90 is straight down",
    "gimbal_roll_deg": "Rotation of the camera about its optical axis",
    "flight_yaw_deg": "Heading of the drone, clockwise from north",
    "flight_pitch_deg": "Forward tilt of the drone",
    "flight_roll_deg": "Sideways tilt of the drone",
    "rtk": "Quality of the position from a GPS receiver with corrections (RTK): fixed, float or single",
    "sharpness": "Larger is sharper; comparable within one drop only",
    "contrast": "Difference in brightness levels within the most detailed parts of the image; below 8, "
    "sharpness means little",
    "exposure_ev": "Brightness, in stops above or below middle grey",
    "dark_share": "Share of pixels that are nearly black",
    "bright_share": "Share of pixels that are nearly white",
    "look": "Fingerprint of the visible content, to find duplicates",
    "thumb": "Thumbnail, WebP",
    "is_mosaic": "Whether the image is read window by window, as orthomosaics are",
    "valid": "Which cells of a mosaic have data, as packed bits",
    "scale_low": "Pixel value that is shown as black, for scaled images",
    "scale_high": "Pixel value that is shown as white, for scaled images",
    "crs": "Coordinate reference system of a mosaic",
    "transform": "Six numbers that convert a mosaic's pixels to coordinates of its reference system",
    "turned_deg": "Clockwise turn of the pixels by a program, proven by overlapping images; empty: no sign "
    "of a turn, or not proven",
    "height_m": "Height above the ground in metres, used for the outline",
    "place_quality": "How the place is known: ortho, rtk-nadir, gps-nadir, oblique or none; edited-nadir "
    "and edited-oblique: a program saved the file after the shot and may have turned it",
    "center_longitude": "Longitude of the centre on the ground, degrees east",
    "center_latitude": "Latitude of the centre on the ground, degrees north",
    "gsd_m": "Ground sample distance: metres of ground per pixel",
    "geometry": "Outline on the ground: WKB, OGC:CRS84",
    "tile_id": "Id made from image, window and grid; the same window of the same file has the same id",
    "x": "Left edge of the window in its image, in pixels",
    "y": "Upper edge of the window in its image, in pixels",
    "w": "Width of the window in pixels",
    "h": "Height of the window in pixels",
    "side_px": "Side of the square that the model sees, in pixels",
    "span_px": "Side of the square in the image that becomes the tile, in pixels; 0: the whole image",
    "is_whole": "Whether the tile is a whole small image",
    "is_padded": "Whether the window reaches beyond the image's edge",
    "box_class": "Class of the detector's box that the tile shows; only drops with boxes have these columns",
    "box_score": "Score of the box, 0 to 1; empty if the detector gave none",
    "box_x": "Left edge of the box in its image, in pixels",
    "box_y": "Upper edge of the box in its image, in pixels",
    "box_w": "Width of the box in pixels",
    "box_h": "Height of the box in pixels",
    "box_group": "Id of the first tile of its group: boxes of one class that recur at one place in the images of "
    "one camera are one group, and count once in a round",
    "cls": "The model's CLS vector of the tile; stored if the config asks for it",
    "mean": "The mean of the tile's patch vectors; stored if the config asks for it",
    "regions": "The means of the patch vectors in squares of the tile, row by row; stored if the config asks for it",
    "round": "Number of the round",
    "rank": "Rank in the round; 1 was chosen first",
    "cluster": "Cluster from which the tile was chosen",
    "distance": "Distance that decided the choice: to the nearest tile chosen before, or to the cluster's "
    "centre",
}
_OF_ONE_ASSET = {
    "projections": {
        "x": "Horizontal position on the map; only nearness has a meaning",
        "y": "Vertical position on the map; only nearness has a meaning",
    },
    "selections": {
        "reason": f"Why the tile was chosen: {', '.join(REASONS)}",
        "latitude": "Latitude of the tile's centre on the ground, degrees north",
        "longitude": "Longitude of the tile's centre on the ground, degrees east",
        "path": "Path of the photograph, relative to the drop's source",
        "stands_for": "Number of the pool's tiles whose nearest chosen tile is this one",
        "to_chosen": "Distance to the nearest tile that was chosen before it",
        "neighbours": "Ids of the tiles of the pool that are most similar to it",
        "why": "Why the tile was chosen, in one sentence",
        "share": "Share of the budget that the tile belongs to: a class, or explore",
        "score": "Cosine with the mean of the class's examples",
        "uncertainty": "Uncertainty of the probe's prediction, 0 to 1; empty if another strategy chose the round",
    },
    "label_versions": {
        "picture": "Name of the picture beside this table; empty if the photograph could not be read",
        "class_name": "The class",
        "level": "What has the class: a tile, a box, or a whole photograph (image)",
        "label_id": "Id of the deciding answer",
    },
    "label_exports": {
        "path": "Path of the photograph, relative to the drop's source",
        "file": "Name of the crop in the zip file",
        "class_name": "Class of the tile; empty if nobody gave one",
        "box_classes": "Classes of the labelled boxes that the tile shows",
        "suggestion": "Class that the probe, or else a prototype, suggests",
        "suggestion_score": "Probability of the suggested class; empty if a prototype suggests it",
    },
    "heat_maps": {
        "class_name": "Class of the probe, or name of the prototype",
        "source": "What scored the tiles: probe or prototype",
        "file": "Name of the GeoTIFF beside this table",
        "epsg": "Coordinate system of the GeoTIFF: a UTM zone",
        "cell_m": "Side of a cell in metres",
        "cells": "Number of cells that at least one tile shows",
        "tiles": "Number of tiles on the map",
        "unplaced": "Number of tiles without a place on the ground, or with one far from the others",
        "threshold": "Score from which a cell is hot",
        "chosen_by": "What the threshold was chosen by: labels that were held out, or a percentile",
        "f1": "F1 of the held-out labels at the threshold",
        "hot_places": "Number of separate places that are hot",
        "hot_m2": "Area of hot ground",
        "highest": "Highest score of a cell",
        "longitude": "Longitude of the cell with the highest score, degrees east",
        "latitude": "Latitude of the cell with the highest score, degrees north",
    },
    "labels": {
        "label_id": "Id of the answer that decides",
        "level": "What has the class: a tile, a whole image, or a box in an image",
        "drop": "Name of the drop in which the person saw it",
        "path": "Path of the photograph, relative to the drop's source",
        "tile_id": "Id of the tile; empty for images and boxes",
        "class_name": "The class that people agree on, or that one of them settled",
        "by": "Person whose answer decides",
        "at": "Time of the answer, UTC",
        "source": "Where the answer was given: the studio, or an imported file",
        "round": "Round that asked for the label, with its space",
        "seconds": "Time that the person took",
        "people": "Number of persons who gave this class",
        "is_settled": "Whether people disagreed, and one of them settled the class",
    },
    "probes": {
        "class_name": "The class with the highest probability",
        "probability": "Probability of this class",
        "probabilities": "Probability of each class, in the order of the classes in probe.json",
        "entropy": "Spread of the probabilities: 0 if one class is certain, 1 if all are equally likely",
        "margin": "Probability of the likeliest class minus that of the second; small is uncertain",
        "disagreement": "How much probes differ that learned from other draws of the labels, 0 to 1",
        "label": "Class that people gave to the tile; empty: it has no label",
        "is_held_out": "Whether the tile has a label, and the prediction is of a probe that did not see its ground",
        "fold": "Fold in which the tile was held out; empty: it has no label",
    },
    "learning_curve": {
        "strategy": "Strategy that chose the labels",
        "budget": "Number of labels that it chose",
        "mean": "Macro accuracy on held-out ground, the mean over seeds",
        "low": "Lower end of the 95 % interval of the mean",
        "high": "Upper end of the 95 % interval of the mean",
        "gain": "Difference from random selection on the same ground, in macro accuracy",
        "gain_low": "Lower end of the 95 % interval of the gain",
        "gain_high": "Upper end of the 95 % interval of the gain",
        "seeds": "Number of repetitions, each with other ground held out",
    },
}


def describe_columns(asset: str, schema: pa.Schema) -> dict[str, dg.TableSchema]:
    """Describe the columns of an asset's table, as metadata for its definition."""
    descriptions = _DESCRIPTIONS | _OF_ONE_ASSET.get(asset, {})
    columns = [
        dg.TableColumn(
            field.name,
            _spell_type(field.type),
            description=descriptions[field.name],
            constraints=dg.TableColumnConstraints(nullable=field.nullable),
        )
        for field in schema
    ]
    return {COLUMN_SCHEMA: dg.TableSchema(columns)}


def _spell_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list of {_spell_type(kind.value_type)}"
    return "float16" if pa.types.is_float16(kind) else str(kind)
