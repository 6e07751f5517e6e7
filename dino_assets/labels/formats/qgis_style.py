"""Style of QGIS (.qml) that draws each class of a layer in its own colour."""

from collections.abc import Sequence
from xml.etree import ElementTree

from dino_assets.projections.map.colours import pick_colours

STYLE = "labels.qml"
_UNLABELLED = "120,120,120"
_HEAD = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def encode_style(classes: Sequence[str]) -> bytes:
    """Encode a style for polygons with the column ``class``; QGIS loads it with the layer beside it."""
    root = ElementTree.Element("qgis", styleCategories="Symbology|Labeling", version="3.34.0")
    renderer = ElementTree.SubElement(
        root,
        "renderer-v2",
        {
            "type": "categorizedSymbol",
            "attr": "class",
            "enableorderby": "0",
            "forceraster": "0",
            "symbollevels": "0",
        },
    )
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    colours = [",".join(map(str, each)) for each in pick_colours(range(len(classes))).tolist()]
    entries = [*zip(classes, classes, colours, strict=True), ("", "no class yet", _UNLABELLED)]
    for number, (value, shown, colour) in enumerate(entries):
        category = {"symbol": str(number), "value": value, "label": shown, "render": "true"}
        ElementTree.SubElement(categories, "category", {**category, "type": "string"})
        _add_symbol(symbols, str(number), colour)
    ElementTree.indent(root)
    encoded: bytes = ElementTree.tostring(root, encoding="utf-8")
    return _HEAD + encoded + b"\n"


def _add_symbol(symbols: ElementTree.Element, name: str, colour: str) -> None:
    symbol = {"type": "fill", "name": name, "alpha": "1", "clip_to_extent": "1"}
    fill = {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
    layer = ElementTree.SubElement(ElementTree.SubElement(symbols, "symbol", symbol), "layer", fill)
    options = {
        "color": f"{colour},60",
        "style": "solid",
        "outline_color": f"{colour},255",
        "outline_style": "solid",
        "outline_width": "0.6",
        "outline_width_unit": "MM",
        "joinstyle": "bevel",
    }
    holder = ElementTree.SubElement(layer, "Option", type="Map")
    for option, value in options.items():
        ElementTree.SubElement(holder, "Option", name=option, type="QString", value=value)
