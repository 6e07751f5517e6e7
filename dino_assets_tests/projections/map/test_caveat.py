"""What has to be known about a map's model stands above the map."""

import io

import numpy as np
from PIL import Image

from dino_assets.drawing.lettering import RED
from dino_assets.projections.map.page import make_page
from dino_assets.projections.map.picture import draw_map

PLACES = np.array([[0.0, 0.0], [1.0, 1.0]])
OPTIONS = {"groups": None, "group_names": [], "chosen": [], "title": "A map", "caption": "of tiles"}


def find_red(**options: object) -> np.ndarray:
    data = draw_map(PLACES, **OPTIONS, **options)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    return np.argwhere(np.abs(pixels - RED).max(axis=2) < 8)


def test_draw_map__a_caveat_in_red_above_the_map():
    rows = find_red(caveat="The model has random weights: what is near means nothing.")[:, 0]
    assert len(rows) > 50
    assert rows.max() < 100
    assert not len(find_red())


def test_draw_map__equal_without_a_caveat():
    assert draw_map(PLACES, **OPTIONS) == draw_map(PLACES, **OPTIONS, caveat="")


def test_make_page__a_caveat_in_the_header():
    lists = {"tile_ids": ["a", "b"], "thumbs": [b"", b""]}
    page = make_page(PLACES, **OPTIONS, **lists, caveat="random <weights>")
    plain_page = make_page(PLACES, **OPTIONS, **lists)
    head = page.partition("</header>")[0]
    assert "random &lt;weights&gt;</p><p>of tiles</p>" in head
    assert "random" not in plain_page
    assert "<h1>A map</h1><p>of tiles</p></header>" in plain_page
