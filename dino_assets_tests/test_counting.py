"""Counts with singular and plural nouns."""

import pytest

from dino_assets.counting import count_of


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ["tile"], "0 tiles"),
        (1, ["tile"], "1 tile"),
        (2000, ["tile"], "2,000 tiles"),
        (1, ["drop is", "drops are"], "1 drop is"),
        (2, ["drop is", "drops are"], "2 drops are"),
    ],
)
def test_count_of__singular_and_plural(number, nouns, text):
    assert count_of(number, *nouns) == text
