"""Settings of an export."""

from dataclasses import dataclass, replace
from typing import Any

from dino_assets.embeddings.space import check_side
from dino_assets.settings.described import check_settings, described, make_record
from dino_assets.weights.records import Checkpoint

# Opsets that torch's exporter can write. If a lower one is requested, it writes 18 without a warning.
LEAST_OPSET, MOST_OPSET = 18, 24


@dataclass(frozen=True)
class ExportSettings:
    """Settings of an exported graph; part of the recipe of ``deployments``."""

    side: int = described(
        0,
        "Side of a tile in px; 0 means the side of the model's family, 518 or 512",
        least=0,
        most=16_384,
    )
    opset: int = described(
        20, "ONNX operator set (opset); 20 was the fastest one", least=LEAST_OPSET, most=MOST_OPSET
    )
    include_preprocessing: bool = described(
        False, "Take uint8 pixels (batch, side, side, 3), and normalise in the graph"
    )

    def fit(self, checkpoint: Checkpoint) -> "ExportSettings":
        """Return the settings with side 0 replaced by the tile side of the checkpoint's family.

        Raises:
            ConfigError: the side is not a whole number of patches.
        """
        side_px = self.side or checkpoint.tile_px
        check_side(side_px, checkpoint)
        return replace(self, side=side_px)


def make_settings(**values: Any) -> ExportSettings:
    """Make settings from values as users write them.

    Raises:
        ConfigError: a number is outside its limits.
    """
    settings = make_record(ExportSettings, values)
    check_settings(settings)
    return settings
