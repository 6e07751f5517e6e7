"""Options of `/embed`: which tokens, and the type of their numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from dino_assets.embeddings.options import VectorType
from dino_assets.serving.problems import Problem

TokenChoice = Literal["patches", "mean", "cls"]


@dataclass(frozen=True)
class EmbedOptions:
    """What the array ``embeddings`` of the file contains: which tokens, and the type of their numbers."""

    tokens: TokenChoice = "patches"
    dtype: VectorType = "fp16"


CHOICES: dict[str, tuple[str, ...]] = {
    "tokens": get_args(TokenChoice),
    "dtype": get_args(VectorType),
}


def read_options(query: Mapping[str, str], fields: Mapping[str, str]) -> EmbedOptions:
    """Read options from the query and from the form's fields; equal values in both are accepted.

    Raises:
        Problem: unknown-field, unknown-option.
    """
    values = asdict(EmbedOptions())
    for name in (*query, *fields):
        if name not in CHOICES:
            expected = ", ".join(("file", *CHOICES))
            raise Problem("unknown-field", f"unknown option {name[:80]!r}; use {expected}")
    for name, choices in CHOICES.items():
        given = {each[name] for each in (query, fields) if name in each}
        if len(given) > 1:
            both = " and ".join(sorted(given))[:80]
            raise Problem("unknown-option", f"{name} is given twice, as {both!r}; give one value")
        for value in given:
            if value not in choices:
                shown = f"{name} is {value[:80]!r}; use {', '.join(choices)}"
                raise Problem("unknown-option", shown)
            values[name] = value
    return EmbedOptions(**values)
