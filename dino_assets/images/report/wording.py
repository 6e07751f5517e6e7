"""Wording of names, amounts and ranges in the report."""

import math
from collections.abc import Sequence

from dino_assets.drawing.lettering import make_printable

NAME_LETTERS, SENTENCE_LETTERS = 120, 300


def clean(text: str) -> str:
    r"""Make text printable: undecodable bytes become ``\udcff``, control characters become spaces."""
    return make_printable(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def shorten_name(path: str) -> str:
    """Leave out the middle of a long path: files differ at both ends."""
    if len(path) > NAME_LETTERS:
        path = f"{path[: NAME_LETTERS // 3]}…{path[-(NAME_LETTERS - NAME_LETTERS // 3) :]}"
    return clean(path)


def shorten_sentence(text: str) -> str:
    """Shorten a sentence that a damaged file made too long."""
    return clean(text if len(text) <= SENTENCE_LETTERS else f"{text[:SENTENCE_LETTERS]}…")


def word_range(values: Sequence[float], unit: str) -> str:
    """Write the range from the smallest to the largest value: ``38.9 – 40.2 m``."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "unknown"
    low, high = (f"{v:.1f}" if abs(v) < 100 else f"{v:,.0f}" for v in (min(finite), max(finite)))
    return f"{low} {unit}" if low == high else f"{low} – {high} {unit}"


def word_area(area_m2: float) -> str:
    """Write an area in square metres, hectares or square kilometres."""
    if area_m2 <= 0:
        return "unknown"
    if area_m2 < 10_000:
        return f"about {area_m2:,.0f} m²"
    return f"about {area_m2 / 1e4:.3g} ha" if area_m2 < 1e7 else f"about {area_m2 / 1e6:,.3g} km²"


def word_bytes(count: int) -> str:
    """Word a number of bytes in kB, MB or GB: powers of 1000, as on memory cards."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
