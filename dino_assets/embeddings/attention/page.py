"""Interactive page "where else is this?": similarity of all patches to the patch under the pointer."""

import base64
import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.drawing.colour_scales import HEAT_SHARE, VIRIDIS
from dino_assets.drawing.lettering import encode_picture
from dino_assets.drawing.templates import render_page
from dino_assets.embeddings.attention.likeness import scale_to_unit
from dino_assets.embeddings.attention.pictures import (
    Photo,
    describe_model,
    spell_debias,
    spell_layer,
)
from dino_assets.embeddings.encoder.tokens import Vectors
from dino_assets.weights.records import Checkpoint, spell_caveat

_PHOTO_PX, _PHOTO_QUALITY = 1600, 85


def make_similarity_page(
    photo: Photo,
    features: Vectors,
    *,
    layer: int,
    debias: str | None,
    checkpoint: Checkpoint,
    patch: tuple[int, int] | None = None,
) -> str:
    """Make one HTML file with a photograph and its features (rows, columns, D).

    The page works without a network. It computes similarities from 8-bit features, within 0.01 of the exact
    values. At first it shows ``patch`` (row, column), by default the middle one, or the patch that
    ``#patch=row,column`` in the address names. ``debias`` names the pictures on which the position bias was
    measured; None means that it was not subtracted.
    """
    grid = photo.grid
    row, column = patch or (grid.rows // 2, grid.columns // 2)
    data = {
        "rows": grid.rows,
        "columns": grid.columns,
        "width": grid.width,
        "height": grid.height,
        "dims": features.shape[-1],
        "features": base64.b64encode(quantise(features).tobytes()).decode(),
        "patch": row * grid.columns + column,
        "stops": VIRIDIS,
        "share": HEAT_SHARE,
    }
    return render_page(
        "dino_assets.embeddings.attention",
        "page.html",
        title=f"{_escape(photo.name)}: where else is this?",
        caption=f"{_escape(describe_model(grid, checkpoint))} · {spell_layer(layer, checkpoint)}",
        positions=spell_debias(debias),
        caveat=spell_caveat(checkpoint.caveat),
        photo="data:image/jpeg;base64," + base64.b64encode(_encode_photo(photo)).decode(),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )


def quantise(features: Vectors) -> NDArray[np.int8]:
    """Quantise features to 8 bits; each feature vector keeps its direction, but not its length.

    Each vector is first scaled so that its largest entry becomes 127.
    """
    unit = scale_to_unit(features)
    largest = np.abs(unit).max(axis=-1, keepdims=True)
    return np.round(unit / np.where(largest > 0, largest, 1) * 127).astype(np.int8)


def _encode_photo(photo: Photo) -> bytes:
    """Encode the photograph as JPEG, scaled down to the size of a screen."""
    picture = Image.fromarray(photo.pixels)
    scale = min(1.0, _PHOTO_PX / max(picture.size))
    size = [max(1, round(side * scale)) for side in picture.size]
    if scale < 1:
        picture = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    return encode_picture(picture, "JPEG", quality=_PHOTO_QUALITY)


def _escape(text: str) -> str:
    """Replace lone surrogates, which file names may contain but UTF-8 pages may not."""
    return text.encode("utf-8", "replace").decode("utf-8")
