"""What a client may ask for beside its picture: which tokens, in which numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from dino_assets.embeddings.options import VectorType
from dino_assets.serving.problems import Problem

TokenChoice = Literal["patches", "mean", "cls"]


@dataclass(frozen=True)
class EmbedOptions:
    """What ``embeddings`` in the file holds."""

    tokens: TokenChoice = "patches"
    dtype: VectorType = "fp16"


CHOICES: dict[str, tuple[str, ...]] = {
    "tokens": get_args(TokenChoice),
    "dtype": get_args(VectorType),
}


def read_options(query: Mapping[str, str], fields: Mapping[str, str]) -> EmbedOptions:
    """Options from the address and from the form's fields; the same in both is fine.

    Raises:
        Problem: unknown-field, unknown-option.
    """
    values = asdict(EmbedOptions())
    for name in (*query, *fields):
        if name not in CHOICES:
            expected = ", ".join(("file", *CHOICES))
            raise Problem("unknown-field", f"there is no option {name[:80]!r}, only {expected}")
    for name, choices in CHOICES.items():
        given = {each[name] for each in (query, fields) if name in each}
        if len(given) > 1:
            raise Problem("unknown-option", f"{name} is {' and '.join(sorted(given))[:80]!r}")
        for value in given:
            if value not in choices:
                shown = f"{name} is {value[:80]!r}; use {', '.join(choices)}"
                raise Problem("unknown-option", shown)
            values[name] = value
    return EmbedOptions(**values)
