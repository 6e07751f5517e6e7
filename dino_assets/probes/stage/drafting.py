"""Draft of a probe: trained on all labels, scored on ground that it did not see, applied to every tile."""

import hashlib
import json
import logging
import time
from typing import Any

from dino_assets.compute.settings import ComputeSettings
from dino_assets.counting import count_of
from dino_assets.drawing.thumbnails import draw_thumbnail
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.origins import hash_tiles
from dino_assets.embeddings.stage.pool import choose_pool, hash_inputs
from dino_assets.errors import ConfigError, CorruptObjectError, NotCommittedError
from dino_assets.labels.stage.reading import hash_labels, read_tile_labels
from dino_assets.probes.files import FORMULA, dump_probe, dump_probe_data
from dino_assets.probes.pictures import draw_calibration, draw_confusion
from dino_assets.probes.probe_settings import ProbeSettings
from dino_assets.probes.scores import ProbeScores, score_predictions
from dino_assets.probes.stage.labelled import TrainingTiles, read_labelled
from dino_assets.probes.stage.predicting import SCHEMA, TrainedProbe, predict_pool
from dino_assets.probes.validation import (
    FoldPlan,
    cross_validate,
    plan_folds,
    train_ensemble,
    train_probe,
)
from dino_assets.settings.described import check_settings, make_record, to_recipe
from dino_assets.store.commits.catalogue import PREVIEW
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.commits.protocol import Draft, OutputId, OutputWriter, Recipe, Spent
from dino_assets.store.commits.reading import CommittedTable, SpacedTable
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.records import Checkpoint, facts_of_caveat, spell_caveat

CODE_VERSION = "1"
ASSET = "probes"
PROBE, REPORT, DATA = "probe.safetensors", "probe.json", "probe-data.npz"
CONFUSION, CALIBRATION = "confusion.png", "calibration.png"

log = logging.getLogger(__name__)


def make_settings(**values: Any) -> ProbeSettings:
    """Make settings from values as users write them.

    Raises:
        ConfigError: a value does not exist or is outside its range.
    """
    settings = make_record(ProbeSettings, values)
    check_settings(settings)
    return settings


def open_probe(
    embeddings: SpacedTable,
    tiles: CommittedTable,
    checkpoint: Checkpoint,
    compute: ComputeSettings,
    settings: ProbeSettings,
    *,
    tile_px: int = 0,
) -> Draft:
    """Draft a probe in the space of ``checkpoint`` and ``tile_px``; 0 px is the side of the model's family.

    Raises:
        NotCommittedError: nothing is embedded in that space, or there are no labels.
        TooFewLabelsError: the labels of embedded tiles are too few.
        ConfigError: a setting is invalid, or a drop or tag does not exist.
    """
    check_settings(settings)
    if tile_px < 0:
        message = f"tile_px={tile_px}: a side in px is expected, or 0 for the family's own"
        raise ConfigError(message, setting="tile_px", value=tile_px)
    space = current_space(checkpoint, compute, tile_px=tile_px)
    pool = choose_pool(embeddings.in_space(space), drops=settings.drops, tags=settings.tags)
    if not pool.rows:
        raise NotCommittedError(
            f"there is nothing to learn from: no tile is embedded by {checkpoint.model!r} at "
            f"{tile_px or checkpoint.tile_px} px (space {space}) in store {pool.store.url!r}. Materialise "
            "`embeddings` first."
        )
    return draft_probe(pool, tiles, settings, model=checkpoint.label, caveat=checkpoint.caveat)


def draft_probe(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    settings: ProbeSettings,
    *,
    model: str,
    caveat: str | None = None,
) -> Draft:
    """Draft the probe of the committed labels and of all tiles embedded in one space.

    Raises:
        NotCommittedError: there are no labels.
        TooFewLabelsError: the labels of these tiles are too few.
    """
    labels = hash_labels(embeddings.store)
    if not labels:
        raise NotCommittedError(
            f"there are no labels in store {embeddings.store.url!r}. Label tiles, then "
            "run `dino-assets probe train`."
        )
    # The input is not named "labels", which could be the name of a drop.
    inputs = {f"{name}/": content for name, content in labels.items()}
    inputs |= hash_inputs(embeddings) | hash_tiles(tiles, embeddings.drops)
    recipe = Recipe(
        OutputId(ASSET, space=embeddings.space), CODE_VERSION, to_recipe(settings), inputs
    )

    def read() -> tuple[TrainingTiles, FoldPlan, float]:
        started = time.perf_counter()
        classes = read_tile_labels(embeddings.store, tiles, embeddings.drops)
        labelled = read_labelled(embeddings, tiles, classes, settings.column)
        plan = plan_folds(labelled.training, labelled.ground, settings)
        return labelled, plan, time.perf_counter() - started

    # Too few labels are found out here, where Dagster can leave the output out, not while it is stored. A
    # committed output of the same recipe needs no reading.
    ready = None if _is_committed(embeddings.store, recipe) else read()

    def produce(out: OutputWriter) -> None:
        labelled, plan, read_s = ready or read()
        begun = time.perf_counter()
        trained = train_on(labelled, plan, settings)
        scores = score(trained, settings)
        log.info("held-out labels: %s", describe_scores(scores))
        tiles_of_class = dict.fromkeys(trained.probe.class_names, 0)
        for batch in predict_pool(trained, embeddings, settings.column):
            for name in batch["class_name"].to_pylist():
                tiles_of_class[name] += 1
            out.rows(batch)
        facts = make_facts(trained, scores) | {"predicted": tiles_of_class}
        data = dump_probe(
            trained.probe,
            {"space": str(embeddings.space), "column": settings.column, "model": model},
        )
        out.file(PROBE, data)
        report = {
            "format": 1,
            "space": embeddings.space,
            "model": model,
            **({"caveat": caveat} if caveat else {}),
            "settings": to_recipe(settings),
            "classes": list(trained.probe.class_names),
            "formula": FORMULA,
            "probe_sha256": hashlib.sha256(data).hexdigest(),
            **facts,
            **_spell_scores(scores),
        }
        out.file(REPORT, json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n")
        out.file(
            DATA,
            dump_probe_data(
                labelled.tile_ids,
                labelled.training,
                labelled.ground,
                trained.plan,
                trained.held_out,
            ),
        )
        _draw(out, scores, model=model, settings=settings, caveat=spell_caveat(caveat))
        out.facts(facts | facts_of_caveat(caveat))
        out.spent(Spent(read_s, time.perf_counter() - begun))

    return Draft(recipe, produce, SCHEMA)


def train_on(labelled: TrainingTiles, plan: FoldPlan, settings: ProbeSettings) -> TrainedProbe:
    """Cross-validate, then train the probe on all labels and an ensemble on draws of their blocks."""
    held_out = cross_validate(labelled.training, plan, settings)
    probe = train_probe(labelled.training, plan.groups, settings)
    ensemble = train_ensemble(labelled.training, plan.groups, probe, settings)
    return TrainedProbe(probe, ensemble, labelled, plan, held_out)


def score(trained: TrainedProbe, settings: ProbeSettings) -> ProbeScores:
    """Score the predictions for the labelled tiles, each made by a probe that did not see its ground."""
    training = trained.labelled.training
    return score_predictions(
        trained.held_out,
        training.classes,
        training.class_names,
        trained.plan.groups,
        seed=settings.seed,
    )


def _is_committed(store: ObjectStore, recipe: Recipe) -> bool:
    try:
        existing = find_manifest(store, recipe.output)
    except CorruptObjectError:
        return False  # `commit` replaces it, and logs a warning
    return existing is not None and existing.recipe == recipe


def make_facts(trained: TrainedProbe, scores: ProbeScores) -> dict[str, Any]:
    """List the figures of a probe for its manifest."""
    plan, ground = trained.plan, trained.labelled.ground
    strength = trained.probe.strength
    return {
        "labels": scores.labels,
        "class_labels": {each.class_name: each.labels for each in scores.classes},
        "accuracy": round(scores.accuracy.value, 4),
        "accuracy_from_to": [round(scores.accuracy.low, 4), round(scores.accuracy.high, 4)],
        "macro_accuracy": round(scores.macro.value, 4),
        "macro_from_to": [round(scores.macro.low, 4), round(scores.macro.high, 4)],
        "largest_share": round(scores.largest_share, 4),
        "ece": round(scores.ece, 4),
        "groups": len(set(plan.group_names)),
        "folds": len(plan.are_trained_on),
        "beside_held_out": plan.left_out,
        "unplaced": int((~ground.are_placed).sum()),
        **({"strength": strength} if strength is not None else {}),
    }


def describe_scores(scores: ProbeScores) -> str:
    """Write the main scores as one line."""
    accuracy, macro = scores.accuracy, scores.macro
    return (
        f"accuracy {accuracy.value:.3f} ({accuracy.low:.3f} to {accuracy.high:.3f}), macro {macro.value:.3f} "
        f"({macro.low:.3f} to {macro.high:.3f}), calibration error {scores.ece:.3f}; the largest class alone "
        f"{scores.largest_share:.3f}"
    )


def _spell_scores(scores: ProbeScores) -> dict[str, Any]:
    return {
        "per_class": [
            {
                "class": each.class_name,
                "labels": each.labels,
                "predicted": each.predicted,
                "precision": None if each.precision is None else round(each.precision, 4),
                "recall": round(each.recall.value, 4),
                "recall_from_to": [round(each.recall.low, 4), round(each.recall.high, 4)],
            }
            for each in scores.classes
        ],
        "confusion": scores.confusion.tolist(),
        "calibration": [
            {
                "from": each.low,
                "to": each.high,
                "count": each.count,
                "probability": round(each.probability, 4),
                "accuracy": round(each.accuracy, 4),
            }
            for each in scores.bins
        ],
    }


def _draw(
    out: OutputWriter, scores: ProbeScores, *, model: str, settings: ProbeSettings, caveat: str
) -> None:
    title = f"{settings.kind.capitalize()} probe on {model}, {settings.column}"
    split = (
        f"{settings.split}, {settings.block_m} m" if settings.split == "ground" else settings.split
    )
    notes = [f"{count_of(scores.labels, 'label')}, held out by {split}", describe_scores(scores)]
    confusion = draw_confusion(scores, title=title, notes=notes, caveat=caveat)
    out.file(CONFUSION, confusion)
    out.file(PREVIEW, draw_thumbnail(confusion))
    out.file(CALIBRATION, draw_calibration(scores, title=title, notes=notes, caveat=caveat))
