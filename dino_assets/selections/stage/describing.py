"""Summary of a committed round for the command line."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from dino_assets.counting import count_of
from dino_assets.drops.naming import join_names
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.stage.pool import list_drops
from dino_assets.selections.rounds import number_of
from dino_assets.selections.stage.class_shares import describe_shares
from dino_assets.selections.stage.paid import read_round
from dino_assets.selections.stage.uncertainties import describe_uncertainties
from dino_assets.selections.stage.unreadable import describe_left_out, look_again
from dino_assets.selections.strategies.strategy import REASONS
from dino_assets.store.commits.protocol import Committed, Manifest
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.records import spell_caveat


def describe_round(
    store: ObjectStore,
    committed: Committed,
    *,
    model: str,
    open_source: Callable[[str], Source],
    registered: Collection[str] = (),
    command: str = "dino-assets",
) -> Iterator[str]:
    """Describe a committed round in a few lines: tiles, reasons, coverage, drops left out, next step.

    ``model`` is the model of the embeddings. If the round was chosen earlier and left drops out, the sources
    of these drops are checked again. The ``registered`` drops that are not in the pool are named. ``command``
    is the name of the command line program for suggestions.
    """
    manifest = committed.manifest
    name, config, facts = manifest.recipe.output.drop, manifest.recipe.config, manifest.facts
    left_out = facts.get("left_out", {})
    named = list_drops(manifest.recipe)
    drops = [drop for drop in named if drop not in left_out]
    paid = f", of which earlier rounds chose {facts['paid_before']}" if facts["paid_before"] else ""
    yield (
        f"{name}: {'reused' if committed.was_reused else 'chosen'}, {count_of(facts['picked'], 'tile')} of a pool "
        f"of {facts['pool']}{paid}, from {join_names(drops)}, by {model}"
    )
    rounds = CommittedTable(store, "selections", manifest.recipe.output.space, (manifest,))
    reasons = Counter(read_round(rounds, str(name), ["reason"])["reason"].to_pylist())
    if reasons:
        yield (
            f"why: {', '.join(f'{count} {word}' for word, count in sorted(reasons.items()))} "
            f"({config['strategy']}, seed {config['seed']}, {config['column']} vectors)"
        )
        yield "; ".join(f"{word}: {REASONS[word]}" for word in sorted(reasons) if word in REASONS)
    yield from describe_shares(facts)
    yield from describe_uncertainties(facts, config)
    if "coverage_mean" in facts:
        yield (
            f"coverage: distance from a tile of the pool to the nearest chosen one: mean "
            f"{facts['coverage_mean']:.4f} (random choice {facts['random_coverage_mean']:.4f}), largest "
            f"{facts['coverage_radius']:.4f} (random choice {facts['random_coverage_radius']:.4f})"
        )
    if ground := _describe_ground(facts):
        yield ground
    if left_out:
        unreadable_now = look_again(store, left_out, open_source) if committed.was_reused else None
        yield from describe_left_out(left_out, unreadable_now=unreadable_now)
        if unreadable_now is not None:
            yield _advise_inclusion(store, manifest, unreadable_now, command)
    if outside := sorted(set(registered).difference(named)):
        yield f"registered but not embedded in this space: {join_names(outside)}"
    if weak := facts.get("weak_features"):
        yield f"note: {weak}"
    if caveat := facts.get("caveat"):
        yield f"note: {spell_caveat(caveat)}"
    if facts["picked"]:
        yield f"next: {command} export selections {name} --to out/round-{config['round']}"


def _describe_ground(facts: Mapping[str, Any]) -> str:
    parts = []
    if "ground_m2" in facts:
        parts.append(
            f"{_spell_showing(facts['ground_tiles'], 'tile')} {facts['ground_m2']:,.0f} m², "
            f"{facts['m2_per_label']:,.0f} m² per label"
        )
    if others := facts.get("same_ground"):
        parts.append(f"{_spell_showing(others, 'other tile')} the same ground")
    return f"ground: {'; '.join(parts)}" if parts else ""


def _spell_showing(count: int, what: str) -> str:
    return f"{count_of(count, what)} {'shows' if count == 1 else 'show'}"


def _advise_inclusion(
    store: ObjectStore, manifest: Manifest, unreadable_now: Mapping[str, str], command: str
) -> str:
    """Say how to choose tiles from the drops that a committed round left out."""
    name = manifest.recipe.output.drop
    last = open_table(store, "selections", space=manifest.recipe.output.space).drops[-1]
    if name != last:
        drops = sorted(set(manifest.facts["left_out"]).difference(unreadable_now))
        some = "".join(f" --drop {drop}" for drop in drops)
        return (
            f"{name} stays unchanged, because {last} was chosen after it. To choose tiles from the drops that "
            f"it left out: {command} select --round {number_of(last) + 1}{some}"
        )
    return (
        f"{name} stays unchanged. To choose it again from every drop that can be read: the same command "
        "with --replace"
    )
