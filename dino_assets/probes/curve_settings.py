"""Settings of a learning curve."""

from dataclasses import dataclass
from typing import Any

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.settings.described import check_settings, described, make_record


@dataclass(frozen=True)
class CurveSettings:
    """Settings of a learning curve; part of its recipe."""

    seeds: int = described(12, "Repetitions, each with other ground held out", least=4, most=200)
    block_m: int = described(
        50, "Side of a block of ground in metres; a block is held out as a whole", least=1
    )
    column: EmbeddingColumn = described("cls", "Vector to use; mean is the mean over patches")
    drops: tuple[str, ...] = described((), "Use only these drops and drops with one of the tags")
    tags: tuple[str, ...] = described(
        (), "Use only drops with one of these tags and the named drops"
    )


def make_settings(**values: Any) -> CurveSettings:
    """Make settings from values as users write them.

    Raises:
        ConfigError: a column does not exist, or a number is outside its range.
    """
    settings = make_record(CurveSettings, values)
    check_settings(settings)
    return settings
