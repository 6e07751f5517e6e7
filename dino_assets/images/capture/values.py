"""Numbers, words and times as cameras write them; None for whatever is not one."""

import math
import re
from datetime import datetime
from typing import Any

_MAX_WORD = 200
_MOST_M = 20_000.0  # up or down: no drone flies higher
STAMP = re.compile(
    r"(\d{4})[:\-.](\d\d)[:\-.](\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6})\d*)?)?.*", re.DOTALL
)


def read_number(value: Any) -> float | None:
    """Read a finite number of what EXIF and XMP write: ``+40.00``, ``361/100``; ``1/0`` and ``nan`` are none."""
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
    """Read metres, unless they are farther up or down than a drone flies."""
    number = read_number(value)
    return number if number is not None and abs(number) <= _MOST_M else None


def read_positive(value: Any) -> float | None:
    """Read a number above zero."""
    number = read_number(value)
    return number if number is not None and number > 0 else None


def read_word(value: object) -> str | None:
    """Read one line of text without what cannot be printed."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    text = "".join(c for c in value.partition("\0")[0] if c.isprintable()).strip()
    return text[:_MAX_WORD] or None


def read_first_word(*values: object) -> str | None:
    """Read the first of several that is a word."""
    return next((word for word in map(read_word, values) if word is not None), None)


def read_stamp(stamp: str | None, part: str | None) -> datetime | None:
    """Read the camera's own clock; ``part`` are digits below a second, where the stamp has none."""
    match = STAMP.fullmatch(stamp or "")
    if match is None or match[4] is None:
        return None
    digits = match[7] or (part if part and part.isascii() and part.isdigit() else "0")
    year, month, day, hour, minute, second = (int(n) for n in match.groups()[:6])
    micro = int(digits[:6].ljust(6, "0"))
    try:
        # The camera's own clock: a zone is known seldom, and kept beside it.
        return datetime(year, month, day, hour, minute, second, micro)  # noqa: DTZ001
    except ValueError:
        return None
