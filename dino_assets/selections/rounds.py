"""Rounds: their settings, their names and their order."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError
from dino_assets.selections.strategies.names import StrategyName
from dino_assets.settings.choices import check_range
from dino_assets.settings.described import check_settings, described, make_record

FIRST, LAST = 1, 9999
# The default. Nobody asked for it, and it is labelled in minutes, so a few photographs may have less.
SMALL_BUDGET = 20
_PREFIX = "round-"


@dataclass(frozen=True)
class RoundSettings:
    """One round; part of its recipe."""

    round: int = described(
        1,
        "Its number; no tile of an earlier round is chosen again, one that overlaps it may be",
        least=FIRST,
        most=LAST,
    )
    budget: int = described(SMALL_BUDGET, "How many tiles", least=1)
    all: bool = described(
        False,
        "Choose though the budget is more than half of the pool or than there are, or though more than half "
        "of the pool cannot be read",
        is_permission=True,
    )
    strategy: StrategyName = described("hybrid", "How tiles are chosen")
    n_clusters: int = described(100, "The most clusters; fewer where the budget is small", least=1)
    fps_ratio: float = described(
        0.5, "hybrid: the share of each cluster's quota picked by distance", least=0, most=1
    )
    seed: int = described(42, "Equal seeds and inputs give the same tiles", least=0)
    column: EmbeddingColumn = described("cls", "Which vector; mean is over patches")
    drops: tuple[str, ...] = described((), "Only these drops, and those with one of the tags")
    tags: tuple[str, ...] = described((), "Only drops with one of these tags, and those named")


def make_settings(**values: Any) -> RoundSettings:
    """Make settings as a person spells them.

    Raises:
        ConfigError: settings that cannot work.
    """
    settings = make_record(RoundSettings, values)
    check_settings(settings)
    return settings


def check_budget(
    settings: RoundSettings, *, pool: int, paid: int, left_out: Collection[str] = ()
) -> None:
    """Refuse a budget that is hardly meant: more tiles than are left, or more than half of the pool.

    ``paid`` tiles of the pool are chosen already. ``settings.all`` says that it is meant. A small budget
    may be more than half, and the default takes what is left. Drops ``left_out`` of the pool are named.

    Raises:
        ConfigError: it is more and is not said to be meant, or no tile is left.
    """
    budget, left = settings.budget, pool - paid
    there_are = f"the pool has {pool:,} tiles"
    if paid:
        there_are += f", {paid:,} of them chosen before"
    if left_out:
        names = f"{len(left_out)} drops" if len(left_out) > 3 else ", ".join(sorted(left_out))
        there_are += f", without {names}, which cannot be read"
    if not left:
        raise ConfigError(
            f"budget={budget}: no tile is left to choose, {there_are}. Embed more drops.",
            setting="budget",
            value=budget,
            reason="none-left",
        )
    is_short = budget > left and budget != SMALL_BUDGET
    is_most = budget > max(SMALL_BUDGET, pool // 2)
    if settings.all or not (is_short or is_most):
        return
    most = min(left, max(SMALL_BUDGET, pool // 2))
    raise ConfigError(
        f"budget={budget} is more than {'there are' if is_short else 'half of the pool'}: {there_are}. "
        f"Ask for at most {most:,}, or give --all (`all: true` in the asset's config) if that many are meant.",
        setting="budget",
        value=budget,
        reason="more-than-left" if is_short else "more-than-half",
    )


def name_round(number: int) -> str:
    """Give the name of a round's output.

    Raises:
        ConfigError: rounds count from 1 to 9999.
    """
    check_range("round", number, least=FIRST, most=LAST)
    return f"{_PREFIX}{number:04d}"


def number_of(name: str | None) -> int:
    """Give the number of a round by its output's name, which rounds are ordered by."""
    return int(str(name).removeprefix(_PREFIX))
