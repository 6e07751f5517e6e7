"""Check of a round by computing it again: its photographs, its tiles' vectors, and its choice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.compute.settings import ComputeSettings
from dino_assets.counting import count_of
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.encoder.gate import is_within
from dino_assets.embeddings.encoder.ready import name_engine
from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.stage.pool import read_parts
from dino_assets.embeddings.stage.queries import SpaceEncoders
from dino_assets.errors import CommitRefusedError, DinoAssetsError, StoreError
from dino_assets.images.pixels import hash_file
from dino_assets.selections.receipt import RoundReceipt
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage.links import Link
from dino_assets.selections.stage.opening import open_round
from dino_assets.selections.stage.paid import read_round
from dino_assets.selections.stage.pictures import cut_drop
from dino_assets.settings.described import from_recipe
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import OutputId, Part, Spent
from dino_assets.store.commits.reading import SpacedTable, open_table
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.stage import OUTPUT as WEIGHTS
from dino_assets.weights.stage import checkpoint_of


@dataclass(frozen=True)
class Recomputing:
    """Everything that computing a round again needs: store, sources of drops, compute settings, engine's cache."""

    store: ObjectStore
    open_source: Callable[[str], Source]
    compute: ComputeSettings
    cache: Path


def recompute(how: Recomputing, output: OutputId, receipt: RoundReceipt) -> Iterator[Link]:
    """Read the photographs, embed the chosen tiles and choose the round again; compare each with the receipt.

    Raises:
        StoreError: the store, or a bucket with photographs, cannot be reached.
    """
    checks: dict[str, Callable[[], str]] = {
        "photographs": lambda: _read_photographs(how, receipt),
        "vectors": lambda: _embed_again(how, receipt),
        "choice": lambda: _choose_again(how, output, receipt),
    }
    for name, check in checks.items():
        try:
            yield Link(name, check())
        except StoreError:
            raise  # the store cannot be reached, which says nothing about the round
        except (DinoAssetsError, _OtherError) as err:
            yield Link(name, str(err), is_broken=True)


class _OtherError(Exception):
    """What was computed again differs."""


def _read_photographs(how: Recomputing, receipt: RoundReceipt) -> str:
    files = sorted({(each.drop, each.path, each.image_sha256) for each in receipt.tiles})
    sources = {drop: how.open_source(drop) for drop in receipt.drops}
    for drop, path, wanted in files:
        with sources[drop].open_file(path) as file:
            sha256 = hash_file(file)
        if sha256 != wanted:
            raise _OtherError(
                f"drop {drop!r}: {path!r} has sha256 {sha256[:16]}…, but the round was chosen from a "
                f"file with {wanted[:16]}…"
            )
    return f"{count_of(len(files), 'file')} with the sha256 of the receipt"


def _embed_again(how: Recomputing, receipt: RoundReceipt) -> str:
    """Embed the chosen tiles, and compare the vectors within the limits of the space's precision class."""
    column = receipt.config["column"]
    encoders = SpaceEncoders(how.store, lambda: how.compute, how.cache)
    ready = encoders.open(receipt.preprocessing, column)
    precision = receipt.preprocessing["precision"]
    tiles = open_table(how.store, "tiles", drops=receipt.drops)
    lowest = 1.0
    for drop in receipt.drops:
        ids = [each.tile_id for each in receipt.tiles if each.drop == drop]
        expected, center = _read_vectors(how.store, receipt, drop, ids)
        for tile, picture in cut_drop(drop, ids, tiles, how.open_source):
            (actual,) = ready.encoder.encode(np.asarray(picture)[None])[column]
            stored = expected[tile.tile_id]
            # The second is not near 1 by itself where all vectors point in one direction.
            cosines = (
                _measure_cosine(stored, actual),
                _measure_cosine(stored - center, actual - center),
            )
            if not is_within(cosines, precision, is_token=False):
                raise _OtherError(
                    f"{tile.tile_id!r} has another vector when it is embedded again: the cosine of the two is "
                    f"{cosines[0]:.6f}, and {cosines[1]:.6f} after the drop's mean is subtracted from both"
                )
            lowest = min(lowest, cosines[0])
    return (
        f"{count_of(len(receipt.tiles), 'tile')} embedded again by {name_engine(ready.encoder.spec)}: "
        f"cosine at least {lowest:.6f}"
    )


def _read_vectors(
    store: ObjectStore, receipt: RoundReceipt, drop: str, ids: list[str]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Read the stored vectors of some tiles of a drop by id, and the mean of all its vectors."""
    column = receipt.config["column"]
    embeddings = open_table(store, "embeddings", space=receipt.space, drops=[drop])
    embeddings.manifest(drop)
    wanted, vectors = set(ids), dict[str, NDArray[np.float32]]()
    total, count = np.zeros(1), 0
    for _, part in read_parts(embeddings, column, ["tile_id"]):
        matrix = to_matrix(part[column])
        total, count = total + matrix.sum(axis=0, dtype=np.float64), count + len(matrix)
        for row, tile_id in enumerate(part["tile_id"].to_pylist()):
            if tile_id in wanted:
                vectors[tile_id] = matrix[row]
    if missing := sorted(wanted - vectors.keys()):
        raise _OtherError(f"{missing[0]!r} is no longer in the embeddings of {drop!r}")
    return vectors, (total / count).astype(np.float32)


def _measure_cosine(stored: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    one, other = stored.astype(np.float64), actual.astype(np.float64)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / max(lengths, 1e-30)


@dataclass
class _Rows:
    """An output's writer that keeps the rows and stores nothing."""

    batches: list[pa.RecordBatch] = field(default_factory=list)

    def rows(self, batch: pa.RecordBatch) -> None:
        """Keep the rows."""
        self.batches.append(batch)

    def part(self, part: Part) -> None:
        """Ignore a part."""

    def file(self, name: str, data: bytes) -> None:
        """Ignore a file."""

    def local_file(self, file: object) -> None:
        """Ignore a file."""

    def facts(self, values: object) -> None:
        """Ignore facts."""

    def spent(self, spent: Spent) -> None:
        """Ignore times."""


def _choose_again(how: Recomputing, output: OutputId, receipt: RoundReceipt) -> str:
    store = how.store
    rounds = open_table(store, "selections", space=output.space)
    committed = rounds.manifest(output.drop)
    weights = checkpoint_of(read_manifest(store, WEIGHTS))
    space = receipt.preprocessing
    opened = open_round(
        SpacedTable(store, "embeddings"),
        open_table(store, "tiles"),
        weights,
        replace(how.compute, precision=space["precision"]),
        from_recipe(RoundSettings(), committed.recipe.config),
        open_source=how.open_source,
        tile_px=int(space["side_px"]),
    )
    if opened.notice:
        raise CommitRefusedError(f"the round cannot be chosen again: {opened.notice}")
    again = _Rows()
    opened.draft.produce(again)
    stored = read_round(rounds, str(output.drop))
    if not pa.Table.from_batches(again.batches, stored.schema).equals(stored):
        raise _OtherError("the same inputs and settings give other tiles")
    return f"the same {count_of(stored.num_rows, 'tile')} by {committed.recipe.config['strategy']}"
