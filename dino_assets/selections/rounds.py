"""Rounds: settings, names and numbers."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError
from dino_assets.selections.strategies.names import (
    EXPLORE,
    RoundStrategyName,
    UncertaintyKind,
)
from dino_assets.settings.choices import check_range
from dino_assets.settings.described import (
    Lists,
    Numbers,
    check_settings,
    described,
    make_record,
)

FIRST, LAST = 1, 9999
# The default budget. Twenty tiles are labelled in minutes, so the default may exceed a small pool.
SMALL_BUDGET = 20
_PREFIX = "round-"
# The settings that limit the tiles of a group.
LIMITS = ("most_per_drop", "most_per_camera", "most_per_class")
# Begins an example that is a stored prototype.
PROTOTYPE = "prototype:"
_CLASS_NAME = re.compile(r"\w[\w .-]{0,39}")


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
        False, "Also choose tiles that show the same ground as another chosen tile"
    )
    strategy: RoundStrategyName = described("herding+swaps", "Method of choosing tiles")
    n_clusters: int = described(
        100, "cluster and hybrid: largest number of clusters; a small budget has fewer", least=1
    )
    fps_ratio: float = described(
        0.5, "hybrid: share of each cluster's quota that is picked by distance", least=0, most=1
    )
    uncertainty: UncertaintyKind = described(
        "entropy", "uncertainty: figure by which the predictions of the probe are uncertain"
    )
    seed: int = described(42, "Equal seeds and inputs give the same tiles", least=0)
    column: EmbeddingColumn = described("cls", "Vector to use; mean is the mean over patches")
    drops: tuple[str, ...] = described((), "Use only these drops and drops with one of the tags")
    tags: tuple[str, ...] = described(
        (), "Use only drops with one of these tags and the named drops"
    )
    shares: Numbers = described(
        (),
        f"Tiles for each class, most similar to its examples or its prototype; {EXPLORE}: tiles that the strategy "
        "chooses",
    )
    examples: Lists = described(
        (),
        "Examples of a class: ids of tiles, pictures (photo.jpg or photo.jpg:x,y,w,h), or .npy files",
    )
    most_per_drop: int = described(
        0, "Largest number of tiles from one drop in this round; 0: no limit", least=0
    )
    most_per_camera: int = described(
        0,
        "Largest number of tiles from one camera in this round, which is a folder of photographs; 0: no limit",
        least=0,
    )
    most_per_class: int = described(
        0, "Largest number of tiles of one class of a detector in this round; 0: no limit", least=0
    )

    @property
    def class_shares(self) -> dict[str, int]:
        """The number of tiles for each class, without those that the strategy chooses."""
        return {name: count for name, count in self.shares if name != EXPLORE}


def make_settings(*, prototypes: Collection[str] = (), **values: Any) -> RoundSettings:
    """Make settings from values as users write them.

    The shares and the budget complete each other. If ``explore`` is named, or the shares exceed the default
    budget, the budget is the sum of the shares. Otherwise the strategy chooses the rest of the budget. A class
    without examples is described by the one of the stored ``prototypes`` that has its name.

    Raises:
        ConfigError: a value does not exist or is outside its range, or a budget contradicts the shares.
    """
    settings = _fill_examples(_fill_shares(make_record(RoundSettings, values)), prototypes)
    check_settings(settings)
    check_shares(settings)
    return settings


def _fill_shares(settings: RoundSettings) -> RoundSettings:
    shares, budget = dict(settings.shares), settings.budget
    if not shares:
        return settings
    total = sum(shares.values())
    if EXPLORE in shares or total > budget:
        if budget not in (SMALL_BUDGET, total):
            raise ConfigError(
                f"budget={budget}, but the shares add up to {total} tiles. Omit the budget; or omit "
                f"{EXPLORE!r}, so that the strategy chooses the rest of a larger budget",
                setting="budget",
                value=budget,
            )
        budget = total
    shares.setdefault(EXPLORE, budget - total)
    return replace(settings, budget=budget, shares=tuple(sorted(shares.items())))


def _fill_examples(settings: RoundSettings, prototypes: Collection[str]) -> RoundSettings:
    examples = dict(settings.examples)
    for name in settings.class_shares:
        if name in prototypes and not examples.get(name):
            examples[name] = (f"{PROTOTYPE}{name}",)
    return replace(settings, examples=tuple(sorted(examples.items())))


def check_shares(settings: RoundSettings) -> None:
    """Check that each class with a share has a name and examples, and that no other class has examples.

    Raises:
        ConfigError: a class has no examples or no share, or its name or share is invalid.
    """
    shares, examples = settings.class_shares, dict(settings.examples)
    for name, count in shares.items():
        if not _CLASS_NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be the name of a class: expected up to 40 letters, digits, spaces, or . - _",
                setting="shares",
                value=name,
            )
        check_range("shares", count, least=0, meaning=f"tiles of {name}")
        if not examples.get(name):
            raise ConfigError(
                f"the class {name!r} has a share, but no example and no prototype. Give tiles, pictures or vectors of "
                f"it: --example {name}=photo.jpg:1200,800,512,512",
                setting="examples",
                value=name,
            )
    _check_alike(examples)
    if unshared := sorted(examples.keys() - shares.keys()):
        raise ConfigError(
            f"the class {unshared[0]!r} has examples, but no share. Give it a share, such as --share "
            f"{unshared[0]}=10. With a share of 0, no class gets tiles that resemble it most",
            setting="shares",
            value=unshared[0],
        )
    total = sum(shares.values())
    if total > settings.budget:
        raise ConfigError(
            f"budget={settings.budget}, but the shares of the classes add up to {total} tiles",
            setting="budget",
            value=settings.budget,
        )
    if settings.shares and not shares:
        raise ConfigError(
            f"shares: no class has a share, only {EXPLORE!r}. Name a class, or omit the shares",
            setting="shares",
            value=EXPLORE,
        )


def _check_alike(examples: Mapping[str, Sequence[str]]) -> None:
    """Refuse prototypes beside examples: cosines with the one and with the other are not comparable."""
    are_prototypes = {
        name: [each.startswith(PROTOTYPE) for each in queries] for name, queries in examples.items()
    }
    if mixed := [name for name, are in are_prototypes.items() if any(are) and len(are) > 1]:
        raise ConfigError(
            f"the class {mixed[0]!r} has a prototype and further examples: give one prototype, or only examples",
            setting="examples",
            value=mixed[0],
        )
    if len({any(are) for are in are_prototypes.values()}) > 1:
        plain = next(name for name, are in are_prototypes.items() if not any(are))
        raise ConfigError(
            f"some classes of the round are prototypes, and {plain!r} has examples. Their scores are not comparable. "
            f"Make a prototype of it, too: `dino-assets like CROP… --name {plain}`",
            setting="examples",
            value=plain,
        )


def check_budget(
    settings: RoundSettings,
    *,
    pool: int,
    paid: int,
    same_ground: int = 0,
    left_out: Collection[str] = (),
) -> None:
    """Refuse a budget above the tiles left or above half of the pool, unless ``settings.all`` permits it.

    ``paid`` is the number of tiles of the pool that are already chosen. ``same_ground`` is the number of
    further tiles that show the ground of chosen ones, so they cannot be chosen. ``settings.all`` allows any
    budget. A small budget may be more than half of the pool, and the default budget takes what is left. The
    message names the drops that are ``left_out`` of the pool.

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
            f"budget={budget}: no tile is left to choose, {tiles}. Embed more drops. If nobody labels "
            f"the latest round, choose that round again with --replace.",
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
