"""A roll of shots: the same as a list of them, with little for each that has no picture."""

from hypothesis import given
from hypothesis import strategies as st

from dino_assets.images.report.findings import find_problems, order_flight
from dino_assets.images.report.shots import Shot, ShotList, walk_usable
from dino_assets_tests.images.report.test_findings import shot


def make_shot(number: int, kind: str) -> Shot:
    if kind == "usable":
        return shot(number)
    if kind == "refused":
        return Shot(f"DJI_{number:04d}.JPG", None, number, False, "missing", "No such file")
    return shot(number, is_usable=False, reason="truncated")  # keeps what is known of it


def make_roll(shots: list[Shot]) -> ShotList:
    roll = ShotList()
    for each in shots:
        roll.append(each)
    return roll


@given(st.lists(st.sampled_from(["usable", "refused", "refused with a time"]), max_size=30))
def test_shot_list__equals_its_list(kinds: list[str]):
    shots = [make_shot(number, kind) for number, kind in enumerate(kinds)]
    roll = make_roll(shots)
    assert len(roll) == len(shots)
    assert list(roll) == shots
    assert [roll[n] for n in range(-len(shots), len(shots))] == shots + shots
    assert roll[1:4] == shots[1:4]
    usable_shots = [(number, each) for number, each in enumerate(shots) if each.is_usable]
    assert list(walk_usable(roll)) == list(walk_usable(shots)) == usable_shots
    assert order_flight(roll) == order_flight(shots)


def test_find_problems__of_a_shot_list():
    shots = [make_shot(n, "refused" if n % 3 else "usable") for n in range(3000)]
    findings = [
        list(find_problems(each, gaps=[], roll_overs=[])) for each in (shots, make_roll(shots))
    ]
    assert findings[0] == findings[1]
    assert [f.path for f in findings[0]] == [each.path for each in shots if not each.is_usable]
