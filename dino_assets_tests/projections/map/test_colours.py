"""A drop's colour is its own, whatever comes, goes and comes back."""

from hypothesis import given
from hypothesis import strategies as st

from dino_assets.projections.map.colours import PALETTE, number_colours, pick_colours

NAMES = st.sets(st.sampled_from("abcdefghijklmnop"))


def test_number_colours__by_hand():
    assert number_colours(["c", "a"], {}) == {"a": 0, "c": 1}
    assert number_colours(["a", "b", "c"], {"a": 0, "c": 1}) == {"a": 0, "b": 2, "c": 1}
    # c was put away, and gave its number to nobody.
    assert number_colours(["a", "d"], {"a": 0, "c": 1}) == {"a": 0, "c": 1, "d": 2}
    assert number_colours(["a", "b"], {"z": 1}) == {"a": 0, "b": 2, "z": 1}
    assert number_colours([], {}) == {}


@given(st.lists(NAMES, min_size=1, max_size=8))
def test_number_colours__are_permanent_over_maps(maps):
    numbers: dict[str, int] = {}
    for drops in maps:
        old_numbers, numbers = numbers, number_colours(sorted(drops, reverse=True), numbers)
        assert old_numbers.items() <= numbers.items()
        assert numbers.keys() == old_numbers.keys() | drops
        assert sorted(numbers.values()) == list(range(len(numbers)))  # distinct, and small first
        assert number_colours(drops, numbers) == numbers
        assert list(numbers) == sorted(numbers)  # equal recipes are equal text


def test_pick_colours__all_different():
    assert len({tuple(colour) for colour in pick_colours(range(60)).tolist()}) == 60
    assert pick_colours([1, 0]).tolist() == [list(colour) for colour in (PALETTE[1], PALETTE[0])]
    assert pick_colours([11, 3]).tolist() == pick_colours(range(12)).tolist()[11:2:-8]
