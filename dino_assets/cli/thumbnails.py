"""Sheets of stored thumbnails, for commands that list tiles."""

import io
from collections.abc import Iterable
from pathlib import Path

_CELL_PX = 160


def draw_sheet(
    cells: Iterable[tuple[bytes, str]], file: Path, *, title: str, caveat: str = ""
) -> None:
    """Draw thumbnails with captions into a picture file."""
    import numpy as np
    from PIL import Image

    from dino_assets.drawing.contact_sheet import make_contact_sheet
    from dino_assets.store.targets import write_target

    drawn = []
    for thumb, caption in cells:
        with Image.open(io.BytesIO(thumb)) as picture:
            cell = picture.convert("RGB").resize((_CELL_PX, _CELL_PX))
        drawn.append((np.asarray(cell), caption))
    sheet = make_contact_sheet(drawn, cell_px=_CELL_PX, title=title, caveat=caveat)
    write_target(file, sheet)
