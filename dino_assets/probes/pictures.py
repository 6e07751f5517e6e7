"""Pictures of a probe's scores: the confusion of classes, and the calibration of its probabilities."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dino_assets.drawing.colour_scales import ColourScale
from dino_assets.drawing.lettering import (
    GREY,
    INK,
    LINE,
    WHITE,
    encode_picture,
    load_font,
    shorten,
)
from dino_assets.drawing.panels import Panel, draw_panels
from dino_assets.probes.scores import ProbeScores

MOST_CLASSES = 24  # on the picture, those with most labels; the JSON has all
_NAMES_PX, _CELL_PX, _TEXT_PX = 190, 56, 15
_SIDE_PX, _LEFT_PX, _FOOT_PX, _COUNTS_PX = 420, 64, 44, 70
_BAR, _TWO_LINES = (49, 104, 142), 2


def draw_confusion(scores: ProbeScores, *, title: str, notes: Sequence[str], caveat: str) -> bytes:
    """Draw the confusion of classes as a PNG: a row per class, coloured by the shares of its labels."""
    order = np.argsort(-scores.confusion.sum(axis=1), kind="stable")[:MOST_CLASSES]
    order = np.sort(order)
    names = [scores.classes[row].class_name for row in order.tolist()]
    counts = scores.confusion[np.ix_(order, order)]
    totals = np.maximum(scores.confusion[order].sum(axis=1, keepdims=True), 1)
    scale = ColourScale(
        0, 1, "share of a class's labels (row) by predicted class (column)", share=1
    )
    picture = _draw_grid(names, counts, counts / totals, scale)
    cut = len(scores.classes) - len(names)
    notes = [*notes, f"{cut} classes with fewer labels are not drawn"] if cut else notes
    sheet = draw_panels(
        [[Panel(picture, "labels")]], title=title, notes=notes, caveat=caveat, scale=scale
    )
    return encode_picture(sheet, "PNG", optimize=True)


def _draw_grid(
    names: Sequence[str], counts: np.ndarray, shares: np.ndarray, scale: ColourScale
) -> Image.Image:
    """Draw a square of cells, with the names of the classes at the left and, turned, at the top."""
    side, font = len(names) * _CELL_PX, load_font(_TEXT_PX)
    names_px = min(_NAMES_PX, round(max(map(font.getlength, names))) + 16)
    picture = Image.new("RGB", (names_px + side + 1, names_px + side + 1), WHITE)
    draw = ImageDraw.Draw(picture)
    colours = scale.colour(shares)
    for row, name in enumerate(names):
        middle = names_px + row * _CELL_PX + _CELL_PX // 2
        text = shorten(name, font, names_px - 12)
        draw.text((names_px - 8, middle), text, INK, font, anchor="rm")
        turned = Image.new("RGB", (names_px - 8, _CELL_PX), WHITE)
        ImageDraw.Draw(turned).text((0, _CELL_PX // 2), text, INK, font, anchor="lm")
        picture.paste(turned.rotate(90, expand=True), (names_px + row * _CELL_PX, 0))
        for column in range(len(names)):
            left, top = names_px + column * _CELL_PX, names_px + row * _CELL_PX
            colour = tuple(colours[row, column].tolist())
            draw.rectangle((left, top, left + _CELL_PX, top + _CELL_PX), colour, WHITE)
            is_dark = shares[row, column] < 0.6
            at = (left + _CELL_PX // 2, top + _CELL_PX // 2)
            if counts[row, column]:
                letters = WHITE if is_dark else INK
                draw.text(at, str(counts[row, column]), letters, font, anchor="mm")
    return picture


def draw_calibration(
    scores: ProbeScores, *, title: str, notes: Sequence[str], caveat: str
) -> bytes:
    """Draw accuracy over probability as a PNG; on the diagonal, the two are equal."""
    width, height = _LEFT_PX + _SIDE_PX + 16, 12 + _SIDE_PX + _FOOT_PX + _COUNTS_PX
    picture = Image.new("RGB", (width, height), WHITE)
    draw, font = ImageDraw.Draw(picture), load_font(_TEXT_PX)
    top, bottom = 12, 12 + _SIDE_PX
    most = max((each.count for each in scores.bins), default=1)
    for tick in range(0, 11, 2):
        x, y = _LEFT_PX + _SIDE_PX * tick // 10, bottom - _SIDE_PX * tick // 10
        draw.line((x, top, x, bottom), LINE)
        draw.line((_LEFT_PX, y, _LEFT_PX + _SIDE_PX, y), LINE)
        draw.text((_LEFT_PX - 8, y), f"{tick / 10:.1f}", GREY, font, anchor="rm")
        draw.text((x, bottom + 6), f"{tick / 10:.1f}", GREY, font, anchor="ma")
    base = height - 4
    for each in scores.bins:
        left, right = (_LEFT_PX + round(_SIDE_PX * edge) for edge in (each.low, each.high))
        reach = bottom - round(_SIDE_PX * each.accuracy)
        draw.rectangle((left + 2, reach, right - 2, bottom), _BAR)
        y = bottom - round(_SIDE_PX * each.probability)
        draw.line((left + 2, y, right - 2, y), INK, _TWO_LINES)
        bar_px = max(1, round((_COUNTS_PX - 24) * each.count / most))
        draw.rectangle((left + 2, base - bar_px, right - 2, base), GREY)
        draw.text(
            ((left + right) // 2, base - bar_px - 2), str(each.count), GREY, font, anchor="ms"
        )
    draw.line((_LEFT_PX, bottom, _LEFT_PX + _SIDE_PX, top), INK)
    caption = "bars: share that is right; short lines: mean probability; below: number of labels"
    sheet = draw_panels([[Panel(picture, caption)]], title=title, notes=notes, caveat=caveat)
    return encode_picture(sheet, "PNG", optimize=True)
