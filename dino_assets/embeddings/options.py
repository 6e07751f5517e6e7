"""Storage options for embeddings: columns, number type, patch maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError
from dino_assets.settings.choices import check_word

VectorType = Literal["fp16", "fp32"]


@dataclass(frozen=True)
class EmbeddingOptions:
    """Storage options for embeddings: which vectors, in which number type, with or without patch maps."""

    columns: tuple[EmbeddingColumn, ...] = ("cls",)
    dtype: VectorType = "fp16"
    with_patches: bool = False


DEFAULT = EmbeddingOptions()


def check_options(
    columns: Sequence[str], dtype: str, *, with_patches: bool = False
) -> EmbeddingOptions:
    """Check the storage options and return them, with the columns in their fixed order.

    Raises:
        ConfigError: a column or the number type is unknown, or no column is given.
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
    return EmbeddingOptions(chosen, dtype, with_patches)  # type: ignore[arg-type]
