"""Rounds: their settings and their names."""

from dataclasses import dataclass
from typing import Any, get_args

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError
from dino_assets.selections.choosing import StrategyName
from dino_assets.settings.choices import check_word


@dataclass(frozen=True)
class RoundSettings:
    """One round; part of its recipe."""

    round: int = 1
    budget: int = 20
    strategy: StrategyName = "hybrid"
    n_clusters: int = 100
    fps_ratio: float = 0.5
    seed: int = 42
    column: EmbeddingColumn = "cls"


def make_settings(**values: Any) -> RoundSettings:
    """Settings as a person spells them.

    Raises:
        ConfigError: settings that cannot work.
    """
    settings = RoundSettings(**values)
    check_settings(settings)
    return settings


def check_settings(settings: RoundSettings) -> None:
    """Refuse what cannot work, before anything is read: a round that stands must not hide a misuse.

    Raises:
        ConfigError: a column or a strategy that does not exist, a round outside 1 to 9999, no tiles,
            no clusters, a negative seed, or a share outside 0 to 1.
    """
    check_word("column", settings.column, get_args(EmbeddingColumn))
    check_word("strategy", settings.strategy, get_args(StrategyName))
    name_round(settings.round)
    for name, least in (("budget", 1), ("n_clusters", 1), ("seed", 0)):
        if (value := getattr(settings, name)) < least:
            raise ConfigError(f"{name}={value}: expected {least} or more")
    if not 0 <= settings.fps_ratio <= 1:
        raise ConfigError(
            f"fps_ratio={settings.fps_ratio}: expected 0 to 1, the share of each cluster's quota that "
            "is picked by distance"
        )


def name_round(number: int) -> str:
    """How a round's manifest is called.

    Raises:
        ConfigError: rounds count from 1 to 9999.
    """
    if not 1 <= number <= 9999:
        raise ConfigError(f"round={number}: rounds count from 1 to 9999")
    return f"round-{number:04d}"
