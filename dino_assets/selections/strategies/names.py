"""The strategies by name, for what offers them and imports nothing that picks."""

from typing import Literal

StrategyName = Literal["random", "cluster", "fps", "hybrid"]
