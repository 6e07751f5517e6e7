"""Storage options for embeddings: columns, number type, patch maps, regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from dino_assets.embeddings.regions import REGIONS, read_regions
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError
from dino_assets.settings.choices import check_word

VectorType = Literal["fp16", "fp32"]


@dataclass(frozen=True)
class EmbeddingOptions:
    """Storage options for embeddings: which vectors, in which number type, with or without patch maps.

    ``regions`` is the number of regions across a tile; with 4, the means of 16 regions are stored. 0 means
    no regions.
    """

    columns: tuple[EmbeddingColumn, ...] = ("cls",)
    dtype: VectorType = "fp16"
    with_patches: bool = False
    regions: int = 0

    @property
    def vector_counts(self) -> dict[str, int]:
        """The vectors that a row holds, by column."""
        own = dict.fromkeys(map(str, self.columns), 1)
        return own | ({REGIONS: self.regions**2} if self.regions else {})


DEFAULT = EmbeddingOptions()


def check_options(
    columns: Sequence[str], dtype: str, *, with_patches: bool = False, regions: str = ""
) -> EmbeddingOptions:
    """Check the storage options and return them, with the columns in their fixed order.

    Raises:
        ConfigError: a column, the number type or the number of regions is unknown, or no column is given.
    """
    choices = get_args(EmbeddingColumn)
    for column in columns:
        check_word("columns", column, choices)
    check_word("dtype", dtype, get_args(VectorType))
    chosen = tuple(column for column in choices if column in columns)
    if not chosen:
        raise ConfigError(
            "columns is empty; at least one of cls and mean is expected",
            setting="columns",
            value=(),
        )
    across = read_regions(regions)
    return EmbeddingOptions(chosen, dtype, with_patches, across)  # type: ignore[arg-type]
