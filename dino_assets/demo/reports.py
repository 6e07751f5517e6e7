"""Counts of finished work per drop, read from the manifests."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dino_assets.images.stage.judging import BadFile, list_bad_files
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import ObjectStore


@dataclass(frozen=True)
class DropCounts:
    """Counts of one drop's usable images, tiles, embeddings in one space, and tiles selected in a round."""

    drop: str
    images: int
    tiles: int
    embeddings: int
    selected: int
    bad_files: tuple[BadFile, ...]


def report_drops(
    store: ObjectStore, drops: Iterable[str], *, space: str, round_name: str
) -> list[DropCounts]:
    """Count each drop's usable images, tiles, embeddings and selected tiles; 0 if they are not committed."""
    names = sorted(drops)
    images = open_table(store, "images", drops=names)
    tiles = open_table(store, "tiles", drops=names)
    embeddings = open_table(store, "embeddings", space=space, drops=names)
    rounds = open_table(store, "selections", space=space)
    chosen: Sequence[str] = (
        rounds.read(round_name, ["drop"])["drop"].to_pylist() if round_name in rounds.drops else ()
    )
    return [
        DropCounts(
            name,
            images=int(images.manifest(name).facts["usable"]) if name in images.drops else 0,
            tiles=tiles.manifest(name).rows if name in tiles.drops else 0,
            embeddings=embeddings.manifest(name).rows if name in embeddings.drops else 0,
            selected=chosen.count(name),
            bad_files=tuple(list_bad_files(images, name)) if name in images.drops else (),
        )
        for name in names
    ]
