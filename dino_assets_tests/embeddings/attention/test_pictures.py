"""Pictures of attention, heads, components and similarity: what is where, and what is said."""

from dataclasses import replace

import numpy as np
import pytest

from dino_assets.drawing.lettering import RED, load_font
from dino_assets.embeddings.attention.components import find_components
from dino_assets.embeddings.attention.grid import fit_grid
from dino_assets.embeddings.attention.pictures import (
    Photo,
    describe_model,
    draw_attention,
    draw_components,
    draw_heads,
    draw_similarity,
    spell_debias,
    spell_layer,
)
from dino_assets.embeddings.attention.reader import Attention
from dino_assets.weights.checkpoint import CAVEAT

ROWS, COLUMNS = 4, 6
MARGIN = 16


@pytest.fixture
def checkpoint(one_tiny):
    return one_tiny.checkpoint


@pytest.fixture
def photo():
    pixels = np.full((ROWS * 16, COLUMNS * 16, 3), 128, np.uint8)
    return Photo("a.jpg", pixels, fit_grid(COLUMNS * 16, ROWS * 16, patch_px=16))


def make_attention(bright):
    """Three heads; the one in the middle looks at one patch alone."""
    patches = np.full((3, ROWS, COLUMNS), 0.8 / ROWS / COLUMNS, np.float32)
    patches[1] = 0
    patches[1][bright] = 0.8
    return Attention(2, patches, np.full((3, 4), 0.04, np.float32), np.full(3, 0.04, np.float32))


def find_brightest(sheet, left, top, cell):
    """Row and column of the panel's cell that is most yellow."""
    panel = np.asarray(sheet)[top : top + ROWS * cell, left : left + COLUMNS * cell].astype(float)
    yellow = panel[..., 0] + panel[..., 1] - 2 * panel[..., 2]
    cells = yellow.reshape(ROWS, cell, COLUMNS, cell).mean(axis=(1, 3))
    return np.unravel_index(cells.argmax(), cells.shape)


@pytest.mark.parametrize("bright", [(0, 0), (0, 5), (3, 0), (3, 5), (1, 4)])
def test_draw_attention__brightest_at_the_attended_patch(photo, checkpoint, bright):
    sheet = draw_attention(photo, make_attention(bright), head=1, checkpoint=checkpoint)
    cell = 720 // COLUMNS
    # The panel on the right ends at the margin; above its top there are a title and three lines.
    left = sheet.width - MARGIN - COLUMNS * cell
    rows = np.argwhere((np.asarray(sheet)[:, left] != 255).any(axis=1)).ravel()
    top = next(row for row in rows if row + ROWS * cell - 1 in rows and row + 100 in rows)
    assert find_brightest(sheet, left, top, cell) == bright


def test_draw_attention__heads_differ(photo, checkpoint):
    attention = make_attention((1, 2))
    head_pixels, mean_pixels = (
        np.asarray(draw_attention(photo, attention, head=head, checkpoint=checkpoint))
        for head in (0, None)
    )
    assert head_pixels.shape == mean_pixels.shape
    assert (head_pixels != mean_pixels).any()


def test_draw_heads__all_of_them_and_the_mean(photo, checkpoint):
    sheet = draw_heads(photo, make_attention((1, 2)), checkpoint=checkpoint)
    cell = 320 // COLUMNS
    assert sheet.width == 4 * COLUMNS * cell + 3 * 10 + 2 * MARGIN


def test_draw_similarity__frames_the_patch_even_at_the_edge(photo, checkpoint):
    for patch in [(0, 0), (3, 5), (1, 2)]:
        sheet = draw_similarity(
            photo,
            np.eye(ROWS, COLUMNS, dtype=np.float32),
            patch=patch,
            layer=2,
            debias=None,
            checkpoint=checkpoint,
        )
        cell = 720 // COLUMNS
        red = np.argwhere((np.asarray(sheet)[:, : MARGIN + COLUMNS * cell] == RED).all(axis=2))
        (top, left), (bottom, right) = red.min(axis=0), red.max(axis=0)
        assert abs(left - (MARGIN + patch[1] * cell)) <= 2
        assert abs(right + 1 - (MARGIN + (patch[1] + 1) * cell)) <= 2
        assert abs(bottom - top + 1 - cell) <= 4


@pytest.mark.parametrize("foreground", [None, "above"])
def test_draw_components__a_row_for_every_picture(photo, checkpoint, foreground):
    features = np.random.default_rng(0).normal(size=(2, ROWS, COLUMNS, 8)).astype(np.float32)
    components = find_components(list(features), foreground=foreground)
    sheet = draw_components([photo, photo], components, layer=1, checkpoint=checkpoint)
    single_sheet = draw_components(
        [photo], replace(components, maps=components.maps[:1], masks=components.masks[:1]),
        layer=1, checkpoint=checkpoint,
    )  # fmt: skip
    cell = 300 // COLUMNS
    assert sheet.width == single_sheet.width == 5 * COLUMNS * cell + 4 * 10 + 2 * MARGIN
    assert sheet.height >= single_sheet.height + ROWS * cell


def test_draw__warns_of_random_weights_in_red(photo, checkpoint):
    for caveat, is_red in [(None, False), (CAVEAT, True)]:
        sheet = draw_heads(
            photo, make_attention((0, 0)), checkpoint=replace(checkpoint, caveat=caveat)
        )
        assert (np.asarray(sheet) == RED).all(axis=2).any() == is_red


def test_texts__have_all_letters_in_the_font(photo, checkpoint):
    font = load_font(20)
    box = font.getmask("\ufffe")
    words = "".join(
        [
            describe_model(photo.grid, checkpoint),
            describe_model(None, checkpoint),
            spell_layer(2, checkpoint),
            spell_debias(None),
            spell_debias("8 noise pictures"),
            CAVEAT,
        ]
    )
    for letter in sorted(set(words)):
        mask = font.getmask(letter)
        assert (mask.size, bytes(mask)) != (box.size, bytes(box)), letter
    # The check itself sees what is not there.
    assert bytes(font.getmask("×")) == bytes(box)
