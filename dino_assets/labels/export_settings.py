"""Settings of a round's export; a command reads them without numpy."""

from dataclasses import dataclass
from typing import Literal, get_args

from dino_assets.settings.described import described

LabelFormat = Literal[
    "coco", "yolo", "cvat", "label-studio", "geojson", "geopackage", "csv", "folders"
]
# Class folders can be read, but hold no boxes and no tile without a class.
OUT_FORMATS: tuple[LabelFormat, ...] = tuple(f for f in get_args(LabelFormat) if f != "folders")


@dataclass(frozen=True)
class LabelExportSettings:
    """Settings of a round's export; part of the recipe of ``label_exports``."""

    formats: tuple[str, ...] = described(
        (), f"Write only these formats of {', '.join(OUT_FORMATS)}; none named: all"
    )
    classes: tuple[str, ...] = described(
        (), "Classes to offer to the labelling team besides those of the labels"
    )
    image_url: str = described(
        "",
        "Address of the folder images/ for Label Studio, such as s3://bucket/round-1/images; none: its route "
        "for local files",
    )
    suggestions: bool = described(
        True, "Include the classes that the probe, or else the prototypes, suggest"
    )

    def lists(self, name: LabelFormat) -> bool:
        """Check whether a format is to be written."""
        return name in (self.formats or OUT_FORMATS)
