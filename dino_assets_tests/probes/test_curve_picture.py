"""Picture of learning curves."""

import io

import numpy as np
from PIL import Image

from dino_assets.probes.curve import Replay
from dino_assets.probes.curve_picture import CHOSEN, RANDOM, draw_curves


def make_replay(budgets: tuple[int, ...] = (10, 20, 50)) -> Replay:
    rng = np.random.default_rng(0)
    random = np.linspace(0.5, 0.7, len(budgets)) + rng.normal(scale=0.02, size=(8, len(budgets)))
    return Replay(budgets, {"random": random, "herding": random + 0.1, "fps": random - 0.1})


def draw(replay: Replay) -> bytes:
    captions = {"herding": "herding: better", "fps": "fps: worse"}
    return draw_curves(replay.list_points(), captions, title="Curves", caveat="random weights")


def test_draw_curves__two_panels_with_both_colours():
    picture = Image.open(io.BytesIO(draw(make_replay()))).convert("RGB")
    colours = {colour for _, colour in picture.getcolors(1 << 20) or []}
    assert {RANDOM, CHOSEN} <= colours
    assert picture.width > 760


def test_draw_curves__higher_accuracy_is_drawn_higher():
    picture = np.asarray(Image.open(io.BytesIO(draw(make_replay()))).convert("RGB"))
    left, right = np.split(picture, [picture.shape[1] // 2], axis=1)
    heights = [np.nonzero((half == CHOSEN).all(axis=2))[0].mean() for half in (left, right)]
    assert heights[0] < heights[1]  # herding is better than fps


def test_draw_curves__equal_points_give_equal_bytes():
    assert draw(make_replay()) == draw(make_replay())


def test_draw_curves__one_budget_is_a_dot():
    assert Image.open(io.BytesIO(draw(make_replay((10,))))).format == "PNG"
