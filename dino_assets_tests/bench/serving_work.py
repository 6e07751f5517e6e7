"""What the peers of the service compute with: our engine, our decoding, our tiles."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.engine import Encoder, NetworkSource
from dino_assets.embeddings.encoder.ready import open_encoder
from dino_assets.images.decoding import decode_image
from dino_assets.serving.computing.engines import OUTPUTS
from dino_assets.tiles.grid import cut_tiles, cut_windows, is_whole, make_grid
from dino_assets.weights.checkpoint import read_checkpoint


def open_served_engine(weights: Path, cache: Path, *, threads: int) -> Encoder:
    """The engine as the service opens it: all three tokens, one tile a call."""
    checkpoint = read_checkpoint(weights, model=weights.name)
    source = NetworkSource(weights, checkpoint, checkpoint.tile_px, OUTPUTS)
    compute = ComputeSettings(device="cpu", threads=threads, batch=1)
    return open_encoder(source, compute, cache=cache).encoder


def cut_picture(data: bytes, encoder: Encoder) -> NDArray[np.uint8]:
    """The tiles of a file, as the service cuts them."""
    side = encoder.source.side_px
    grid = make_grid(side, patch_px=encoder.source.checkpoint.patch_px)
    pixels = decode_image(data)
    height, width = pixels.shape[:2]
    span = 0 if is_whole(width, height, grid) else side
    return cut_tiles(pixels, cut_windows(width, height, grid), side, span_px=span)
