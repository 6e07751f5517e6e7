"""Check of a committed probe: no leak, enough labels of each class, calibrated, better than a guess."""

import numpy as np

from dino_assets.counting import count_of
from dino_assets.errors import CorruptObjectError
from dino_assets.probes.files import ProbeData
from dino_assets.probes.probe_settings import ProbeSettings
from dino_assets.probes.splits import find_leaks, name_groups
from dino_assets.probes.stage.reading import read_probe_data
from dino_assets.settings.described import from_recipe
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.verdicts import Verdict

LEAST_OF_CLASS = 5
# On 50 to 700 labels of aerial pictures, the error is .03 to .12; above this limit, a probability of .9 may
# mean .75.
MOST_ECE = 0.15


def judge_probe(probes: CommittedTable) -> Verdict:
    """Check that no ground is on both sides of a fold; warn of what makes the figures or the probe doubtful."""
    manifest = probes.manifest(None)
    subject, facts = str(manifest.recipe.output), manifest.facts
    settings = from_recipe(ProbeSettings(), manifest.recipe.config)
    try:
        data = read_probe_data(probes.store, manifest)
    except CorruptObjectError as err:
        return Verdict(subject, False, str(err))
    if leak := find_leak(data, settings):
        return Verdict(subject, False, leak)
    low, high = facts["accuracy_from_to"]
    doubts = [
        f"{name!r} has {count_of(count, 'label')}, and {LEAST_OF_CLASS} are the least to judge it"
        for name, count in facts["class_labels"].items()
        if count < LEAST_OF_CLASS
    ]
    if facts["ece"] > MOST_ECE:
        doubts.append(
            f"its probabilities are off by {facts['ece']:.2f} on average, and {MOST_ECE} is the limit"
        )
    if low <= facts["largest_share"]:
        largest = max(facts["class_labels"], key=lambda name: facts["class_labels"][name])
        doubts.append(
            f"it may be no better than to say {largest!r} of every tile, which is right "
            f"{facts['largest_share']:.2f} of the time"
        )
    sentence = (
        f"accuracy {facts['accuracy']:.2f} ({low:.2f} to {high:.2f}) on {count_of(facts['labels'], 'label')} "
        f"held out by {settings.split}"
    )
    return Verdict(subject, True, "; ".join([sentence, *doubts]), warns=bool(doubts))


def find_leak(data: ProbeData, settings: ProbeSettings) -> str | None:
    """Say which ground a fold's probe learned from and was tested on; None if there is no such ground."""
    groups = np.array(name_groups(data.tiles, settings.split, block_m=settings.block_m), object)
    for fold, are_trained_on in enumerate(data.are_trained_on):
        is_out = data.folds == fold
        if both := set(groups[is_out]) & set(groups[are_trained_on]):
            return f"fold {fold} learned from {min(both)} and was tested on it"
        leaks = find_leaks(data.tiles, is_out) & are_trained_on
        if leaks.any():
            first = data.tile_ids[int(np.flatnonzero(leaks)[0])]
            return f"fold {fold} learned from {first!r}, which shows ground that was held out"
    return None
