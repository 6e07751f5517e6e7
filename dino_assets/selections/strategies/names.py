"""Names of the strategies and of what they read; imports no strategy."""

from typing import Literal

StrategyName = Literal[
    "random", "cluster", "fps", "hybrid", "medoids", "herding", "herding+swaps", "herding+fps"
]
# Rounds can also be chosen by what a probe is uncertain about.
RoundStrategyName = Literal[
    "random",
    "cluster",
    "fps",
    "hybrid",
    "medoids",
    "herding",
    "herding+swaps",
    "herding+fps",
    "uncertainty",
]
UncertaintyKind = Literal["entropy", "margin", "disagreement"]

# The share of a budget that the strategy picks; the other shares are of classes.
EXPLORE = "explore"
