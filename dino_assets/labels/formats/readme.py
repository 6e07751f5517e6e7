"""README.txt of an exported round: what each file is, and how its labels come back."""

from collections.abc import Collection, Sequence

from dino_assets.labels.export_settings import LabelFormat

README = "README.txt"
_FILES: tuple[tuple[LabelFormat, str, str], ...] = (
    ("coco", "annotations/instances_default.json", "COCO: pictures, boxes in pixels, classes"),
    ("yolo", "data.yaml, labels/", "YOLO: names of the classes, and a text file per picture"),
    ("cvat", "annotations.xml, manifest.jsonl", "CVAT for images 1.1, and the list of pictures"),
    (
        "label-studio",
        "label-studio.json, label-studio.xml",
        "Label Studio: tasks to import, and the labelling interface to paste into the project's settings",
    ),
    ("geojson", "labels.geojson", "outlines of tiles and boxes on the ground, in WGS 84"),
    ("geopackage", "labels.gpkg, labels.qml", "the same for QGIS, with a style by class"),
    (
        "csv",
        "labels.csv",
        "a row for each tile and each box; rectangles in pixels of the photograph",
    ),
)


def write_readme(
    round_name: str, *, formats: Collection[LabelFormat], classes: Sequence[str], counts: str
) -> bytes:
    """Write the text for the labelling team."""
    width = max(len(names) for _, names, _ in _FILES)
    lines = [
        f"  {'images/':<{width}}  crops of the tiles, with the photograph's GPS position in EXIF"
    ]
    lines += [f"  {names:<{width}}  {what}" for kind, names, what in _FILES if kind in formats]
    text = f"""\
{round_name}: {counts}

Files
{chr(10).join(lines)}

Classes: {", ".join(classes) or "none yet; choose them in your labelling program"}

How to label
  Give each picture one class, or draw boxes around things, or both. A box that covers the whole picture
  counts as the class of the picture. Do not rename the pictures: the name holds the tile's id, by which
  the labels find their photograph again. A name may get something before or after it.

How the labels come back
  Export from your program in one of these formats, or sort the pictures into one folder per class. Then:

    dino-assets labels import FILE-OR-FOLDER --by TEAM
"""
    return text.encode()
