"""Verdicts: results of checks of a drop or a table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """The result of one check of a drop or a table, with its reason in a sentence."""

    subject: str
    passed: bool
    sentence: str
    warns: bool = False
