"""What a person chooses of an export."""

from dataclasses import dataclass, replace
from typing import Any

from dino_assets.embeddings.space import check_side
from dino_assets.settings.described import check_settings, described, make_record
from dino_assets.weights.records import Checkpoint

# What torch's exporter writes by itself: asked for less, it writes 18 and says nothing.
LEAST_OPSET, MOST_OPSET = 18, 24


@dataclass(frozen=True)
class ExportSettings:
    """What is exported; part of the recipe of ``deployments``."""

    side: int = described(
        0, "Side of a tile in px; 0 takes the family's own, 518 or 512", least=0, most=16_384
    )
    opset: int = described(
        20, "ONNX operator set; 20 is the fastest measured", least=LEAST_OPSET, most=MOST_OPSET
    )
    include_preprocessing: bool = described(
        False, "Take uint8 pixels (batch, side, side, 3), and normalise in the graph"
    )

    def fit(self, checkpoint: Checkpoint) -> "ExportSettings":
        """The same with the side that it means for this checkpoint.

        Raises:
            ConfigError: the side cuts patches.
        """
        side_px = self.side or checkpoint.tile_px
        check_side(side_px, checkpoint)
        return replace(self, side=side_px)


def make_settings(**values: Any) -> ExportSettings:
    """Settings as a person spells them.

    Raises:
        ConfigError: a number outside its limits.
    """
    settings = make_record(ExportSettings, values)
    check_settings(settings)
    return settings
