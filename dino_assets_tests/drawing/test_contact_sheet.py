import io

import numpy as np
import pytest
from PIL import Image

from dino_assets.drawing.contact_sheet import make_contact_sheet
from dino_assets.errors import ConfigError


def open_picture(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def solid(colour, side=60) -> np.ndarray:
    return np.tile(np.array(colour, np.uint8), (side, side, 1))


def test_make_contact_sheet__row_by_row_with_captions():
    colours = [(220, 30, 30), (30, 160, 30), (30, 30, 220)]
    tiles = [(solid(colour), f"{number}\nwhy") for number, colour in enumerate(colours)]
    sheet = open_picture(make_contact_sheet(tiles, columns=2, cell_px=100))
    pixels = np.asarray(sheet).astype(int)
    gap = 6
    assert sheet.width == 2 * (100 + gap) + gap
    step = (sheet.height - gap) // 2
    for index, colour in enumerate(colours):
        row, column = divmod(index, 2)
        left, top = gap + column * (100 + gap), gap + row * step
        assert np.abs(pixels[top + 50, left + 50] - colour).max() < 6
        assert (pixels[top + 102 : top + step - gap, left : left + 100] < 140).any()  # caption
    assert (pixels[gap + step :, gap + 106 :] > 250).all()  # no fourth tile


def test_make_contact_sheet__no_tiles():
    pixels = np.asarray(open_picture(make_contact_sheet([])))
    assert pixels.min() < 140
    assert pixels.size < 300_000


def test_make_contact_sheet__long_captions_stay_in_the_cell():
    tiles = [(solid((9, 9, 9)), "word " * 200), (solid((9, 9, 9)), "")]
    pixels = np.asarray(open_picture(make_contact_sheet(tiles, cell_px=100)))
    assert (pixels[112:, 110:] > 240).all()


def test_make_contact_sheet__complete_caveat_in_red_above_the_tiles():
    tiles = [(solid((30, 160, 30)), "1\nwhy")] * 5
    caveat = "random weights: " + "what is chosen means nothing. " * 6
    plain_sheet = np.asarray(open_picture(make_contact_sheet(tiles))).astype(int)
    marked_sheet = np.asarray(open_picture(make_contact_sheet(tiles, caveat=caveat))).astype(int)
    head = len(marked_sheet) - len(plain_sheet)
    assert (
        np.abs(marked_sheet[head + 20 :] - plain_sheet[20:]).max() < 12
    )  # the tiles have not moved
    assert is_red(marked_sheet[: head + 12]).sum() > 100
    assert not is_red(plain_sheet).any()
    # Above one small cell it takes more lines, and no text is cut off.
    (plain_height,) = {len(np.asarray(open_picture(make_contact_sheet(tiles[:1], cell_px=100))))}
    narrow_sheet = np.asarray(
        open_picture(make_contact_sheet(tiles[:1], cell_px=100, caveat=caveat))
    )
    rows = is_red(narrow_sheet.astype(int))[: len(narrow_sheet) - plain_height].any(axis=1)
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) >= 12


def test_make_contact_sheet__title_above_the_caveat():
    tiles = [(solid((30, 160, 30)), "1\nwhy")] * 5
    caveat = "random weights: what is chosen means nothing"
    marked_sheet = np.asarray(open_picture(make_contact_sheet(tiles, caveat=caveat))).astype(int)
    titled_sheet = np.asarray(
        open_picture(make_contact_sheet(tiles, title="Round 1", caveat=caveat))
    ).astype(int)
    line = len(titled_sheet) - len(marked_sheet)
    assert 10 < line < 30
    assert (titled_sheet[: line + 6] < 140).all(axis=-1).any()  # in ink
    assert not is_red(titled_sheet[:line]).any()
    first_rows = [
        np.argmax(np.abs(p[:, 100] - (30, 160, 30)).max(axis=-1) < 6)
        for p in (titled_sheet, marked_sheet)
    ]
    assert first_rows[0] - first_rows[1] == line  # the tiles are below it


def is_red(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] > 140) & (pixels[..., 1:] < 110).all(axis=-1)


@pytest.mark.parametrize(
    ("tiles", "changes", "setting", "value"),
    [
        ([(np.zeros((4, 4), np.uint8), "")], {}, "tiles", 0),
        ([(np.zeros((4, 4, 3), np.float32), "")], {}, "tiles", 0),
        ([], {"columns": 0}, "columns", 0),
        ([], {"cell_px": 10}, "cell_px", 10),
        ([(solid((0, 0, 0), 1), "")] * 300, {"columns": 1}, "tiles", 300),
    ],
)
def test_make_contact_sheet__refuses_invalid_arguments(tiles, changes, setting, value):
    with pytest.raises(ConfigError) as caught:
        make_contact_sheet(tiles, **changes)
    assert (caught.value.setting, caught.value.value) == (setting, value)
