"""How the report words names, amounts and ranges."""

import math
from collections.abc import Sequence

from dino_assets.drawing.lettering import make_printable

NAME_LETTERS, SENTENCE_LETTERS = 120, 300


def clean(text: str) -> str:
    r"""Make text printable: bytes of names that are not text read ``\udcff``, controls are spaces."""
    return make_printable(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def shorten_name(path: str) -> str:
    """Leave out the middle of a long path: both ends tell files apart."""
    if len(path) > NAME_LETTERS:
        path = f"{path[: NAME_LETTERS // 3]}…{path[-(NAME_LETTERS - NAME_LETTERS // 3) :]}"
    return clean(path)


def shorten_sentence(text: str) -> str:
    """Cut a sentence where a damaged file made it endless."""
    return clean(text if len(text) <= SENTENCE_LETTERS else f"{text[:SENTENCE_LETTERS]}…")


def word_range(values: Sequence[float], unit: str) -> str:
    """From the smallest to the largest: ``38.9 – 40.2 m``."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "not known"
    low, high = (f"{v:.1f}" if abs(v) < 100 else f"{v:,.0f}" for v in (min(finite), max(finite)))
    return f"{low} {unit}" if low == high else f"{low} – {high} {unit}"


def word_area(area_m2: float) -> str:
    """Square metres, hectares or square kilometres."""
    if area_m2 <= 0:
        return "not known"
    if area_m2 < 10_000:
        return f"about {area_m2:,.0f} m²"
    return f"about {area_m2 / 1e4:.3g} ha" if area_m2 < 1e7 else f"about {area_m2 / 1e6:,.3g} km²"


def word_bytes(count: int) -> str:
    """Bytes in powers of 1000, as cards are sold."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
