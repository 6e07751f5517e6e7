"""Verdicts: what a check answers about one drop or table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One drop's (or table's) answer to one question."""

    subject: str
    passed: bool
    sentence: str
    warns: bool = False
