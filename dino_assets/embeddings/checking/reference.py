"""Reference of a model check: the checkpoint's network in float32, at one size."""

from pathlib import Path
from typing import Any

from dino_assets.embeddings.checking.pixels import PixelFault, Tiles
from dino_assets.embeddings.checking.planted import NetworkFault, compute_tokens
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS, Tokens, normalise
from dino_assets.embeddings.encoder.vit import FixedVit, load_model
from dino_assets.weights.records import Checkpoint


class ReferenceModel:
    """A checkpoint's model, loaded once, for references of any size."""

    def __init__(self, folder: Path, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.model: Any = load_model(folder, checkpoint)

    def at(self, height: int, width: int) -> "ReferenceNetwork":
        """Build the reference for one size."""
        network = FixedVit(self.model, self.checkpoint, size_px=(height, width), outputs=ALL_TOKENS)
        return ReferenceNetwork(network.eval().requires_grad_(False), self.model, self.checkpoint)


class ReferenceNetwork:
    """The checkpoint's network for one size, computed as it is or with planted faults."""

    def __init__(self, network: FixedVit, model: Any, checkpoint: Checkpoint) -> None:
        self.network = network
        self.model = model
        self.checkpoint = checkpoint

    def compute(
        self,
        tiles: Tiles,
        *,
        pixels: PixelFault | None = None,
        network: tuple[NetworkFault, ...] = (),
    ) -> Tokens:
        """Compute all tokens of tiles of this size, with the given faults planted."""
        planes = pixels.prepare(tiles) if pixels else normalise(tiles, self.checkpoint)
        return compute_tokens(self.network, planes, network)
