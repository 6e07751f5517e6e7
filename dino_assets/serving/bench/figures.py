"""Results of a load test: rates, latencies and refusals, as a record and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dino_assets.serving.bench.flood import CUT_OFF, FloodAnswer


@dataclass(frozen=True)
class Figures:
    """The results of one load: the uploads that several clients send for some seconds.

    Rates are counted up to the last embedded picture. Latencies are of embedded pictures only. Without any
    embedded picture, rates are 0 and latencies None.
    """

    clients: int
    seconds: float
    pictures: int
    tiles: int
    pictures_per_s: float
    tiles_per_s: float
    p50_s: float | None
    p99_s: float | None
    refused: int  # answered with 503
    failed: int  # another status, or no answer
    unanswered: int  # still open when the load ended
    health_p99_s: float | None = None
    health_lost: int = 0  # requests to /health without an answer


def summarise(
    answers: Sequence[FloodAnswer], *, clients: int, started: float, health: Sequence[float] = ()
) -> Figures:
    """Compute the results of one load that began at ``started``.

    ``health`` has the seconds of each request to /health, infinite for a request without an answer.
    """
    embedded = [each for each in answers if each.status == 200]
    seconds = max((each.at_s for each in embedded), default=started) - started
    tiles = sum(each.tiles for each in embedded)
    waits = [each.took_s for each in embedded]
    refused = sum(each.is_refusal for each in answers)
    unanswered = sum(each.slug == CUT_OFF for each in answers)
    return Figures(
        clients=clients,
        seconds=round(seconds, 3),
        pictures=len(embedded),
        tiles=tiles,
        pictures_per_s=round(len(embedded) / seconds, 3) if embedded else 0.0,
        tiles_per_s=round(tiles / seconds, 3) if embedded else 0.0,
        p50_s=find_percentile(waits, 50),
        p99_s=find_percentile(waits, 99),
        refused=refused,
        failed=len(answers) - len(embedded) - refused - unanswered,
        unanswered=unanswered,
        health_p99_s=find_percentile([each for each in health if np.isfinite(each)], 99),
        health_lost=sum(not np.isfinite(each) for each in health),
    )


def find_percentile(seconds: Sequence[float], percent: float) -> float | None:
    """Find a percentile: one of the values, not a mean of two; None if there are no values."""
    if not seconds:
        return None
    return round(float(np.percentile(seconds, percent, method="higher")), 5)


_COLUMNS = (
    "clients", "pictures", "pictures/s", "tiles/s", "p50", "p99", "refused (503)", "failed",
    "/health p99",
)  # fmt: skip


def format_figures(steps: Sequence[Figures]) -> str:
    """Format results as a table with a line for each load."""
    rows = [
        (
            str(each.clients),
            str(each.pictures),
            f"{each.pictures_per_s:.2f}",
            f"{each.tiles_per_s:.2f}",
            _spell(each.p50_s),
            _spell(each.p99_s),
            str(each.refused),
            str(each.failed + each.unanswered),
            f"{each.health_lost} lost" if each.health_lost else _spell(each.health_p99_s),
        )
        for each in steps
    ]
    return format_table([_COLUMNS, *rows])


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as columns, aligned to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _spell(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
