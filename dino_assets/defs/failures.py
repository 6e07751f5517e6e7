"""Why a run failed, in a sentence for a person: from the errors that Dagster keeps as text."""

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

# What other libraries and the operating system say, and what to do then.
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
_UNEXPECTED = "This was not foreseen: run it with --debug, and report what that prints."


@dataclass(frozen=True)
class Failure:
    """One reason why a run failed; ``step`` is an asset or a check."""

    step: str
    sentence: str
    traceback: str = ""


def explain_error(error: Any, *, drop: str | None) -> str:
    """Make a sentence of a step's error (a ``SerializableErrorInfo``): our own before those below it."""
    chain = list(_chain(error))
    ours = _our_names()
    for link in chain:
        name, text = _split(link.message)
        if name == DropsFailedError.__name__:
            return _explain_drop(text, drop)
        if name in ours:
            return f"{ours[name]}: {text}"
    return advise(*_split(chain[-1].message)) if chain else _UNEXPECTED


def explain_verdict(error: Any, *, drop: str) -> str:
    """Say what a step's error finds wrong with a drop's files, or nothing where it is about something else."""
    for link in _chain(error):
        name, text = _split(link.message)
        if name == DropsFailedError.__name__:
            name, text = _find_drop(text, drop) or ("", "")
        if name == DropUnusableError.__name__:
            return text.removeprefix(f"drop {drop!r}: ")
    return ""


def advise(name: str, text: str) -> str:
    """Say of an error that is not ours what to do about it."""
    first_line = text.split("\n", 1)[0].rstrip(".")
    advice = next((word for pattern, word in _ADVICE if pattern.search(text)), _UNEXPECTED)
    return f"{name}: {first_line}. {advice}"


def _explain_drop(text: str, drop: str | None) -> str:
    """What a step over one drop says of it; of several drops the whole."""
    named = _find_drop(text, drop)
    if drop is None or named is None:
        return text
    name, reason = named
    ours = _our_names()
    return f"{ours[name]}: {reason}" if name in ours else advise(name, reason)


def _find_drop(text: str, drop: str | None) -> tuple[str, str] | None:
    """Class and text of one drop's error in what a step over several says."""
    match = re.search(rf"^  {re.escape(drop or '')}: (\w+): (.*)", text, re.MULTILINE | re.DOTALL)
    return (match[1], match[2]) if match else None


def _chain(error: Any) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.cause


def _split(message: str) -> tuple[str, str]:
    """Class and text of an error's message, the class without its module."""
    head, _, text = message.strip().partition(": ")
    return head.rpartition(".")[2], text.strip()


def _our_names() -> dict[str, str]:
    """Our classes of errors, each with the name that the tree has for it."""
    kinds: list[type[DinoAssetsError]] = [DinoAssetsError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.__name__: name_publicly(kind) for kind in kinds}
