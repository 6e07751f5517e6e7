"""Draft and check of the learning curve, with slices in which a probe is worse."""

import csv
import io
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.drawing.thumbnails import draw_thumbnail
from dino_assets.embeddings.stage.origins import hash_tiles
from dino_assets.embeddings.stage.pool import hash_inputs
from dino_assets.errors import NotCommittedError
from dino_assets.labels.stage.reading import hash_labels, read_labels
from dino_assets.numerics.earth import SPHERE_M_PER_DEGREE
from dino_assets.probes.attributes import name_clusters, name_distances, name_hours
from dino_assets.probes.curve import CurvePoint, Replay, replay_strategies
from dino_assets.probes.curve_picture import draw_curves
from dino_assets.probes.curve_settings import CurveSettings
from dino_assets.probes.curve_words import (
    caption_gain,
    describe_cost,
    describe_gains,
    describe_outlook,
    describe_slices,
)
from dino_assets.probes.outlook import SEEDS as OUTLOOK_SEEDS
from dino_assets.probes.outlook import estimate_cost, extrapolate
from dino_assets.probes.replaying import (
    LabelledVectors,
    make_splits,
    predict_unseen,
)
from dino_assets.probes.ridge import predict_by_ridge
from dino_assets.probes.slices import Slice, rank_slices
from dino_assets.probes.splits import find_leaks, name_groups, number_groups
from dino_assets.probes.stage.captured import CapturedLabels, read_captured
from dino_assets.selections.rounds import number_of
from dino_assets.settings.described import to_recipe
from dino_assets.store.commits.catalogue import PREVIEW
from dino_assets.store.commits.columns import columns_of, make_batch
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.protocol import Draft, OutputId, OutputWriter, Recipe, Spent
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.verdicts import Verdict
from dino_assets.weights.records import facts_of_caveat, spell_caveat

log = logging.getLogger(__name__)

ASSET = "learning_curve"
CODE_VERSION = "1"
SCHEMA = pa.schema(columns_of(CurvePoint))
PICTURE, SLICES = "curve.png", "slices.csv"
SLICE_COLUMNS = tuple(each.name for each in fields(Slice))


def draft_curve(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    images: CommittedTable,
    settings: CurveSettings,
    *,
    caveat: str | None = None,
    say: Callable[[str], None] = log.info,
) -> Draft:
    """Draft the learning curve of the labelled tiles of some drops, embedded in one space.

    Raises:
        NotCommittedError: there are no labels, or nothing is embedded.
        TooFewLabelsError: there are too few labels, classes or blocks of ground.
    """
    labels = hash_labels(embeddings.store)
    if not labels or not embeddings.rows:
        raise NotCommittedError(
            "there is nothing to replay: no labels are committed, or nothing is embedded in space "
            f"{embeddings.space}. Label tiles and materialise `labels` first."
        )
    started = time.perf_counter()
    captured = read_captured(embeddings, tiles, images, settings.column)
    labelled = make_labelled(captured, block_m=settings.block_m)
    make_splits(labelled, seeds=max(settings.seeds, OUTLOOK_SEEDS))  # refuses too few labels
    read_s = time.perf_counter() - started
    of_images = {
        f"images/{m.recipe.output.drop}": content_hash(m)
        for m in images.manifests
        if m.recipe.output.drop in embeddings.drops
    }
    of_labels = {f"{name}/": content for name, content in labels.items()}  # no name of a drop
    recipe = Recipe(
        OutputId(ASSET, space=embeddings.space),
        CODE_VERSION,
        config=to_recipe(settings),
        inputs=hash_inputs(embeddings)
        | hash_tiles(tiles, embeddings.drops)
        | of_images
        | of_labels,
    )

    def produce(out: OutputWriter) -> None:
        begun = time.perf_counter()
        replay = replay_strategies(labelled, predict_by_ridge, seeds=settings.seeds, say=say)
        points = replay.list_points()
        out.rows(make_batch(points, SCHEMA))
        slices = measure_slices(captured, labelled)
        out.file(SLICES, dump_slices(slices))
        outlook = describe_outlook(extrapolate(labelled, predict_by_ridge))
        cost = describe_cost(
            estimate_cost([label.seconds for label in read_labels(embeddings.store)])
        )
        picture = draw(replay, [outlook, cost], caveat=spell_caveat(caveat))
        out.file(PICTURE, picture)
        out.file(PREVIEW, draw_thumbnail(picture))
        facts = {
            "labels": len(labelled),
            "classes": len(captured.class_names),
            "blocks": len(np.unique(labelled.blocks)),
            "gains": {name: asdict(replay.measure_gain(name)) for name in replay.accuracies},
            "strategies": describe_gains(replay),
            "next_labels": outlook,
            "next_cost": cost,
            "slices": describe_slices(slices),
            **({"labels_left_out": captured.left_out} if captured.left_out else {}),
        }
        out.facts(facts | facts_of_caveat(caveat))
        out.spent(Spent(read_s, time.perf_counter() - begun))

    return Draft(recipe, produce, SCHEMA)


def make_labelled(captured: CapturedLabels, *, block_m: float) -> LabelledVectors:
    """Group labelled tiles by blocks of ground, and find what shows the ground of held-out tiles."""
    ground = captured.locate()
    blocks = number_groups(name_groups(ground, "ground", block_m=block_m))
    return LabelledVectors(
        captured.vectors,
        captured.classes,
        blocks,
        lambda is_held: find_leaks(ground, is_held),
        place_on_plane(ground.centers),
    )


def place_on_plane(centers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place longitudes and latitudes (N, 2) on a plane, in metres: exact enough to say which blocks are near."""
    if not np.isfinite(centers).any():
        return centers
    shrunk = np.cos(np.radians(centers[:, 1]))
    scales = SPHERE_M_PER_DEGREE * np.stack([shrunk, np.ones_like(shrunk)], axis=1)
    return np.asarray(centers * scales, np.float64)


def measure_slices(captured: CapturedLabels, labelled: LabelledVectors) -> list[Slice]:
    """Rank slices of the labelled tiles by the errors of probes that did not see the tiles' ground."""
    predicted = predict_unseen(labelled, predict_by_ridge, np.random.default_rng(0))
    tiles = captured.tiles
    attributes: dict[str, Sequence[str | None]] = {
        "drop": [tile.drop for tile in tiles],
        "hour": name_hours(tile.taken for tile in tiles),
        "ground sample distance": name_distances(tile.gsd_m for tile in tiles),
        "camera": [tile.camera for tile in tiles],
        "cluster": name_clusters(captured.vectors, [tile.tile_id for tile in tiles]),
    }
    return rank_slices(predicted == labelled.classes, attributes, blocks=labelled.blocks)


def dump_slices(slices: Iterable[Slice]) -> bytes:
    """Write slices as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, SLICE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(each) for each in slices)
    return text.getvalue().encode()


def draw(replay: Replay, notes: Sequence[str], *, caveat: str) -> bytes:
    """Draw the curves with what the next labels buy and cost."""
    captions = {
        name: caption_gain(name, replay.measure_gain(name))
        for name in replay.accuracies
        if name != "random"
    }
    seeds = len(replay.accuracies["random"])
    return draw_curves(
        replay.list_points(),
        captions,
        title="Macro accuracy on held-out ground by number of labels: each strategy (blue) and random (grey)",
        notes=[f"{seeds} seeds, 95 % bands; differences are means over the budgets", *notes],
        caveat=caveat,
    )


def judge_curve(curves: CommittedTable, rounds: CommittedTable, *, space: str) -> Verdict:
    """Warn if the strategy of the latest round did not beat random selection among the labels."""
    numbered = [m for m in rounds.manifests if m.recipe.output.drop]
    if not numbered:
        return Verdict(space, True, "no round is committed in this space, so no strategy is in use")
    latest = max(numbered, key=lambda m: number_of(m.recipe.output.drop))
    strategy = str(latest.recipe.config.get("strategy"))
    facts = curves.manifest(None).facts
    gain, labels = facts["gains"].get(strategy), count_of(facts["labels"], "label")
    if strategy == "random" or gain is None:
        return Verdict(space, True, f"the latest round is by {strategy}, which is not replayed")
    sentence = next(each for each in facts["strategies"] if each.startswith(f"{strategy} "))
    if gain["low"] > 0:
        return Verdict(space, True, f"{sentence}, by {labels}")
    return Verdict(
        space,
        True,
        f"{sentence}, by {labels}. Choose the next round by a strategy that does: "
        f"{_name_best(facts['gains'])}",
        warns=True,
    )


def _name_best(gains: dict[str, dict[str, float]]) -> str:
    better = sorted(
        (name for name in gains if gains[name]["low"] > 0), key=lambda n: -gains[n]["value"]
    )
    return ", ".join(better) or "none does, so random serves as well"
