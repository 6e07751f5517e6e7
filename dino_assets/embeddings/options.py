"""What of a tile's tokens is stored, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError
from dino_assets.settings.choices import check_word

VectorType = Literal["fp16", "fp32"]


@dataclass(frozen=True)
class EmbeddingOptions:
    """What of a tile's tokens is stored, and how."""

    columns: tuple[EmbeddingColumn, ...] = ("cls",)
    dtype: VectorType = "fp16"
    with_patches: bool = False


DEFAULT = EmbeddingOptions()


def check_options(
    columns: Sequence[str], dtype: str, *, with_patches: bool = False
) -> EmbeddingOptions:
    """What to store, in the one order there is.

    Raises:
        ConfigError: a word that is not known, or no column at all.
    """
    choices = get_args(EmbeddingColumn)
    for column in columns:
        check_word("columns", column, choices)
    check_word("dtype", dtype, get_args(VectorType))
    chosen = tuple(column for column in choices if column in columns)
    if not chosen:
        raise ConfigError("columns is empty; use cls, mean or both", setting="columns", value=())
    return EmbeddingOptions(chosen, dtype, with_patches)  # type: ignore[arg-type]
