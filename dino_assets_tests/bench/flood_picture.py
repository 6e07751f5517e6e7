"""A picture of a flood: every answer of `/health`, the tiles that waited and the memory, over time.

``python -m dino_assets_tests.bench.flood_picture flood.npz flood.png`` draws what the bench has saved.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dino_assets.drawing.lettering import GREY, INK, LINE, RED, WHITE, Colour, load_font

BLUE, ORANGE, GREEN = (0, 80, 157), (230, 138, 60), (30, 132, 118)
WIDTH, LEFT, RIGHT, TOP, GAP, FOOT = 1100, 90, 30, 50, 46, 46
PROMISES_MS = ((50, "50 ms: 99 of 100 answers"), (100, "100 ms: every answer"))


@dataclass(frozen=True)
class Band:
    """One chart of the picture: its title, the values at its bottom and top, and its marked values."""

    title: str
    low: float
    high: float
    marks: Sequence[float]
    height: int = 110
    scale: Callable[[float], float] = float

    def find_share(self, value: float) -> float:
        """How far up a value stands: 0 at the bottom, 1 at the top."""
        low, high = self.scale(self.low), self.scale(self.high)
        return (self.scale(min(max(value, self.low), self.high)) - low) / (high - low)


def draw_flood(answers: np.ndarray, watched: np.ndarray) -> Image.Image:
    """Draw ``answers`` (when, seconds) and ``watched`` (when, tiles computed, tiles waiting, MB)."""
    start = min(answers[0, 0], watched[0, 0])
    end_s = max(answers[-1, 0], watched[-1, 0]) - start
    bands = [
        Band("/health answered in, ms", 0.3, 300, (1, 10, 50, 100), height=300, scale=np.log10),
        Band("tiles waiting", 0, watched[:, 2].max() * 1.1, _mark(watched[:, 2].max())),
        Band("memory, MB", 0, watched[:, 3].max() * 1.1, _mark(watched[:, 3].max())),
    ]
    height = TOP + sum(band.height + GAP for band in bands) + FOOT
    picture = Image.new("RGB", (WIDTH, height), WHITE)
    draw, top = ImageDraw.Draw(picture), TOP
    p99_ms, most_ms = np.percentile(answers[:, 1], 99) * 1e3, answers[:, 1].max() * 1e3
    title = f"{len(answers):,} answers of /health in {end_s:,.0f} s beside 32 clients: "
    title += f"99 of 100 within {p99_ms:.1f} ms, all within {most_ms:.1f} ms"
    draw.text((LEFT, 10), title, INK, load_font(18))

    def across(when: np.ndarray) -> np.ndarray:
        return LEFT + (when - start) / end_s * (WIDTH - LEFT - RIGHT)

    for number, band in enumerate(bands):
        _draw_frame(draw, band, top)
        if number == 0:
            for value, words in PROMISES_MS:
                y = _find_y(band, value, top)
                draw.line((LEFT, y, WIDTH - RIGHT, y), RED)
                draw.text((WIDTH - RIGHT, y - 15), words, RED, load_font(12), anchor="ra")
            for x, seconds in zip(across(answers[:, 0]), answers[:, 1], strict=True):
                y = _find_y(band, seconds * 1e3, top)
                draw.rectangle((x, y, x + 1, y + 1), BLUE)
        else:
            colour = (ORANGE, GREEN)[number - 1]
            _draw_line(draw, band, top, across(watched[:, 0]), watched[:, number + 1], colour)
        top += band.height + GAP
    step = _mark(end_s)[1]
    for second in np.arange(0, end_s + 1, step):
        x = float(across(np.array(second + start)))
        draw.text((x, top - GAP + 8), f"{second:.0f}", GREY, load_font(13), anchor="ma")
    draw.text((WIDTH / 2, top - GAP + 28), "seconds", GREY, load_font(13), anchor="ma")
    return picture


def _mark(most: float) -> list[float]:
    """Round values from nothing to the largest, four or five steps."""
    step = 10 ** np.floor(np.log10(max(most, 1) / 3))
    step *= next(times for times in (1, 2, 5, 10) if step * times >= most / 4.5)
    return [float(value) for value in np.arange(0, most + 1, step)]


def _find_y(band: Band, value: float, top: int) -> float:
    return top + band.height * (1 - band.find_share(value))


def _draw_frame(draw: ImageDraw.ImageDraw, band: Band, top: int) -> None:
    draw.text((LEFT, top - 20), band.title, GREY, load_font(13))
    for value in band.marks:
        y = _find_y(band, value, top)
        draw.line((LEFT, y, WIDTH - RIGHT, y), LINE)
        draw.text((LEFT - 8, y), f"{value:g}", GREY, load_font(13), anchor="rm")


def _draw_line(
    draw: ImageDraw.ImageDraw,
    band: Band,
    top: int,
    xs: np.ndarray,
    values: np.ndarray,
    colour: Colour,
) -> None:
    points = [(x, _find_y(band, value, top)) for x, value in zip(xs, values, strict=True)]
    draw.line(points, colour, width=2)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as arrays:
        draw_flood(arrays["answers"], arrays["watched"]).save(sys.argv[2], optimize=True)
