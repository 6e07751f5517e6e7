"""Sheets of several pictures under one title."""

import numpy as np
from PIL import Image

from dino_assets.drawing.colour_scales import ColourScale
from dino_assets.drawing.lettering import RED
from dino_assets.drawing.panels import Panel, draw_panels

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]


def make_panels(sizes):
    return [
        Panel(Image.new("RGB", size, colour), "a caption that is longer than its picture is wide")
        for size, colour in zip(sizes, COLOURS, strict=False)
    ]


def find_colour(sheet, colour):
    """Find left, top, width, height of the pixels of a colour."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    left, top = columns.min(), rows.min()
    return int(left), int(top), int(columns.max() - left + 1), int(rows.max() - top + 1)


def test_draw_panels__complete_pictures_in_aligned_columns():
    rows = [make_panels([(300, 200), (400, 100)]), make_panels([(500, 50)])]
    rows[1][0].picture.paste((0, 0, 200), (0, 0, 500, 50))
    sheet = draw_panels(rows, title="T" * 400, notes=["n", ""], scale=ColourScale(0, 1, "s"))
    red, green, blue = (find_colour(sheet, colour) for colour in COLOURS)
    assert red[2:] == (300, 200)
    assert green[2:] == (400, 100)
    assert blue[2:] == (500, 50)
    assert red[0] == blue[0]
    assert green[0] >= blue[0] + 500
    assert red[1] == green[1]
    assert blue[1] > red[1] + 200
    assert sheet.width == green[0] + 400 + red[0]


def test_draw_panels__small_pictures_have_readable_text():
    sheet = draw_panels([make_panels([(20, 20)])], title="title", notes=[])
    assert sheet.width >= 720
    assert find_colour(sheet, COLOURS[0])[2:] == (20, 20)


def test_draw_panels__caveat_in_red_above_the_pictures():
    panels = [make_panels([(300, 200)])]
    plain_picture, warned_picture = (
        draw_panels(panels, title="t", notes=["n"], caveat=caveat)
        for caveat in ("", "random weights " * 20)
    )
    assert not (np.asarray(plain_picture) == RED).all(axis=2).any()
    letters = find_colour(warned_picture, RED)
    assert letters[1] + letters[3] < find_colour(warned_picture, COLOURS[0])[1]
    assert warned_picture.height > plain_picture.height + 30
