"""Predictions for all tiles of a pool, part by part; labelled tiles get those of their fold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.pool import read_parts
from dino_assets.probes.records import PredictedTile, Probe
from dino_assets.probes.stage.labelled import TrainingTiles
from dino_assets.probes.uncertainty import measure_uncertainty
from dino_assets.probes.validation import FoldPlan
from dino_assets.store.commits.columns import columns_of
from dino_assets.store.commits.reading import CommittedTable

SCHEMA = pa.schema(columns_of(PredictedTile))


@dataclass(frozen=True, eq=False)
class TrainedProbe:
    """A probe of all labels, its ensemble, and what its cross-validation gave for the labelled tiles."""

    probe: Probe
    ensemble: Sequence[Probe]
    labelled: TrainingTiles
    plan: FoldPlan
    held_out: NDArray[
        np.float32
    ]  # probabilities of the labelled tiles by their folds' probes (L, C)


def predict_pool(
    trained: TrainedProbe, embeddings: CommittedTable, column: EmbeddingColumn
) -> Iterator[pa.RecordBatch]:
    """Predict all tiles of a pool, one batch per stored part."""
    rows = {tile_id: row for row, tile_id in enumerate(trained.labelled.tile_ids)}
    for drop, part in read_parts(embeddings, column, ["tile_id", "image_id"]):
        vectors, ids = to_matrix(part[column]), part["tile_id"].to_pylist()
        likely = trained.probe.predict(vectors)
        places = [rows.get(tile_id) for tile_id in ids]
        own = [place for place in places if place is not None]
        here = [row for row, place in enumerate(places) if place is not None]
        likely[here] = trained.held_out[own]
        others = [each.predict(vectors) for each in trained.ensemble]
        yield _make_rows(drop, part, likely, others, places, trained)


def _make_rows(
    drop: str,
    part: pa.Table,
    likely: NDArray[np.float32],
    others: Sequence[NDArray[np.float32]],
    places: Sequence[int | None],
    trained: TrainedProbe,
) -> pa.RecordBatch:
    names, training = trained.probe.class_names, trained.labelled.training
    uncertainty = measure_uncertainty(likely, others)
    best = likely.argmax(axis=1)
    folds, classes = trained.plan.folds.tolist(), training.classes.tolist()
    offsets = np.arange(len(likely) + 1, dtype=np.int32) * len(names)
    columns = {
        "drop": pa.array([drop] * len(likely), pa.string()),
        "tile_id": part["tile_id"].combine_chunks(),
        "image_id": part["image_id"].combine_chunks(),
        "class_name": pa.array([names[place] for place in best.tolist()], pa.string()),
        "probability": pa.array(likely.max(axis=1)),
        "probabilities": pa.ListArray.from_arrays(pa.array(offsets), pa.array(likely.ravel())),
        "entropy": pa.array(uncertainty.entropy),
        "margin": pa.array(uncertainty.margin),
        "disagreement": pa.array(uncertainty.disagreement),
        "label": pa.array(
            [None if row is None else names[classes[row]] for row in places], pa.string()
        ),
        "is_held_out": pa.array([row is not None for row in places], pa.bool_()),
        "fold": pa.array([None if row is None else folds[row] for row in places], pa.int32()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)
