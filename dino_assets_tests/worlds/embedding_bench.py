"""A tiny model, drops of small photographs, and what the tests of ``embeddings`` ask of them."""

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dino_assets.compute.settings import ComputeSettings
from dino_assets.compute.threads import THREAD_PREFIX
from dino_assets.drops.records import Drop
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.encoder.engine import Encoder, NetworkSource
from dino_assets.embeddings.encoder.ready import open_encoder
from dino_assets.embeddings.encoder.tokens import Tokens
from dino_assets.embeddings.space import make_space, name_space
from dino_assets.embeddings.stage.drafting import draft_embeddings
from dino_assets.images.stage.drafting import draft_images
from dino_assets.store.commits.manifests import manifest_key, read_manifest
from dino_assets.store.commits.protocol import Committed, Draft
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import TileGrid, make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets.weights.stage import OUTPUT, checkpoint_folder, checkpoint_of, draft_weights
from dino_assets_tests.conftest import photo_bytes

SIDE = 256
# No conversion, one kind of number: what is tested here is not the engine.
COMPUTE = ComputeSettings(device="cpu", threads=1, precision="fp32", engine="torch")
PHOTO_TILES = 16  # 1100×300 px at 256 px and a step of 128: 8 × 2


def write_photos(folder: Path, seeds: Sequence[int]) -> Path:
    """A card with a photograph per seed, each of 16 tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = folder / f"DJI_{seed}.JPG"
        path.write_bytes(photo_bytes(1100, 300, seed=seed, quality=30))
    return folder


class Bench:
    """Drops that are tiled, in a store with a tiny model."""

    def __init__(self, store: ObjectStore, checkpoint_dir: Path, cache: Path) -> None:
        self.store, self.cache = store, cache
        commit(store, draft_weights(checkpoint_dir, "tiny"))
        self.weights = read_manifest(store, OUTPUT)
        self.checkpoint = checkpoint_of(self.weights)
        self.space = name_space(make_space(self.checkpoint, COMPUTE, side_px=SIDE))
        self.sources: dict[str, Source] = {}

    def add_drop(self, name: str, folder: Path, *, grid: TileGrid | None = None) -> "Bench":
        """Read and cut a folder's photographs."""
        self.sources[name] = source = FolderSource(folder, shown=folder.name)
        commit(self.store, draft_images(Drop(name, str(folder), "", name), source, threads=1))
        return self.cut(name, grid or make_grid(SIDE))

    def cut(self, name: str, grid: TileGrid) -> "Bench":
        commit(self.store, draft_tiles(open_table(self.store, "images"), name, grid))
        return self

    def draft(self, drop: str = "d", **changes: object) -> Draft:
        """A shard is a photograph, unless ``shard_tiles`` says otherwise."""
        options = {
            "source": self.sources.get(drop),
            "weights": self.weights,
            "compute": COMPUTE,
            "cache": self.cache,
            "shard_tiles": PHOTO_TILES,
            **changes,
        }
        return draft_embeddings(self.store, open_table(self.store, "tiles"), drop, **options)  # type: ignore[arg-type]

    def commit(self, drop: str = "d", **changes: object) -> Committed:
        return commit(self.store, self.draft(drop, **changes))

    def table(self) -> CommittedTable:
        return open_table(self.store, "embeddings", space=self.space)

    def rows(self, drop: str = "d") -> pa.Table:
        return self.table().read(drop)

    def tiles(self, drop: str = "d") -> pa.Table:
        return open_table(self.store, "tiles").read(drop)

    def manifest_bytes(self, drop: str = "d") -> bytes:
        return self.store.get(manifest_key(self.table().manifest(drop).recipe.output))

    def receipts(self) -> list[str]:
        return sorted(info.key for info in self.store.list("receipts"))

    def forget(self) -> None:
        """No embeddings, parts or receipts any more."""
        for folder in ("manifests/embeddings", "parts/embeddings", "receipts"):
            for info in list(self.store.list(folder)):
                self.store.delete(info.key)

    def encode(self, tiles: np.ndarray, *outputs: str) -> Tokens:
        """What the model says of some tiles, asked directly."""
        folder = checkpoint_folder(self.store, self.weights, cache=self.cache)
        source = NetworkSource(folder, self.checkpoint, SIDE, outputs or ("cls",))  # type: ignore[arg-type]
        return open_encoder(source, COMPUTE, cache=self.cache).encoder.encode(tiles)


def vectors_of(bench: Bench, column: str = "cls") -> np.ndarray:
    return np.stack(bench.rows()[column].to_numpy(zero_copy_only=False))


class PowerCut(RuntimeError):
    """The power went, for the test."""


class Calls:
    """Counts what the model is asked: by a run, and by anybody (gates and try-outs too)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of_run: list[int] = []  # tiles of each call
        self.all = 0
        self.threads: set[str] = set()
        self.fail_at: int | None = None  # the run's n-th call, from 1
        # What the run's vectors carry in the second tile of a batch, in which of the outputs.
        self.spoils: tuple[float, int] | None = None
        self.most_maps_held = 0  # patch maps of earlier calls that are still in memory at the next
        self._maps: list[weakref.ref[np.ndarray]] = []
        self._lock = threading.Lock()
        inner = Encoder.encode

        def encode(encoder: Encoder, tiles: np.ndarray) -> Tokens:
            name = threading.current_thread().name
            with self._lock:
                self.all += 1
                if name.startswith(THREAD_PREFIX):
                    self.threads.add(name)
                    if len(self.of_run) + 1 == self.fail_at:
                        self.fail_at = None
                        raise PowerCut
                    self.of_run.append(len(tiles))
                    held_count = sum(maps() is not None for maps in self._maps)
                    self.most_maps_held = max(self.most_maps_held, held_count)
            tokens = inner(encoder, tiles)
            if name.startswith(THREAD_PREFIX) and tokens.patches is not None:
                self._maps.append(weakref.ref(tokens.patches))
            if self.spoils and name.startswith(THREAD_PREFIX) and len(tiles) > 1:
                value, output = self.spoils
                tokens[encoder.outputs[output]][1, 3] = value
            return tokens

        monkeypatch.setattr(Encoder, "encode", encode)

    def reset(self) -> None:
        self.of_run, self.all = [], 0
