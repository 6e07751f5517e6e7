"""Uncertainties of all tiles of a pool, from the predictions of the committed probe, for a round."""

from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

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
    values = _read_in_order(probes, pool, settings.uncertainty)
    if missing := int(np.isnan(values).sum()):
        raise ConfigError(
            f"the probe has no prediction for {count_of(missing, 'tile')} of {len(values):,}, which were embedded "
            "after it was trained. Train it again: `dino-assets probe train`.",
            setting="strategy",
            value=settings.strategy,
            reason="old-probe",
        )
    if settings.uncertainty == "margin":
        values = 1 - values  # a small margin is uncertain
    (manifest,) = probes.manifests
    return Uncertainties(values, content_hash(manifest), _list_scores(manifest))


def _read_in_order(
    probes: CommittedTable, pool: CommittedTable, column: str
) -> NDArray[np.float32]:
    """Read a column of the predictions in the order of the pool's parts; NaN for a tile without a prediction.

    The ids stay in Arrow: as Python objects they would take 400 bytes per tile.
    """
    rows = probes.read(None, ["drop", "tile_id", column])
    ids, numbers = rows["tile_id"], np.append(rows[column].to_numpy(), np.nan)
    encoded = rows["drop"].combine_chunks().dictionary_encode()
    order = np.argsort(encoded.indices.to_numpy(), kind="stable")
    ends = np.cumsum(np.bincount(encoded.indices.to_numpy(), minlength=len(encoded.dictionary)))
    of_drop = dict(zip(encoded.dictionary.to_pylist(), np.split(order, ends[:-1]), strict=True))
    values = [np.empty(0, np.float32)]
    for drop, parts in groupby(pool.parts(["tile_id"]), lambda each: each[0].recipe.output.drop):
        own = of_drop.get(drop, order[:0])
        chunks = [chunk for _, part in parts for chunk in part["tile_id"].chunks]
        wanted = pa.chunked_array(chunks, pa.string())
        places = pc.index_in(wanted, value_set=ids.take(pa.array(own))).fill_null(len(own))
        values.append(numbers[np.append(own, -1)[places.to_numpy()]].astype(np.float32))
    return np.concatenate(values)


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
