"""Two drawn flights in a store of their own, embedded by a tiny model, for maps and rounds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dino_assets.compute.settings import ComputeSettings
from dino_assets.drops.records import Drop
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.drafting import draft_embeddings
from dino_assets.images.stage.drafting import draft_images
from dino_assets.projections.stage import MapSettings
from dino_assets.selections.rounds import RoundSettings, name_round
from dino_assets.selections.stage.drafting import draft_selections
from dino_assets.selections.stage.paid import find_paid
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets.weights.stage import OUTPUT, checkpoint_of, draft_weights

COMPUTE = ComputeSettings(device="cpu", threads=1, engine="torch")
SIDE = 256
LINEAR = MapSettings(method="linear")


@dataclass(frozen=True)
class CurationWorld:
    """Two drawn drops, embedded by a tiny model."""

    store: ObjectStore
    space: str
    sources: dict[str, FolderSource]

    @classmethod
    def make(
        cls,
        store: ObjectStore,
        sources: dict[str, FolderSource],
        checkpoint_dir: Path,
        *,
        cache: Path,
        side: int = SIDE,
    ) -> "CurationWorld":
        """Images, tiles and embeddings of some drops; in a store that has them, tiles of another side."""
        commit(store, draft_weights(checkpoint_dir, "tiny"))
        weights = read_manifest(store, OUTPUT)
        space = current_space(checkpoint_of(weights), COMPUTE, tile_px=side)
        for name, source in sources.items():
            commit(store, draft_images(Drop(name, "", "", name), source, threads=1))
            commit(store, draft_tiles(open_table(store, "images"), name, make_grid(side)))
            draft = draft_embeddings(
                store,
                open_table(store, "tiles"),
                name,
                source=source,
                weights=weights,
                compute=COMPUTE,
                cache=cache,
            )
            commit(store, draft)
        return cls(store, space, sources)

    def copy(self) -> "CurationWorld":
        """Copy into a store of its own, in memory."""
        store = ObjectStore.in_memory()
        for info in self.store.list():
            store.put(info.key, self.store.get(info.key))
        return replace(self, store=store, sources=dict(self.sources))

    def embeddings(self) -> CommittedTable:
        return open_table(self.store, "embeddings", space=self.space)

    def tiles(self) -> CommittedTable:
        return open_table(self.store, "tiles")

    def rounds(self) -> CommittedTable:
        return open_table(self.store, "selections", space=self.space)

    def select(self, settings: RoundSettings, **options: Any):
        round_name = name_round(settings.round)
        draft = draft_selections(
            self.embeddings(),
            open_table(self.store, "tiles"),
            find_paid(self.store, self.rounds(), before=round_name),
            settings,
            projections=open_table(self.store, "projections", space=self.space),
            open_source=self.sources.__getitem__,
            **{"model": "tiny", **options},
        )
        return commit(self.store, draft)

    def read_file(self, manifest, name: str) -> bytes:
        (part,) = [p for p in manifest.parts if p.name == name]
        return read_part(self.store, part)
