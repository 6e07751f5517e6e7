"""Explanations of failed runs, one sentence each, made from the error texts that Dagster stores."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dino_assets.defs.instance import FULL_DISK, NOT_WRITABLE
from dino_assets.errors import (
    DinoAssetsError,
    DropsFailedError,
    DropUnusableError,
    name_publicly,
)

# Patterns of errors from other libraries and the operating system, and what to do about them.
_ADVICE = (
    (
        FULL_DISK,
        "The disk is full: free some space and run again.",
    ),
    (
        NOT_WRITABLE,
        "Check the permissions of the project's folder and of the store.",
    ),
)
_UNEXPECTED = "This error was not expected: run again with --debug, and report what that prints."


@dataclass(frozen=True)
class Failure:
    """One reason why a run failed; ``step`` names the asset or check, or is empty if no step failed."""

    step: str
    sentence: str
    traceback: str = ""


def explain_error(error: Any, *, drop: str | None) -> str:
    """Explain a step's error (a ``SerializableErrorInfo``) in a sentence.

    In the chain of the error and its causes, the first error of dino_assets is explained. If there is
    none, the last cause is explained.
    """
    chain = list(_chain(error))
    public_names = _list_public_names()
    for link in chain:
        name, text = _split(link.message)
        if name == DropsFailedError.__name__:
            return _explain_drop(text, drop)
        if name in public_names:
            return f"{public_names[name]}: {text}"
    return advise(*_split(chain[-1].message)) if chain else _UNEXPECTED


def explain_verdict(error: Any, *, drop: str) -> str:
    """Explain why a drop's files are unfit, from a step's error; empty if the error has another cause."""
    for link in _chain(error):
        name, text = _split(link.message)
        if name == DropsFailedError.__name__:
            name, text = _find_drop(text, drop) or ("", "")
        if name == DropUnusableError.__name__:
            return text.removeprefix(f"drop {drop!r}: ")
    return ""


def advise(name: str, text: str) -> str:
    """Describe an error of another library, and what to do about it."""
    first_line = text.split("\n", 1)[0].rstrip(".")
    advice = next((word for pattern, word in _ADVICE if pattern.search(text)), _UNEXPECTED)
    return f"{name}: {first_line}. {advice}"


def _explain_drop(text: str, drop: str | None) -> str:
    """Explain one drop's failure; return the step's whole error text if ``drop`` is None or not in it."""
    named = _find_drop(text, drop)
    if drop is None or named is None:
        return text
    name, reason = named
    public_names = _list_public_names()
    return f"{public_names[name]}: {reason}" if name in public_names else advise(name, reason)


def _find_drop(text: str, drop: str | None) -> tuple[str, str] | None:
    """Find the class and text of one drop's error in the error of a step over several drops."""
    match = re.search(rf"^  {re.escape(drop or '')}: (\w+): (.*)", text, re.MULTILINE | re.DOTALL)
    return (match[1], match[2]) if match else None


def _chain(error: Any) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.cause


def _split(message: str) -> tuple[str, str]:
    """Split an error's message into its class, without the module, and its text."""
    head, _, text = message.strip().partition(": ")
    return head.rpartition(".")[2], text.strip()


def _list_public_names() -> dict[str, str]:
    """List the error classes of dino_assets with their public names in ``dino_assets.errors``."""
    kinds: list[type[DinoAssetsError]] = [DinoAssetsError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.__name__: name_publicly(kind) for kind in kinds}
