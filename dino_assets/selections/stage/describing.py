"""A committed round in a few lines for a person."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

from dino_assets.counting import count_of
from dino_assets.drops.naming import name_some
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.stage.pool import list_drops
from dino_assets.selections.rounds import number_of
from dino_assets.selections.stage.paid import read_round
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
    """A committed round in a few lines for a person: how many of what, why these, how well they cover.

    ``model`` is the one whose embeddings it is chosen by. Of a round chosen earlier, the sources of drops
    that it left out are looked at once more. ``registered`` drops outside the pool are named; ``command`` is how ours is called from here.
    """
    manifest = committed.manifest
    name, config, facts = manifest.recipe.output.drop, manifest.recipe.config, manifest.facts
    left_out = facts.get("left_out", {})
    named = list_drops(manifest.recipe)
    drops = [drop for drop in named if drop not in left_out]
    paid = f", {facts['paid_before']} of them chosen before" if facts["paid_before"] else ""
    yield (
        f"{name}: {'reused' if committed.was_reused else 'chosen'}, {count_of(facts['picked'], 'tile')} of a pool "
        f"of {facts['pool']}{paid}, from {name_some(drops)}, by {model}"
    )
    rounds = CommittedTable(store, "selections", manifest.recipe.output.space, (manifest,))
    reasons = Counter(read_round(rounds, str(name), ["reason"])["reason"].to_pylist())
    if reasons:
        yield (
            f"why: {', '.join(f'{count} {word}' for word, count in sorted(reasons.items()))} "
            f"({config['strategy']}, seed {config['seed']}, {config['column']} vectors)"
        )
        yield "; ".join(f"{word}: {REASONS[word]}" for word in sorted(reasons) if word in REASONS)
    if "coverage_mean" in facts:
        yield (
            f"coverage: a tile of the pool is {facts['coverage_mean']:.4f} from the nearest chosen one "
            f"on average, {facts['random_coverage_mean']:.4f} with as many at random; the farthest "
            f"{facts['coverage_radius']:.4f}, {facts['random_coverage_radius']:.4f}"
        )
    if left_out:
        still = look_again(store, left_out, open_source) if committed.was_reused else None
        yield from describe_left_out(left_out, still=still)
        if still is not None:
            yield _say_how_to_include(store, manifest, still, command)
    if outside := sorted(set(registered).difference(named)):
        yield f"registered, not embedded in this space: {name_some(outside)}"
    if caveat := facts.get("caveat"):
        yield f"mind: {spell_caveat(caveat)}"
    if facts["picked"]:
        yield f"next: {command} export selections {name} --to out/round-{config['round']}"


def _say_how_to_include(
    store: ObjectStore, manifest: Manifest, still: Mapping[str, str], command: str
) -> str:
    """Say how tiles of the drops that a standing round left out are chosen after all."""
    name = manifest.recipe.output.drop
    last = open_table(store, "selections", space=manifest.recipe.output.space).drops[-1]
    if name != last:
        drops = sorted(set(manifest.facts["left_out"]).difference(still))
        some = "".join(f" --drop {drop}" for drop in drops)
        return (
            f"{name} stands, since {last} was chosen after it. For tiles of what it left out: "
            f"{command} select --round {number_of(last) + 1}{some}"
        )
    return (
        f"{name} stands. To choose it anew, from every drop that can be read: the same command with "
        "--replace"
    )
