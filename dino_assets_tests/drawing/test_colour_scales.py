"""Colour scales: rising lightness for every kind of vision, and places of the colours."""

import numpy as np
import pytest
from PIL import Image

from dino_assets.drawing.colour_scales import BAR_HEIGHT_PX, ColourScale, draw_bar, lay_over

# Machado, Oliveira and Fernandes 2009, severity 1.0.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)


def lightness(colours, seen_by=None):
    """Compute CIE L* of sRGB colours for one kind of vision."""
    linear = np.where(
        colours / 255 <= 0.04045, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4
    )
    if seen_by is not None:
        linear = np.clip(linear @ seen_by.T, 0, 1)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(np.maximum(luminance, 0.008856)) - 16


@pytest.mark.parametrize("seen_by", [None, DEUTERANOPIA, PROTANOPIA])
def test_colour__lightness_rises_with_every_kind_of_vision(seen_by):
    scale = ColourScale(0, 1, "")
    light = lightness(scale.colour(np.linspace(0, 1, 21)).astype(float), seen_by)
    assert (np.diff(light) > 1).all()
    assert light[-1] - light[0] > 65


def test_colour__clips_numbers_outside_the_ends():
    scale = ColourScale(2, 4, "")
    colours = scale.colour([[1, 2], [4, 9]]).tolist()
    assert colours[0] == [[68, 1, 84]] * 2
    assert colours[1] == [[253, 231, 37]] * 2


def test_colour__scale_with_equal_ends():
    assert ColourScale(3, 3, "").colour([3]).tolist() == [[68, 1, 84]]


def test_lay_over__one_rectangle_per_number():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    scale = ColourScale(0, 11, "", share=1)
    pixels = np.asarray(lay_over(Image.new("RGB", (40, 30)), values, scale))
    assert pixels.shape == (30, 40, 3)
    for row in range(3):
        for column in range(4):
            cell = pixels[row * 10 : row * 10 + 10, column * 10 : column * 10 + 10].reshape(-1, 3)
            assert (cell == scale.colour(values[row, column])).all()


def test_lay_over__shows_the_photograph_in_grey():
    photo = Image.new("RGB", (20, 10))
    photo.paste((255, 255, 255), (10, 0, 20, 10))
    pixels = np.asarray(lay_over(photo, np.zeros((1, 2), np.float32), ColourScale(0, 1, "")))
    assert (pixels[:, 10:].astype(int) - pixels[:, :10] == round(255 * 0.35)).all()


@pytest.mark.parametrize("scale", [ColourScale(0, 1, "n"), ColourScale(0, 0, "n", mark=(0, "x"))])
@pytest.mark.parametrize("room", [40, 700])
def test_draw_bar__fits_the_available_width(scale, room):
    picture = Image.new("RGB", (720, BAR_HEIGHT_PX + 20), "white")
    draw_bar(picture, 10, 10, scale=scale, room_px=room)
    ink = np.argwhere((np.asarray(picture) != 255).any(axis=2))
    (top, left), (bottom, right) = ink.min(axis=0), ink.max(axis=0)
    assert 10 <= left <= right <= 10 + room
    assert 10 <= top <= bottom <= 10 + BAR_HEIGHT_PX
