"""What is odd about a drop: every rule with what it must find and what it must not."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_assets.images.report.advice import ADVICE
from dino_assets.images.report.findings import (
    BLURRED,
    KINDS,
    count_findings,
    find_problems,
    order_flight,
)
from dino_assets.images.report.numbering import Gap, RollOver
from dino_assets.images.report.shots import Shot

clock = datetime  # a camera's own: it has no zone
START = clock(2024, 6, 14, 10)
SQUARE = ((11.0, 47.0), (11.001, 47.0), (11.001, 46.999), (11.0, 46.999))


def shot(number: int, **options: object) -> Shot:
    """Make a picture of a flight without a finding."""
    default = Shot(
        path=f"DJI_{number:04d}.JPG",
        image_id=f"{number:064x}",
        bytes=1000,
        is_usable=True,
        taken=START + timedelta(seconds=5 * number),
        latitude=47.0,
        longitude=11.0,
        relative_altitude_m=50.0,
        sharpness=1.0,
        exposure_ev=0.2,
        dark_share=0.0,
        bright_share=0.0,
        quality="gps-nadir",
        corners=SQUARE,
        gsd_m=0.02,
    )
    return replace(default, **options)


def flight(**planted: Shot) -> list[Shot]:
    """Twelve sound pictures, some replaced: ``_3=shot(3, …)``."""
    return [planted.get(f"_{number}", shot(number)) for number in range(12)]


def problems(shots, **options) -> list[tuple[str, str]]:
    options = {"gaps": [], "roll_overs": []} | options
    return [(finding.kind, finding.path) for finding in find_problems(shots, **options)]


def test_find_problems__a_sound_flight():
    assert problems(flight()) == []
    assert problems([]) == []
    assert problems([shot(1)]) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"is_usable": False, "reason": "truncated", "detail": "cut"}, "quarantined"),
        ({"taken": clock(1970, 1, 1)}, "wrong-year"),
        ({"taken": clock(2009, 12, 31)}, "wrong-year"),
        ({"taken": clock(2022, 6, 14)}, "wrong-year"),
        ({"taken": clock(2026, 6, 14)}, "wrong-year"),
        ({"taken": clock(2023, 6, 14)}, "wrong-year"),  # one calendar year early
        ({"taken": clock(2025, 5, 1)}, "wrong-year"),  # late by less than a year
        ({"satellite_date": date(2024, 6, 16)}, "wrong-year"),
        ({"taken": None}, "no-time"),
        ({"latitude": None, "corners": None, "quality": "none"}, "no-gps"),
        ({"latitude": 0.0, "longitude": 0.0, "corners": None, "quality": "none"}, "no-gps"),
        ({"corners": None, "quality": "none"}, "no-place"),
        ({"latitude": 48.44}, "far"),  # 160 km
        ({"longitude": 10.72}, "far"),  # 21 km
        ({"longitude": -169.0}, "far"),  # beyond the pole
        ({"edited_by": "Photo Viewer"}, "edited"),
        ({"sharpness": 0.3}, "blurred"),
        ({"sharpness": 0.0}, "blurred"),
        ({"exposure_ev": -2.1}, "dark"),
        ({"dark_share": 0.6}, "dark"),
        ({"exposure_ev": 2.1}, "bright"),
        ({"bright_share": 0.6}, "bright"),
        ({"image_id": f"{2:064x}"}, "duplicate"),
        ({"thermal": "XMP image source"}, "thermal"),
    ],
)
def test_find_problems__one_planted_fault(change: dict, kind: str):
    assert problems(flight(_3=shot(3, **change))) == [(kind, "DJI_0003.JPG")]


@pytest.mark.parametrize(
    ("turned_deg", "kind", "word"),
    [
        (180, "turned", "180°"),
        (90, "turned", "90°"),
        (0, "edited", "not turned"),
        (None, "edited", "may be wrong"),
    ],
)
def test_find_problems__edited_pictures(turned_deg: int | None, kind: str, word: str):
    """What its neighbours prove is said with the name of one of them."""
    proof = None if turned_deg is None else "DJI_0004.JPG"
    edited = shot(3, edited_by="Photo Viewer", turned_deg=turned_deg, turn_proof=proof)
    (finding,) = find_problems(flight(_3=edited), gaps=[], roll_overs=[])
    assert (finding.kind, finding.path, finding.other) == (kind, edited.path, proof)
    assert "Photo Viewer" in finding.detail
    assert word in finding.detail


@pytest.mark.parametrize(
    "change",
    [
        {"taken": clock(2023, 12, 31)},  # a season's flights straddle New Year
        {"taken": clock(2023, 8, 20)},  # 299 days
        {"satellite_date": date(2024, 6, 13)},  # UTC, elsewhere another date
        {"longitude": 10.75},  # 19 km
        {"sharpness": 0.5},
        {"exposure_ev": -1.9},
        {"exposure_ev": 1.9},
        {"dark_share": 0.4},
        {"latitude": None, "longitude": None, "quality": "ortho", "taken": None},  # a mosaic
        {"exposure_ev": None, "sharpness": None},
    ],
)
def test_find_problems__no_findings(change: dict):
    assert problems(flight(_3=shot(3, **change))) == []


def test_find_problems__archive_of_many_years():
    assert problems([shot(n, taken=clock(2012 + n, 1, 1)) for n in range(9)]) == []


def test_find_problems__two_seasons_in_one_drop_are_both_right():
    shots = [shot(n, taken=clock(2022 + (n > 6), 6, 14, 10, n)) for n in range(10)]
    assert problems(shots) == []


def test_find_problems__new_year_in_the_middle_of_a_flight():
    shots = [shot(n, taken=clock(2024, 1, 10) - timedelta(days=3 * n)) for n in range(10)]
    assert problems(shots) == []


def test_find_problems__two_sites_in_one_drop_have_no_middle():
    assert problems([shot(n, latitude=47.0 + n % 2) for n in range(10)]) == []


def test_find_problems__far_across_the_180th_meridian():
    shots = [shot(n, longitude=179.99 if n % 2 else -179.99) for n in range(10)]
    assert problems(shots) == []
    all_shots = [*shots, shot(10, longitude=0.0), shot(11, latitude=None)]
    findings = find_problems(all_shots, gaps=[], roll_overs=[])
    assert [(f.kind, f.path) for f in findings] == [("far", "DJI_0010.JPG")]
    assert findings[0].detail.endswith("km from the middle of this drop's positions")
    assert 9_500 < float(findings[0].detail.split()[0].replace(",", "")) < 9_600


@pytest.mark.parametrize("softness", [0.2, 0.1, 0.05])
def test_find_problems__a_blurred_stretch_is_found_as_a_whole(softness: float):
    """A blur of sigma 1 leaves a sixth of a flight's sharpness, of sigma 2 a fortieth."""
    shots = [shot(n, sharpness=0.5 * softness if 20 <= n < 32 else 0.5) for n in range(60)]
    blurred = [path for kind, path in problems(shots) if kind == "blurred"]
    assert blurred == [f"DJI_{n:04d}.JPG" for n in range(20, 32)]


@pytest.mark.parametrize("softness", [0.22, 0.3, 0.4])
def test_find_problems__soft_water_only_at_its_shores(softness: float):
    shots = [shot(n, sharpness=softness if 20 <= n < 32 else 1.0) for n in range(60)]
    blurred = [path for kind, path in problems(shots) if kind == "blurred"]
    assert set(blurred) <= {f"DJI_{n:04d}.JPG" for n in (20, 21, 30, 31)}


def test_find_problems__soft_water_for_minutes_is_not_blurred():
    shots = [shot(n, sharpness=0.2 if n > 8 else 1.0) for n in range(30)]
    blurred = [path for kind, path in problems(shots) if kind == "blurred"]
    # Only at the shore is it told from its neighbours.
    assert len(blurred) <= 5


def test_find_problems__a_series_that_is_blurred_as_a_whole():
    shots = [shot(n, sharpness=BLURRED / 2) for n in range(10)]
    assert {kind for kind, _ in problems(shots)} == {"blurred"}


def test_find_problems__smooth_scenes_are_not_blurred():
    """Calm water, sand and snow have a few levels of contrast, and nothing in them to be sharp."""
    values = (0.0, 0.004, 0.019, 0.04)
    assert problems([shot(n, sharpness=values[n % 4], contrast=7.0) for n in range(20)]) == []
    lakes = [
        shot(n, sharpness=0.004, contrast=3.0) if n % 12 < 5 else shot(n, contrast=45.0)
        for n in range(60)
    ]
    assert problems(lakes) == []


def test_find_problems__a_smooth_picture_alone_may_be_blurred_grass():
    shots = flight(_3=shot(3, sharpness=0.1, contrast=6.0), _4=shot(4, sharpness=0.1, contrast=6.0))
    assert problems(shots) == [("blurred", "DJI_0003.JPG"), ("blurred", "DJI_0004.JPG")]


def test_find_problems__smooth_scenes_do_not_hide_a_blurred_picture():
    """Most of the drop is water: blurred pictures are compared with those that are not smooth."""
    shots = [shot(n, sharpness=0.04, contrast=3.0) for n in range(30)]
    shots += [shot(n, sharpness=1.0, contrast=45.0) for n in range(30, 40)]
    shots[35] = shot(35, sharpness=0.1, contrast=35.0)
    assert problems(shots) == [("blurred", "DJI_0035.JPG")]


@pytest.mark.parametrize(
    ("sharpness", "others", "limit"),
    [
        (0.015, 1.0, "not above 0.02"),
        (0.1, 1.0, "not above 0.2: 0.2 of the drop's median of 1"),
        (0.3, 1.0, "below 0.35, 0.35 of the drop's median of 1, and below 0.5, 0.5 of its neigh"),
    ],
)
def test_find_problems__blurred_names_the_limit_it_missed(sharpness, others, limit):
    shots = [shot(n, sharpness=sharpness if n == 3 else others) for n in range(12)]
    (finding,) = find_problems(shots, gaps=[], roll_overs=[])
    assert finding.detail.startswith(f"sharpness {sharpness:g}, {limit}")


def test_find_problems__thermal_pictures_are_not_judged_by_their_light():
    assert problems(flight(_3=shot(3, thermal="x", exposure_ev=-9.0, sharpness=0.0))) == [
        ("thermal", "DJI_0003.JPG")
    ]


def test_find_problems__near_duplicates():
    findings = find_problems(flight(), gaps=[], roll_overs=[], near=[(4, 3), (5, 6)])
    assert [(f.path, f.other, f.detail) for f in findings] == [
        ("DJI_0004.JPG", "DJI_0003.JPG", "similar to this earlier picture, 5 s apart"),
        ("DJI_0006.JPG", "DJI_0005.JPG", "similar to this earlier picture, 5 s apart"),
    ]
    shots = flight(_3=shot(3, image_id=shot(4).image_id))
    assert problems(shots, near=[(3, 4)]) == [("duplicate", "DJI_0004.JPG")]  # told once


def test_find_problems__gaps_and_restarts():
    gaps = [Gap("100MEDIA", "DJI_", 6, 6), Gap("100MEDIA", "DJI_", 10, 1209)]
    findings = find_problems(
        flight(), gaps=gaps, roll_overs=[RollOver("101MEDIA", "DJI_", "100MEDIA", 999, 1)]
    )
    assert [(f.kind, f.path, f.other, f.detail) for f in findings] == [
        ("gap", "100MEDIA", None, "1,200 numbers, 0010 to 1209, are missing from DJI_"),
        ("gap", "100MEDIA", None, "number 0006 is missing from DJI_"),
        ("roll-over", "101MEDIA", "100MEDIA", "after 0999 the counter of DJI_ continued at 0001"),
    ]  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(12)))
def test_find_problems__order_of_the_shots_does_not_matter(order):
    shots = flight(_3=shot(3, sharpness=0.1), _5=shot(5, taken=None), _7=shot(7, latitude=None))
    findings = find_problems(shots, gaps=[], roll_overs=[])
    assert [*find_problems([shots[i] for i in order], gaps=[], roll_overs=[])] == [*findings]


def test_count_findings__in_the_reports_order():
    shots = flight(_1=shot(1, thermal="x"), _2=shot(2, taken=None), _3=shot(3, taken=None))
    counts = count_findings(find_problems(shots, gaps=[], roll_overs=[]))
    assert list(counts.items()) == [("no-time", 2), ("thermal", 1)]


def test_advice__for_every_kind():
    assert set(ADVICE) == set(KINDS)


def test_order_flight__by_time_then_by_name():
    shots = [shot(3), shot(1), shot(9, taken=None), shot(2)]
    assert [shots[i].path for i in order_flight(shots)] == [
        "DJI_0001.JPG", "DJI_0002.JPG", "DJI_0003.JPG", "DJI_0009.JPG",
    ]  # fmt: skip
