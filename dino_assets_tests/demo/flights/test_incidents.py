"""Drawn flights with smoke and burnt ground: the same ground as without, elsewhere unchanged."""

import numpy as np
import pytest

from dino_assets.demo.flights.incidents import Overflight, draw_overflight

SMALL = 320


@pytest.fixture(scope="module")
def clear() -> Overflight:
    return draw_overflight(2, width_px=SMALL)


def change(a: Overflight, b: Overflight) -> np.ndarray:
    """How much each pixel of each picture differs (pictures, h, w)."""
    return np.abs(np.stack(a.pictures).astype(int) - np.stack(b.pictures)).mean(3)


def test_draw_overflight__pictures_and_where_they_were_taken(clear):
    assert [picture.shape for picture in clear.pictures] == [(240, 320, 3)] * 4
    assert all(picture.dtype == np.uint8 for picture in clear.pictures)
    assert clear.outline is None
    middles = [footprint.mean(0)[1] for footprint in clear.footprints]
    assert middles == sorted(middles)


def test_draw_overflight__the_same_seed_gives_the_same_pictures(clear):
    again = draw_overflight(2, width_px=SMALL)
    assert not change(clear, again).any()
    assert change(clear, draw_overflight(3, width_px=SMALL)).mean() > 10


def test_draw_overflight__smoke_is_pale_and_on_some_of_the_pictures(clear):
    smoky = draw_overflight(2, incident="smoke", width_px=SMALL)
    changed = change(clear, smoky)
    assert smoky.outline is not None
    assert changed.mean((1, 2)).min() < 1  # a picture without
    thick = changed > 60
    assert thick.any()
    colour = np.stack(smoky.pictures)[thick].astype(int)
    assert colour.mean() > 130
    assert np.ptp(colour, axis=1).mean() < 40  # grey, hardly any hue
    # Soft: between clear ground and thick smoke there is every shade.
    assert ((changed > 8) & (changed < 60)).sum() > thick.sum() / 2


def test_draw_overflight__burnt_ground_is_dark_and_on_some_of_the_pictures(clear):
    burnt = draw_overflight(2, incident="burnt", width_px=SMALL)
    changed = change(clear, burnt)
    assert burnt.outline is not None
    assert changed.mean((1, 2)).min() < 1
    colour = np.stack(burnt.pictures)[changed > 60].astype(int)
    assert 20 < colour.mean() < 100
    assert colour.mean(1).std() > 8  # ash and charcoal, not a hole


def test_draw_overflight__what_lies_away_from_the_incident_is_the_same(clear):
    for incident in ("smoke", "burnt"):
        changed = change(clear, draw_overflight(2, incident=incident, width_px=SMALL))
        assert (changed < 1).mean() > 0.5
