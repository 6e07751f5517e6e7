"""Which turn of a picture its pixels prove: right, or none, never a wrong one."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dino_assets.images.capture.metadata import read_capture
from dino_assets.images.decoding import decode_image
from dino_assets.images.ground.camera import make_view
from dino_assets.images.ground.registration import (
    TURNS,
    ContrastPicture,
    Match,
    draw_gray,
    match_turns,
    measure_contrast,
    prove_turn,
)
from dino_assets.images.inspection import inspect_image
from dino_assets_tests.worlds.turned_flights import draw_ground, photograph

GROUND = draw_ground()


def picture(data: bytes, turns: tuple[int, ...] = TURNS) -> ContrastPicture:
    view = make_view(read_capture(data), inspect_image(data))
    assert view is not None
    return ContrastPicture(view, measure_contrast(draw_gray(decode_image(data))), turns)


def prove(one: bytes, other: bytes, *, is_known: bool) -> int | None:
    turns = (0,) if is_known else TURNS
    return prove_turn(match_turns(picture(one), picture(other, turns)))


@pytest.mark.parametrize("heading_deg", [0, 71, 180])
@pytest.mark.parametrize("turned_deg", TURNS)
def test_prove_turn__beside_an_unedited_picture(turned_deg: int, heading_deg: float):
    one = photograph(GROUND, 1, at=(0, 0), turned_deg=turned_deg)
    other = photograph(GROUND, 2, at=(3, 25), heading_deg=heading_deg)
    assert prove(one, other, is_known=True) == turned_deg


@pytest.mark.parametrize("other_deg", TURNS)
@pytest.mark.parametrize("turned_deg", TURNS)
def test_prove_turn__two_edited_pictures_prove_each_other(turned_deg: int, other_deg: int):
    """Between two turned alike the ground lies as far off as they are apart, the other way."""
    one = photograph(GROUND, 1, at=(0, 0), turned_deg=turned_deg)
    other = photograph(GROUND, 2, at=(3, 25), turned_deg=other_deg)
    assert prove(one, other, is_known=False) == turned_deg


@pytest.mark.parametrize("turned_deg", TURNS)
def test_prove_turn__little_overlap_proves_the_truth_or_nothing(turned_deg: int):
    one = photograph(GROUND, 1, at=(0, 0), turned_deg=turned_deg)
    proofs = {
        north_m: prove(one, photograph(GROUND, 2, at=(0, north_m)), is_known=True)
        for north_m in (30, 40, 50, 57, 62)
    }
    assert proofs[30] == turned_deg
    assert proofs[62] is None  # 3 % of the picture
    assert set(proofs.values()) <= {turned_deg, None}


def test_prove_turn__two_edited_pictures_of_one_place_prove_nothing():
    one = photograph(GROUND, 1, at=(0, 0), turned_deg=180)
    other = photograph(GROUND, 2, at=(0.5, 0), turned_deg=180)
    assert prove(one, other, is_known=False) is None


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("turned_deg", TURNS)
def test_prove_turn__refuses_without_texture(turned_deg: int, *, is_known: bool):
    """Sensor noise on even ground: snow, sand, water."""
    even_ground = draw_ground(contrast=0.0)
    one = photograph(even_ground, 1, at=(0, 0), turned_deg=turned_deg)
    other = photograph(even_ground, 2, at=(0, 20), turned_deg=0)
    assert prove(one, other, is_known=is_known) is None


@pytest.mark.parametrize("is_known", [True, False])
def test_prove_turn__refuses_other_ground(*, is_known: bool):
    """A wrong position: the pictures overlap by what their files say, not in truth."""
    one = photograph(GROUND, 1, at=(0, 0), turned_deg=180)
    proofs = [
        prove(one, photograph(draw_ground(seed), 2, at=(0, 20)), is_known=is_known)
        for seed in range(1, 9)
    ]
    assert proofs == [None] * 8


def test_prove_turn__refuses_a_pattern_that_looks_the_same_turned():
    """Rows of panels: half a turn shows them again."""
    x = np.arange(GROUND.width)
    stripes = np.where(np.sin(x / 4)[:, None] * np.sin(x / 7)[None, :] > 0.1, 170, 90)
    ground = Image.fromarray(stripes.astype(np.uint8)).convert("RGB")
    one = photograph(ground, 1, at=(0, 0), turned_deg=180)
    assert prove(one, photograph(ground, 2, at=(0, 20)), is_known=True) is None


def test_match_turns__pictures_that_do_not_overlap():
    one = picture(photograph(GROUND, 1, at=(0, -60), turned_deg=0))
    for north_m in (60, 110):
        matches = match_turns(one, picture(photograph(GROUND, 2, at=(0, north_m)), (0,)))
        assert not any(match.strength for match in matches)


@pytest.mark.parametrize(
    "odd",
    [
        {"height_m": 1e-300},
        {"height_m": 19_000.0},
        {"focal_px": 1e5},
        {"latitude": 90.0},
        {"pitch_deg": -81.0, "roll_deg": 40.0},
        {"width": 1, "height": 1},
        {"width": 700, "height": 1},
    ],
)
def test_match_turns__odd_pictures_prove_nothing(odd: dict[str, float]):
    """Nonsense in one file stops no drop."""
    sound_picture = picture(photograph(GROUND, 1, at=(0, 0)))
    view = replace(sound_picture.view, **odd)
    pixels = np.random.default_rng(0).integers(0, 256, (view.height, view.width, 3), dtype=np.uint8)
    odd_picture = ContrastPicture(view, measure_contrast(draw_gray(pixels)), TURNS)
    assert prove_turn(match_turns(odd_picture, sound_picture)) is None
    assert prove_turn(match_turns(sound_picture, odd_picture)) is None


def test_match_turns__is_deterministic():
    one = picture(photograph(GROUND, 1, at=(0, 0), turned_deg=90))
    other = picture(photograph(GROUND, 2, at=(0, 30)), (0,))
    matches = match_turns(one, other)
    assert matches[0].turns == (90, 0)
    assert matches == match_turns(one, other)
    assert sorted(match.turns for match in matches) == [(turn, 0) for turn in TURNS]


def test_prove_turn__needs_a_margin():
    """The second best counts only where it says another turn of the same picture."""
    assert prove_turn([Match((0, 0), 30.0), Match((0, 180), 29.0), Match((90, 0), 5.0)]) == 0
    assert prove_turn([Match((0, 0), 30.0), Match((180, 0), 20.0)]) is None
    assert prove_turn([Match((0, 0), 8.0), Match((180, 0), 0.0)]) is None
    assert prove_turn([Match((0, 0), 30.0)]) is None
    assert prove_turn([]) is None


def test_measure_contrast__brightness_and_contrast_do_not_count():
    rng = np.random.default_rng(0)
    gray = rng.integers(90, 170, (60, 80)).astype(np.uint8)
    darker = (gray * 0.5).astype(np.uint8)
    one, other = measure_contrast(gray), measure_contrast(darker)
    assert one.dtype == np.float32
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99
    assert not measure_contrast(np.full((40, 40), 77, np.uint8)).any()


@pytest.mark.parametrize("size", [(4000, 2250), (300, 400), (100, 50), (700, 1)])
def test_draw_gray__equals_the_reduced_picture(size: tuple[int, int]):
    across = np.linspace(0, 255, size[0])
    pixels = np.broadcast_to(across[None, :, None], (size[1], size[0], 3)).astype(np.uint8)
    gray = draw_gray(pixels)
    scale = min(1, 192 / max(size))
    assert gray.shape == (max(1, round(size[1] * scale)), max(1, round(size[0] * scale)))
    expected = np.linspace(0, 255, gray.shape[1] + 1)
    assert np.abs(gray[0] - (expected[1:] + expected[:-1]) / 2).max() < 3
