"""A round as a person asks for it: opened, kept where one stands, and told in a few lines."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dino_assets.errors import CommitRefusedError, ConfigError, NotCommittedError
from dino_assets.records import Checkpoint, Committed, ComputeSettings, Draft, Manifest
from dino_assets.stages.embeddings import current_space
from dino_assets.stages.selections import RoundSettings, draft_selections
from dino_assets.stages.sources import Source
from dino_assets.store.objects import ObjectStore
from dino_assets.store.readers import CommittedTable, SpacedTable, open_table


@dataclass(frozen=True)
class Round:
    """What to commit; ``stands`` says why it is a committed round instead of the one asked for."""

    draft: Draft
    stands: str = ""
    has_other_settings: bool = False


def open_round(
    embeddings: SpacedTable,
    tiles: CommittedTable,
    checkpoint: Checkpoint,
    compute: ComputeSettings,
    settings: RoundSettings,
    *,
    open_source: Callable[[str], Source],
    tile_px: int = 0,
    may_replace: bool = False,
) -> Round:
    """A round from what is committed in the space of this checkpoint; 0 px takes its family's side.

    A committed round stands, whatever came to the pool since and whatever is asked: somebody may be
    labelling it. Only ``may_replace`` gives it up, and only while no later round counts on it.

    Raises:
        NotCommittedError: nothing is embedded in that space.
        ConfigError: a round is to be replaced that a later one counts on.
    """
    space = current_space(checkpoint, compute, tile_px=tile_px)
    pool = embeddings.in_space(space)
    if not pool.rows:
        waiting = f" Registered and not embedded: {_name_some(pool.unmade)}." if pool.unmade else ""
        raise NotCommittedError(
            f"there is nothing to choose from: no tile is embedded by {checkpoint.model!r} at "
            f"{tile_px or checkpoint.tile_px} px (space {space}) in store {pool.store.url!r}."
            f"{waiting} Materialise `embeddings` first."
        )
    rounds = open_table(pool.store, "selections", space=space)
    draft = draft_selections(pool, tiles, rounds, settings, open_source=open_source)
    name = str(draft.recipe.output.drop)
    if name not in rounds.drops or rounds.manifest(name).recipe == draft.recipe:
        return Round(draft)
    if may_replace:
        later = [found for found in rounds.drops if found > name]
        if later:
            raise ConfigError(
                f"{name} cannot be replaced: {later[0]} was chosen after it and counts on it. Ask for "
                f"a round of its own: round {_next_round(rounds)}."
            )
        return Round(draft)
    return _keep(rounds, rounds.manifest(name), draft)


def _keep(rounds: CommittedTable, standing: Manifest, asked: Draft) -> Round:
    """The round that stands, in place of the one asked for, and what is different about it."""
    name, number = standing.recipe.output.drop, _next_round(rounds)

    def produce() -> Iterator[Any]:
        raise CommitRefusedError(
            f"{name} is damaged, and what it was chosen from has changed, so that it cannot be chosen "
            "again as it was. `dino-assets verify` names the files, `dino-assets select --replace` "
            "chooses it anew."
        )

    was, now = standing.recipe.config, asked.recipe.config
    other = [f"{key} {was.get(key)!r}, not {now[key]!r}" for key in now if was.get(key) != now[key]]
    drops = {*standing.recipe.inputs.items()} ^ {*asked.recipe.inputs.items()}
    changed = _name_some(sorted({drop for drop, _ in drops}))
    why = f"with {', '.join(other)}" if other else f"before {changed} came or changed"
    return Round(
        Draft(standing.recipe, produce, asked.schema),
        f"{name} stands as it was chosen, {why}. Further tiles are a round of their own: {number}.",
        has_other_settings=bool(other),
    )


def _next_round(rounds: CommittedTable) -> int:
    return max(int(name.removeprefix("round-")) for name in rounds.drops) + 1


def describe_round(
    store: ObjectStore,
    committed: Committed,
    *,
    registered: Collection[str] = (),
) -> Iterator[str]:
    """A committed round in a few lines for a person: how many of what, why these, how well they cover.

    ``registered`` drops outside the pool are named.
    """
    manifest = committed.manifest
    name, config, facts = manifest.recipe.output.drop, manifest.recipe.config, manifest.facts
    drops = [key for key in manifest.recipe.inputs if "/" not in key]  # the others are rounds
    paid = f", {facts['paid_before']} of them chosen before" if facts["paid_before"] else ""
    yield (
        f"{name}: {'reused' if committed.was_reused else 'chosen'}, {facts['picked']} tiles of a pool "
        f"of {facts['pool']}{paid}, from {_name_some(drops)}"
    )
    rounds = CommittedTable(store, "selections", manifest.recipe.output.space, (manifest,))
    reasons = Counter(rounds.read(name, ["reason"])["reason"].to_pylist())
    if reasons:
        yield (
            f"why: {', '.join(f'{count} {word}' for word, count in sorted(reasons.items()))} "
            f"({config['strategy']}, seed {config['seed']}, {config['column']} vectors)"
        )
    if "coverage_radius" in facts:
        yield (
            f"coverage: the farthest tile of the pool is {facts['coverage_radius']:.4f} from a chosen "
            f"one, {facts['random_coverage_radius']:.4f} with as many at random"
        )
    if outside := sorted(set(registered).difference(drops)):
        yield f"registered, not embedded in this space: {_name_some(outside)}"
    if facts["picked"]:
        yield f"next: dino-assets export selections {name} --to out/round-{config['round']}"


def _name_some(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more
