"""Checks of what is learnt from labels, and of the files that labels are exported to."""

import dagster as dg

from dino_assets.defs.judging import judge_outputs, to_result
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.labels.stage.judging import judge_export, judge_labels, judge_version
from dino_assets.probes.stage.curve import judge_curve
from dino_assets.probes.stage.judging import LEAST_OF_CLASS, MOST_ECE, judge_probe
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.verdicts import Verdict


@dg.asset_check(
    asset="labels",
    description=(
        "People agree on every class. A disagreement is a warning: its tile, image or box has no label until "
        "somebody settles it. So is a label of a tile that no drop has any more."
    ),
)
@tried_again
def labels_are_agreed(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Judge the committed labels."""
    store = storage.open()

    def judge(labels: CommittedTable, output: OutputId) -> Verdict:
        return judge_labels(labels, open_table(store, "tiles"))

    return to_result(context, judge_outputs(context, store, "labels", judge))


@dg.asset_check(
    asset="label_exports",
    blocking=True,
    description=(
        "Each format of an exported round, read back, has the classes of the table. A labelling team would work on "
        "wrong files without an error."
    ),
)
@tried_again
def exports_read_back(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Judge the round that this run exported; if it exported none, judge those of every space."""
    return to_result(context, judge_outputs(context, storage.open(), "label_exports", judge_export))


@dg.asset_check(
    asset="label_versions",
    blocking=True,
    description=(
        "The description of a labels version names its table by hash, and each crop is the picture in the table. "
        "Others cite a version, so it must be whole before it is."
    ),
)
@tried_again
def versions_are_whole(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Judge the version that this run froze; if it froze none, judge all versions."""
    return to_result(
        context, judge_outputs(context, storage.open(), "label_versions", judge_version)
    )


@dg.asset_check(
    asset="probes",
    blocking=True,
    description=(
        "No ground that a fold's probe learned from was held out to test it. Warns of a class with fewer than "
        f"{LEAST_OF_CLASS} labels, of a calibration error above {MOST_ECE}, and if the accuracy may be no higher "
        "than the share of the largest class."
    ),
)
@tried_again
def probes_are_sound(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Judge the probe that this run trained; if it trained none, judge those of every space."""
    store = storage.open()

    def judge(probes: CommittedTable, output: OutputId) -> Verdict:
        return judge_probe(probes)

    return to_result(context, judge_outputs(context, store, "probes", judge))


@dg.asset_check(
    asset="learning_curve",
    description=(
        "Warns if the strategy of the latest round, replayed inside the labelled tiles, did not beat random "
        "selection: the interval of its gain includes 0, or is below."
    ),
)
@tried_again
def strategy_beats_random(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Judge the learning curve that this run made; if it made none, judge those of all spaces."""
    store = storage.open()

    def judge(curves: CommittedTable, output: OutputId) -> Verdict:
        rounds = open_table(store, "selections", space=output.space)
        return judge_curve(curves, rounds, space=str(output.space))

    return to_result(context, judge_outputs(context, store, "learning_curve", judge))
