"""Sheets of stored thumbnails, for commands that list tiles."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CELL_PX = 160
_FRAME = (255, 235, 60)


@dataclass(frozen=True)
class SheetCell:
    """A thumbnail with its caption; ``frame`` is left, top, width and height of a part, as shares of its side."""

    thumb: bytes
    caption: str
    frame: tuple[float, float, float, float] | None = None


def draw_sheet(cells: Iterable[SheetCell], file: Path, *, title: str, caveat: str = "") -> None:
    """Draw thumbnails with captions into a picture file, each with a frame around the part that matters."""
    import numpy as np
    from PIL import Image, ImageDraw

    from dino_assets.drawing.contact_sheet import make_contact_sheet
    from dino_assets.store.targets import write_target

    drawn = []
    for cell in cells:
        with Image.open(io.BytesIO(cell.thumb)) as picture:
            pixels = picture.convert("RGB").resize((_CELL_PX, _CELL_PX))
        if cell.frame is not None:
            left, top, width, height = (_CELL_PX * share for share in cell.frame)
            edges = (left, top, left + width - 1, top + height - 1)
            ImageDraw.Draw(pixels).rectangle(edges, outline=_FRAME, width=2)
        drawn.append((np.asarray(pixels), cell.caption))
    sheet = make_contact_sheet(drawn, cell_px=_CELL_PX, title=title, caveat=caveat)
    write_target(file, sheet)
