"""Listing of all committed rounds."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dino_assets.embeddings.stage.pool import list_drops
from dino_assets.errors import ConfigError, CorruptObjectError
from dino_assets.selections.rounds import name_round, number_of
from dino_assets.selections.stage.paid import read_round
from dino_assets.store.commits.digests import list_objects
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.manifests import (
    find_manifest,
    manifest_key,
    manifest_prefix,
    read_manifests,
)
from dino_assets.store.commits.protocol import Manifest, OutputId
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.stage import OUTPUT as WEIGHTS


@dataclass(frozen=True)
class ListedRound:
    """A committed round: its tiles per drop, its pool and its strategy.

    ``model`` is empty if the round's space belongs to other weights than the current ones. ``pool_drops``
    are the drops of the round's pool. ``left_out`` are the drops that could not be read, with the reason.
    ``error`` is the reason why the round's own table cannot be read, or empty.
    """

    name: str
    round: int
    space: str
    model: str
    side_px: int | None
    tiles: int
    pool: int
    strategy: str
    tiles_by_drop: Mapping[str, int] = field(default_factory=dict)
    pool_drops: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    caveat: str = ""
    error: str = ""


def list_rounds(store: ObjectStore) -> Iterator[ListedRound]:
    """List the rounds of all spaces, by space and number."""
    weights = find_manifest(store, WEIGHTS)
    for space in list_spaces(store, "selections"):
        rounds = open_table(store, "selections", space=space)
        spelled = _find_space(store, space)
        is_current = weights is not None and all(
            spelled.get(name) == weights.facts.get(name) for name in ("weights_sha256", "network")
        )
        model = str(weights.recipe.config["model"]) if weights and is_current else ""
        for manifest in rounds.manifests:
            yield _describe(rounds, manifest, model, spelled.get("side_px"))


def find_round(store: ObjectStore, named: str, *, space: str | None = None) -> OutputId:
    """Find a round by its name or number. It need not exist: a damaged store may have lost its record.

    Raises:
        ConfigError: several spaces have a round of this name, and ``space`` is None.
    """
    name = name_round(int(named)) if named.isdecimal() else named
    spaces = [space] if space else list_spaces(store, "selections")
    outputs = [OutputId("selections", name, each) for each in spaces]
    existing = [output for output in outputs if store.exists(manifest_key(output))]
    if len(existing) > 1:
        raise ConfigError(
            f"{name} exists in several spaces: name one of {', '.join(str(o.space) for o in existing)} with "
            "--space",
            setting="space",
            reason="several",
        )
    return (existing or outputs or [OutputId("selections", name)])[0]


def _find_space(store: ObjectStore, space: str) -> Mapping[str, Any]:
    """Read the settings of a space, which are recorded with its embeddings."""
    keys = sorted(info.key for info in list_objects(store, manifest_prefix("embeddings", space)))
    embedded = read_manifests(store, keys[:1])
    recorded: Mapping[str, Any] = embedded[0].recipe.config.get("space", {}) if embedded else {}
    return recorded


def _describe(
    rounds: CommittedTable, manifest: Manifest, model: str, side_px: int | None
) -> ListedRound:
    name, facts = str(manifest.recipe.output.drop), manifest.facts
    left_out = dict(facts.get("left_out", {}))
    by_drop, error = Counter[str](), ""
    try:
        by_drop.update(read_round(rounds, name, ["drop"])["drop"].to_pylist())
    except CorruptObjectError as err:
        error = str(err)
    return ListedRound(
        name=name,
        round=number_of(name),
        space=str(rounds.space),
        model=model,
        side_px=side_px,
        tiles=manifest.rows,
        pool=int(facts["pool"]),
        strategy=str(manifest.recipe.config["strategy"]),
        tiles_by_drop=dict(sorted(by_drop.items())),
        pool_drops=tuple(drop for drop in list_drops(manifest.recipe) if drop not in left_out),
        left_out=left_out,
        caveat=str(facts.get("caveat", "")),
        error=error,
    )
