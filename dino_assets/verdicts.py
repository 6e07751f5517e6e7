"""Verdicts: results of checks of a drop or a table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """The result of one check of a drop or a table, with its reason in a sentence.

    ``warns``: the check passed, but its result is shown as a warning.
    """

    subject: str
    passed: bool
    sentence: str
    warns: bool = False
