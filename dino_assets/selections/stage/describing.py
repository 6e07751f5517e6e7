"""A committed round in a few lines for a person."""

from collections import Counter
from collections.abc import Collection, Iterator

from dino_assets.counting import count_of
from dino_assets.drops.naming import name_some
from dino_assets.embeddings.stage.pool import list_drops
from dino_assets.selections.stage.paid import read_round
from dino_assets.selections.strategies.strategy import REASONS
from dino_assets.store.commits.protocol import Committed
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.records import spell_caveat


def describe_round(
    store: ObjectStore,
    committed: Committed,
    *,
    model: str,
    registered: Collection[str] = (),
    command: str = "dino-assets",
) -> Iterator[str]:
    """A committed round in a few lines for a person: how many of what, why these, how well they cover.

    ``model`` is the one whose embeddings it is chosen by. ``registered`` drops outside the pool are named; ``command`` is how ours is called from here.
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
    for drop, why in sorted(left_out.items()):
        yield f"left out {drop}, which could not be read: {why}"
    if outside := sorted(set(registered).difference(named)):
        yield f"registered, not embedded in this space: {name_some(outside)}"
    if caveat := facts.get("caveat"):
        yield f"mind: {spell_caveat(caveat)}"
    if facts["picked"]:
        yield f"next: {command} export selections {name} --to out/round-{config['round']}"
