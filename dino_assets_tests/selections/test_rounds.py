import pytest

from dino_assets.errors import ConfigError
from dino_assets.selections.rounds import RoundSettings, check_budget
from dino_assets_tests.worlds.raising import raising


@pytest.mark.parametrize(
    ("budget", "pool", "paid", "reason"),
    [
        (20, 990, 0, None),
        (495, 990, 0, None),
        (496, 990, 0, "more-than-half"),
        (495, 990, 495, None),
        (495, 990, 496, "more-than-left"),
        (496, 990, 495, "more-than-left"),
        (20, 24, 0, None),
        (21, 24, 0, "more-than-half"),
        (20, 24, 5, None),
        (19, 24, 6, "more-than-left"),
        (20, 12, 0, None),
        (19, 12, 0, "more-than-left"),
        (100_000, 2_390, 0, "more-than-left"),
        (1, 1, 0, None),
        (1, 10, 10, "none-left"),
    ],
)
def test_check_budget__limits(budget: int, pool: int, paid: int, reason: str | None):
    settings = RoundSettings(budget=budget)
    if reason is None:
        check_budget(settings, pool=pool, paid=paid)
        return
    with raising(ConfigError, setting="budget", value=budget, reason=reason):
        check_budget(settings, pool=pool, paid=paid)


def test_check_budget__all_accepts_any_budget():
    check_budget(RoundSettings(budget=99, all=True), pool=10, paid=9)
    with raising(ConfigError, reason="none-left"):
        check_budget(RoundSettings(budget=99, all=True), pool=10, paid=10)
