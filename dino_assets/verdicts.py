"""Verdicts: results of checks, for example of a drop or of the disk."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """The result of one check, with the reason in a sentence.

    ``subject`` names what was checked, for example a drop. If a check passed and ``warns`` is True, the
    result is shown as a warning.
    """

    subject: str
    passed: bool
    sentence: str
    warns: bool = False
