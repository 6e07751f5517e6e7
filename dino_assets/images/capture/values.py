"""Numbers, words and times as cameras write them; None for an invalid value."""

import math
import re
from datetime import datetime
from typing import Any

_MAX_WORD = 200
_MOST_M = 20_000.0  # above or below zero; no drone flies higher
STAMP = re.compile(
    r"(\d{4})[:\-.](\d\d)[:\-.](\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6})\d*)?)?.*", re.DOTALL
)


def read_number(value: Any) -> float | None:
    """Read a finite number from EXIF or XMP: ``+40.00``, ``361/100``; None for ``1/0`` and ``nan``."""
    try:
        if isinstance(value, str):
            above, _, below = value.strip().partition("/")
            number = float(above) / float(below) if below else float(above)
        else:
            number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if math.isfinite(number) else None


def read_height_m(value: Any) -> float | None:
    """Read metres; None for a height that no drone reaches."""
    number = read_number(value)
    return number if number is not None and abs(number) <= _MOST_M else None


def read_positive(value: Any) -> float | None:
    """Read a number above zero."""
    number = read_number(value)
    return number if number is not None and number > 0 else None


def read_word(value: object) -> str | None:
    """Read one line of text without unprintable characters."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    text = "".join(c for c in value.partition("\0")[0] if c.isprintable()).strip()
    return text[:_MAX_WORD] or None


def read_first_word(*values: object) -> str | None:
    """Read the first value that is a readable text."""
    return next((word for word in map(read_word, values) if word is not None), None)


def read_stamp(stamp: str | None, part: str | None) -> datetime | None:
    """Read a time of the camera's clock from ``stamp``.

    Fractions of a second are read from ``stamp`` too, or else from ``part``, a text of digits.
    """
    match = STAMP.fullmatch(stamp or "")
    if match is None or match[4] is None:
        return None
    digits = match[7] or (part if part and part.isascii() and part.isdigit() else "0")
    year, month, day, hour, minute, second = (int(n) for n in match.groups()[:6])
    micro = int(digits[:6].ljust(6, "0"))
    try:
        # Local time: the zone is rarely known, and stored separately.
        return datetime(year, month, day, hour, minute, second, micro)  # noqa: DTZ001
    except ValueError:
        return None
