"""Rounds: settings, names and numbers."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError
from dino_assets.selections.strategies.names import StrategyName
from dino_assets.settings.choices import check_range
from dino_assets.settings.described import check_settings, described, make_record

FIRST, LAST = 1, 9999
# The default budget. Twenty tiles are labelled in minutes, so the default may exceed a small pool.
SMALL_BUDGET = 20
_PREFIX = "round-"


@dataclass(frozen=True)
class RoundSettings:
    """Settings of a round; part of its recipe."""

    round: int = described(
        1,
        "Number of the round; no tile of an earlier round is chosen again",
        least=FIRST,
        most=LAST,
    )
    budget: int = described(SMALL_BUDGET, "Number of tiles to choose", least=1)
    all: bool = described(
        False,
        "Choose even if the budget is more than half of the pool or more than the tiles left, or if more "
        "than half of the pool cannot be read",
        is_permission=True,
    )
    all_windows: bool = described(
        False, "Choose tiles, too, that show the same ground as another chosen tile"
    )
    strategy: StrategyName = described("herding", "Method of choosing tiles")
    n_clusters: int = described(
        100, "cluster and hybrid: largest number of clusters; a small budget has fewer", least=1
    )
    fps_ratio: float = described(
        0.5, "hybrid: share of each cluster's quota that is picked by distance", least=0, most=1
    )
    seed: int = described(42, "Equal seeds and inputs give the same tiles", least=0)
    column: EmbeddingColumn = described("cls", "Vector to use; mean is the mean over patches")
    drops: tuple[str, ...] = described((), "Use only these drops and drops with one of the tags")
    tags: tuple[str, ...] = described(
        (), "Use only drops with one of these tags and the named drops"
    )


def make_settings(**values: Any) -> RoundSettings:
    """Make settings from values as users write them.

    Raises:
        ConfigError: a value does not exist or is outside its range.
    """
    settings = make_record(RoundSettings, values)
    check_settings(settings)
    return settings


def check_budget(
    settings: RoundSettings,
    *,
    pool: int,
    paid: int,
    same_ground: int = 0,
    left_out: Collection[str] = (),
) -> None:
    """Refuse a budget above the tiles left or above half of the pool, unless ``settings.all`` permits it.

    ``paid`` tiles of the pool are already chosen, and ``same_ground`` others show the same ground as chosen
    ones, so they cannot be chosen. ``settings.all`` allows any budget. A small budget may be more than half
    of the pool, and the default budget takes what is left. The message names the drops that are ``left_out``
    of the pool.

    Raises:
        ConfigError: the budget is too large and ``settings.all`` is false, or no tile is left.
    """
    budget, left = settings.budget, pool - paid - same_ground
    tiles = f"the pool has {pool:,} tiles"
    if paid:
        tiles += f", {paid:,} of them chosen before"
    if same_ground:
        tiles += f", and {same_ground:,} show ground that was chosen before (--all-windows chooses them, too)"
    if left_out:
        names = f"{len(left_out)} drops" if len(left_out) > 3 else ", ".join(sorted(left_out))
        tiles += f", without {names}, which cannot be read"
    if not left:
        raise ConfigError(
            f"budget={budget}: no tile is left to choose, {tiles}. Embed more drops. If nobody labels an earlier "
            "round, `dino-assets rounds --set-aside ROUND` frees its tiles.",
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
        f"budget={budget} is more than {'the tiles left' if is_short else 'half of the pool'}: {tiles}. "
        f"Ask for at most {most:,}, or give --all (`all: true` in the asset's config) if you want that many.",
        setting="budget",
        value=budget,
        reason="more-than-left" if is_short else "more-than-half",
    )


def name_round(number: int) -> str:
    """Name the output of a round.

    Raises:
        ConfigError: the number is not from 1 to 9999.
    """
    check_range("round", number, least=FIRST, most=LAST)
    return f"{_PREFIX}{number:04d}"


def number_of(name: str | None) -> int:
    """Read the number of a round from its output's name; rounds are ordered by it."""
    return int(str(name).removeprefix(_PREFIX))
