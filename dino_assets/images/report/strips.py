"""Strips of scores over a flight: one dot per photograph in order, and a histogram."""

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

MAX_DOTS = 4000
BINS = 24
WIDE, HIGH = 1000, 100


@dataclass(frozen=True)
class Strip:
    """A figure of scores for the page's template: texts, and SVG paths in a box of 1000 × 100.

    ``plain`` and ``marked`` are paths of dots, ``bars`` is the histogram, ``middle`` the y of the median.
    """

    title: str
    median: str
    low: str
    high: str
    count: int
    middle: float
    plain: str
    marked: str
    thick: int
    bars: str


def lay_out_strip(
    values: Sequence[float], marked: Collection[int], *, title: str, unit: str, floor: float | None
) -> Strip | None:
    """Lay out a strip of values, which are in the order of flight; return None if no value is finite.

    Dots at ``marked`` positions are red, and all of them are drawn. Of the other dots, only every k-th is
    drawn if there are more than ``MAX_DOTS`` values. If ``floor`` is given, the axis begins there or below.
    """
    drawn = [value for value in values if math.isfinite(value)]
    if not drawn:
        return None
    # Outliers are drawn at the edge: a single one must not flatten all others.
    usual = np.quantile(drawn, (0.02, 0.98))
    reach = float(usual[1] - usual[0])
    low, high = max(min(drawn), usual[0] - reach), min(max(drawn), usual[1] + reach)
    low = float(low if floor is None else min(low, floor))
    high = float(high)
    high = high if high > low else low + 1
    across = WIDE / max(len(values), 1)
    step = -(-len(values) // MAX_DOTS)

    def place(value: float) -> float:
        return HIGH * (high - min(max(value, low), high)) / (high - low)

    def dot(at: int) -> str:
        return f"M{(at + 0.5) * across:.1f} {place(values[at]):.1f}h0"

    finite = [at for at, value in enumerate(values) if math.isfinite(value)]
    middle = statistics.median(drawn)
    bars = np.histogram(np.clip(drawn, low, high), BINS, (low, high))[0]
    return Strip(
        title=title,
        median=f"{middle:.3g}{unit}",
        low=f"{low:.3g}",
        high=f"{high:.3g}",
        count=len(values),
        middle=place(middle),
        plain="".join(dot(at) for at in finite if at not in marked and at % step == 0),
        marked="".join(dot(at) for at in finite if at in marked),
        thick=5 if len(values) <= 500 else 3,
        bars="".join(
            f"M0 {HIGH * (1 - (bar + 0.5) / BINS):.1f}h{HIGH * count / bars.max():.1f}"
            for bar, count in enumerate(bars.tolist())
            if count
        ),
    )
