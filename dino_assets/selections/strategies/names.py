"""Names of the strategies, for settings and help texts; imports no strategy."""

from typing import Literal

StrategyName = Literal["random", "cluster", "fps", "hybrid", "medoids", "herding", "herding+fps"]
