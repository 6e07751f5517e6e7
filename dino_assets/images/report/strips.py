"""Scores over the flight: a dot per photograph in its order, and how often each value came."""

import math
import statistics
from collections.abc import Collection, Sequence

import numpy as np

MAX_DOTS = 4000
BINS = 24
_WIDE, _HIGH = 1000, 100


def write_strip(
    values: Sequence[float], marked: Collection[int], *, title: str, unit: str, floor: float | None
) -> str:
    """A figure of values in the order of flight; ``marked`` positions are red, never left out."""
    drawn = [value for value in values if math.isfinite(value)]
    if not drawn:
        return ""
    # What lies far out is drawn at the edge: one odd picture must not flatten all others.
    usual = np.quantile(drawn, (0.02, 0.98))
    reach = float(usual[1] - usual[0])
    low, high = max(min(drawn), usual[0] - reach), min(max(drawn), usual[1] + reach)
    low = float(low if floor is None else min(low, floor))
    high = float(high)
    high = high if high > low else low + 1
    across = _WIDE / max(len(values), 1)
    step = -(-len(values) // MAX_DOTS)

    def place(value: float) -> float:
        return _HIGH * (high - min(max(value, low), high)) / (high - low)

    def dot(at: int) -> str:
        return f"M{(at + 0.5) * across:.1f} {place(values[at]):.1f}h0"

    known = [at for at, value in enumerate(values) if math.isfinite(value)]
    plain = "".join(dot(at) for at in known if at not in marked and at % step == 0)
    red = "".join(dot(at) for at in known if at in marked)
    middle = statistics.median(drawn)
    thick = 5 if len(values) <= 500 else 3
    bars = np.histogram(np.clip(drawn, low, high), BINS, (low, high))[0]
    steps = "".join(
        f"M0 {_HIGH * (1 - (bar + 0.5) / BINS):.1f}h{_HIGH * count / bars.max():.1f}"
        for bar, count in enumerate(bars.tolist())
        if count
    )
    return (
        f'<figure class="strip"><h3>{title} <span class="count">median {middle:.3g}{unit}</span></h3>'
        f'<div class="axis up"><span>{high:.3g}</span><span>{low:.3g}</span></div>'
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" preserveAspectRatio="none" role="img" aria-label="{title}">'
        f'<path d="M0 {place(middle):.1f}h{_WIDE}" stroke="#9aa2ad" stroke-width="1" '
        f'stroke-dasharray="4 4"/><path d="{plain}" stroke="#2667aa" stroke-width="{thick}"/>'
        f'<path d="{red}" stroke="#c8202f" stroke-width="8"/></svg>'
        f'<svg viewBox="0 0 {_HIGH} {_HIGH}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{steps}" stroke="#b9c4d2" stroke-width="4" style="stroke-linecap:butt"/></svg>'
        f'<span></span><div class="axis"><span>first</span><span>{len(values):,} in order of flight'
        '</span><span>last</span></div><div class="axis"><span>how often</span></div></figure>'
    )
