"""Scores of tiles for heat maps: the classes of the committed probe, and the stored prototypes."""

import hashlib
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.pool import read_parts
from dino_assets.errors import NotCommittedError
from dino_assets.labels.stage.reading import read_tile_labels
from dino_assets.numerics.neighbours import blocks, scale_to_unit
from dino_assets.probes.heat_maps import Threshold, choose_threshold, measure_rarity
from dino_assets.probes.prototypes import rank_scores
from dino_assets.probes.stage.drafting import DATA
from dino_assets.probes.stage.prototypes import Prototype, read_prototypes
from dino_assets.probes.stage.reading import read_probe
from dino_assets.store.commits.manifests import content_hash, find_manifest
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest, OutputId
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore

SourceKind = Literal["probe", "prototype"]
# Without labels, ground is hot if its tiles are, on average, as rare as the top 5 % of all tiles.
HOT_PERCENTILE = 95.0
EVEN_PROBABILITY = 0.5  # if the held-out labels show no better threshold
_BLOCK_ROWS = 8192

ScoreVectors = Callable[[NDArray[np.floating]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class ScoreSource:
    """What scores tiles for one class: a class of the probe, or a prototype.

    ``score`` converts vectors (N, D) of ``column`` to numbers (N, C), of which those in ``place`` are the
    source's. It runs once for all sources that share it. The numbers of a prototype are ranked among all tiles.
    ``threshold`` is None if it is still to be chosen, from labels. ``examples`` are ids of tiles whose labels do
    not count for that.
    """

    name: str
    kind: SourceKind
    column: EmbeddingColumn
    sha256: str
    score: ScoreVectors
    threshold: Threshold | None = None
    examples: frozenset[str] = frozenset()
    place: int = 0


@dataclass(frozen=True, eq=False)
class TileScores:
    """Scores from 0 to 1 of all tiles of one drop, for one source; the ids are the same for all sources."""

    source: ScoreSource
    threshold: Threshold
    tile_ids: pa.StringArray
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """The labelled tiles of one drop: their rows, ids and classes."""

    rows: NDArray[np.int64]
    tile_ids: list[str]
    class_names: list[str]


def find_sources(
    store: ObjectStore, space: str, *, names: Collection[str] = ()
) -> list[ScoreSource]:
    """Find the classes of the space's probe and its prototypes, sorted by name; or only those of some names.

    A prototype that has the name of a class of the probe is left out: the probe has learned from more examples.

    Raises:
        NotCommittedError: there is none, or none of a name.
    """
    sources = {each.name: _of_prototype(each) for each in read_prototypes(store, space=space)}
    manifest = find_manifest(store, OutputId("probes", space=space))
    if manifest is not None:
        sources |= {each.name: each for each in _read_probe(store, manifest)}
    missing = sorted(set(names) - sources.keys())
    if missing or not sources:
        what = f"class or prototype {missing[0]!r}" if missing else "probe and no prototype"
        raise NotCommittedError(
            f"there is no {what} in space {space}. Train a probe from labels, or give examples: `dino-assets like "
            "CROP CROP CROP --name NAME`",
            output=missing[0] if missing else "probes",
            reason="no-source",
        )
    return [sources[name] for name in sorted(sources) if not names or name in names]


def score_tiles(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    sources: Sequence[ScoreSource],
    drops: Collection[str],
) -> dict[str, list[TileScores]]:
    """Score the tiles of some drops for each source; return one list per drop.

    Prototypes need the scores of all tiles of the space, so that a percentage means the same in each drop. For
    classes of the probe, only the named drops are read. Memory holds one number per tile and source, and the
    ids of the named drops, without a Python object for each.
    """
    by_drop: dict[str, list[TileScores]] = {drop: [] for drop in sorted(drops)}
    ids = {drop: _read_ids(embeddings, drop) for drop in embeddings.drops if drop in by_drop}
    labelled: dict[str, LabelledRows] = {}
    if any(source.threshold is None for source in sources):
        labelled = _read_labelled(embeddings, tiles)
    for source, raw in zip(sources, _score_all(embeddings, sources, drops), strict=True):
        if source.kind == "prototype":
            raw = _rank(raw, [d for d in raw if d in by_drop or d in labelled])
        threshold = source.threshold or _choose(source, labelled, raw)
        for drop in by_drop:
            if drop in raw:
                by_drop[drop].append(TileScores(source, threshold, ids[drop], raw[drop]))
    return by_drop


def _score_all(
    embeddings: CommittedTable, sources: Sequence[ScoreSource], drops: Collection[str]
) -> list[dict[str, NDArray[np.float32]]]:
    """Score tiles by drop for each source; each vector is read once for all sources of its column.

    Sources with one ``score`` are scored at once: for a class alone it computes the numbers of all.
    """
    scores: list[dict[str, list[NDArray[np.float32]]]] = [{} for _ in sources]
    for column in dict.fromkeys(source.column for source in sources):
        own = [place for place, source in enumerate(sources) if source.column == column]
        of_all = [place for place in own if sources[place].kind == "prototype"]
        read = tuple(m for m in embeddings.manifests if of_all or m.recipe.output.drop in drops)
        for drop, part in read_parts(replace(embeddings, manifests=read), column, []):
            matrix = to_matrix(part[column])
            chosen = own if drop in drops else of_all
            for place in chosen:
                scores[place].setdefault(drop, [])
            for block in blocks(len(matrix), _BLOCK_ROWS):
                functions = {sources[place].score for place in chosen}
                numbers = {score: score(matrix[block]) for score in functions}
                for place in chosen:
                    source = sources[place]
                    scores[place][drop].append(numbers[source.score][:, source.place].copy())
    return [
        {drop: np.concatenate([*rows, np.empty(0, np.float32)]) for drop, rows in each.items()}
        for each in scores
    ]


def _read_ids(embeddings: CommittedTable, drop: str) -> pa.StringArray:
    column = embeddings.read(drop, ["tile_id"])["tile_id"]
    return pa.concat_arrays([pa.array([], pa.string()), *column.chunks])


def _read_labelled(embeddings: CommittedTable, tiles: CommittedTable) -> dict[str, LabelledRows]:
    """Find the labelled tiles of each drop; drops without one are left out."""
    class_of = {
        each.tile_id: each.class_name
        for each in read_tile_labels(embeddings.store, tiles, embeddings.drops)
    }
    labelled: dict[str, LabelledRows] = {}
    wanted = pa.array(class_of, pa.string())
    for drop in embeddings.drops if class_of else ():
        ids = _read_ids(embeddings, drop)
        rows = np.flatnonzero(pc.is_in(ids, wanted).to_numpy(zero_copy_only=False))
        if len(rows):
            own: list[str] = ids.take(pa.array(rows)).to_pylist()
            labelled[drop] = LabelledRows(rows, own, [class_of[each] for each in own])
    return labelled


def _rank(
    raw: Mapping[str, NDArray[np.float32]], drops: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Convert the numbers of some drops to their rarity among the numbers of all drops."""
    if not drops:
        return {}
    # One call for all drops: each call sorts the numbers of all tiles.
    ranks = rank_scores(
        np.concatenate([raw[drop] for drop in drops]), np.concatenate(list(raw.values()))
    )
    ends = np.cumsum([len(raw[drop]) for drop in drops])
    parts = np.split(measure_rarity(ranks), ends[:-1])
    return dict(zip(drops, parts, strict=True))


def _choose(
    source: ScoreSource,
    labelled: Mapping[str, LabelledRows],
    scores: Mapping[str, NDArray[np.float32]],
) -> Threshold:
    """Choose a prototype's threshold from labels: it has not learned from them, but for its own examples."""
    of_class: dict[str, tuple[float, bool]] = {}
    for drop, each in labelled.items():
        own = scores[drop][each.rows].tolist()
        for tile_id, class_name, score in zip(each.tile_ids, each.class_names, own, strict=True):
            if tile_id not in source.examples:
                of_class[tile_id] = (score, class_name == source.name)
    if of_class:
        values, is_class = zip(*of_class.values(), strict=True)
        if threshold := choose_threshold(np.array(values), np.array(is_class)):
            return threshold
    return Threshold(float(measure_rarity(np.array([HOT_PERCENTILE]))[0]), "percentile")


def _of_prototype(prototype: Prototype) -> ScoreSource:
    direction = prototype.direction

    def score(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        cosines = scale_to_unit(np.asarray(vectors)) @ direction
        return np.asarray(cosines, np.float32)[:, None]

    given = (*prototype.examples, *prototype.unlike)
    return ScoreSource(
        prototype.name,
        "prototype",
        prototype.column,
        prototype.sha256,
        score,
        examples=frozenset(each.tile_id for each in given if each.tile_id),
    )


def _read_probe(store: ObjectStore, manifest: Manifest) -> list[ScoreSource]:
    """Read the classes of a committed probe; thresholds are chosen by predictions for held-out ground.

    Raises:
        CorruptObjectError: the files are not those of a probe.
    """
    probe = read_probe(store, manifest)
    (part,) = [part for part in manifest.parts if part.name == DATA]
    with np.load(io.BytesIO(read_part(store, part))) as stored:
        labels, held_out = stored["labels"], stored["held_out_probabilities"]
    column: EmbeddingColumn = manifest.recipe.config.get("column", "cls")

    return [
        ScoreSource(
            name,
            "probe",
            column,
            content_hash(manifest),
            probe.predict,
            threshold=choose_threshold(held_out[:, place], labels == place)
            or Threshold(EVEN_PROBABILITY, "probability"),
            place=place,
        )
        for place, name in enumerate(probe.class_names)
    ]


def hash_sources(sources: Sequence[ScoreSource]) -> dict[str, str]:
    """Return the hash of each source as recipe inputs."""
    return {
        f"{each.kind}/{hashlib.sha256(each.name.encode()).hexdigest()[:12]}": each.sha256
        for each in sources
    }
