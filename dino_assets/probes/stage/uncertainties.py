"""Uncertainties of all tiles of a pool, from the predictions of the committed probe, for a round."""

import numpy as np

from dino_assets.counting import count_of
from dino_assets.errors import ConfigError
from dino_assets.probes.stage.drafting import ASSET
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage.uncertainties import Uncertainties
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable, open_table

_SCORES = ("labels", "macro_accuracy", "macro_from_to")


def read_uncertainties(pool: CommittedTable, settings: RoundSettings) -> Uncertainties:
    """Read how uncertain the probe's prediction is for each tile of a pool, in the order of its parts.

    Raises:
        ConfigError: the pool's space has no probe, or the probe has no prediction for some tiles.
    """
    probes = open_table(pool.store, ASSET, space=pool.space)
    if not probes.manifests:
        raise ConfigError(
            f"the strategy 'uncertainty' needs a probe, and space {pool.space} has none. Label tiles, then train one: "
            "`dino-assets probe train`.",
            setting="strategy",
            value=settings.strategy,
            reason="no-probe",
        )
    kind = settings.uncertainty
    rows = probes.read(None, ["drop", "tile_id", kind])
    numbers = rows[kind].to_numpy()
    if kind == "margin":
        numbers = 1 - numbers  # a small margin is uncertain
    of_tile = dict(
        zip(
            zip(rows["drop"].to_pylist(), rows["tile_id"].to_pylist(), strict=True),
            numbers.tolist(),
            strict=True,
        )
    )
    values = [
        of_tile.get((str(manifest.recipe.output.drop), tile_id))
        for manifest, part in pool.parts(["tile_id"])
        for tile_id in part["tile_id"].to_pylist()
    ]
    if missing := sum(value is None for value in values):
        raise ConfigError(
            f"the probe has no prediction for {count_of(missing, 'tile')} of {len(values):,}, which were embedded "
            "after it was trained. Train it again: `dino-assets probe train`.",
            setting="strategy",
            value=settings.strategy,
            reason="old-probe",
        )
    (manifest,) = probes.manifests
    return Uncertainties(
        np.array(values, np.float32), content_hash(manifest), _list_scores(manifest)
    )


def _list_scores(manifest: Manifest) -> dict[str, object]:
    """List the scores of a probe, and a warning if it is not better than a guess on ground that it did not see."""
    scores = {name: manifest.facts[name] for name in _SCORES}
    guess, low = 1 / max(len(manifest.facts["class_labels"]), 1), manifest.facts["macro_from_to"][0]
    if low <= guess:
        scores["warning"] = (
            f"the probe is not proved better than a guess on ground that it did not see: macro accuracy "
            f"{scores['macro_accuracy']:.3f}, at least {low:.3f}, and a guess has {guess:.3f}. Its uncertainty says "
            "little; label more tiles by the strategy herding first"
        )
    return scores
