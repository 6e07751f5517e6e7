"""A round as a person asks for it: opened, kept where one stands, and told in a few lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dino_assets.compute.settings import ComputeSettings
from dino_assets.drops.naming import name_some
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.pool import choose_pool, list_drops
from dino_assets.errors import CommitRefusedError, ConfigError, NotCommittedError
from dino_assets.selections.rounds import RoundSettings, name_round, number_of
from dino_assets.selections.stage.drafting import CODE_VERSION, REPEATABLE, draft_selections
from dino_assets.selections.stage.paid import PaidRound, find_paid, spell_input
from dino_assets.settings.described import check_settings, from_recipe
from dino_assets.store.commits.protocol import Draft, Manifest, OutputWriter, Recipe, Turns
from dino_assets.store.commits.reading import CommittedTable, SpacedTable, open_table
from dino_assets.weights.records import Checkpoint


@dataclass(frozen=True)
class Round:
    """What to commit; ``stands`` says why it is a committed round instead of the one asked for.

    ``unmade`` are registered drops that it could be chosen from and that are not embedded.
    """

    draft: Draft
    stands: str = ""
    has_other_settings: bool = False
    unmade: tuple[str, ...] = ()


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
    labelling it. Only ``may_replace`` gives it up, and only while no later round counts on it. Rounds
    of other spaces are paid for too; those made after a round change nothing about it.

    Raises:
        NotCommittedError: nothing is embedded in that space.
        ConfigError: settings that cannot work, a drop or tag that does not exist, a round that is not the
            next one, or one that is to be replaced while a later one counts on it.
    """
    check_settings(settings)
    if tile_px < 0:
        message = f"tile_px={tile_px}: expected a side in px, or 0 for the family's own"
        raise ConfigError(message, setting="tile_px", value=tile_px)
    space = current_space(checkpoint, compute, tile_px=tile_px)
    embedded = embeddings.in_space(space)
    pool = choose_pool(embedded, drops=settings.drops, tags=settings.tags)
    if not pool.rows:
        waiting = f" Registered and not embedded: {name_some(pool.unmade)}." if pool.unmade else ""
        raise NotCommittedError(
            f"there is nothing to choose from: no tile{_name_choice(settings)} is embedded by {checkpoint.model!r} at "
            f"{tile_px or checkpoint.tile_px} px (space {space}) in store {pool.store.url!r}."
            f"{waiting} Materialise `embeddings` first."
        )
    rounds = open_table(pool.store, "selections", space=space)
    name = name_round(settings.round)
    paid = find_paid(pool.store, rounds, before=name)
    make = partial(
        draft_selections,
        projections=open_table(pool.store, "projections", space=space),
        open_source=open_source,
        model=checkpoint.model,
        caveat=checkpoint.caveat,
    )
    if name not in rounds.drops:
        _check_is_next(rounds, settings.round)
    elif not may_replace:
        standing = rounds.manifest(name)
        was = from_recipe(settings, standing.recipe.config)
        then = list_drops(standing.recipe)
        pool = choose_pool(embedded, drops=was.drops, tags=was.tags, standing=then)
        counted = [p for p in paid if p.name in standing.recipe.inputs]
        # Its budget was meant when it was committed.
        again = replace(was, all=True)
        left_out = standing.facts.get("left_out", {})
        version = standing.recipe.code_version
        if version not in REPEATABLE:
            version = CODE_VERSION
        draft = make(pool, tiles, counted, again, left_out=left_out, code_version=version)
        return replace(_keep(rounds, standing, draft, was, settings), unmade=pool.unmade)
    draft = make(pool, tiles, paid, settings)
    if name in rounds.drops:
        standing = rounds.manifest(name)
        # Its recipe names the drops that were left out, too: they may be readable by now.
        draft = replace(draft, is_anew=bool(standing.facts.get("left_out")))
        if standing.recipe != draft.recipe or draft.is_anew:
            _check_is_last(rounds, name, paid)
    check = partial(_check_meanwhile, rounds, draft.recipe, paid)
    return Round(replace(draft, turns=Turns("selections", check)), unmade=pool.unmade)


def _name_choice(settings: RoundSettings) -> str:
    chosen = [f"drop {name!r}" for name in settings.drops]
    chosen += [f"the drops with tag {tag!r}" for tag in settings.tags]
    return f" of {' or '.join(chosen)}" if chosen else ""


def _check_is_next(rounds: CommittedTable, number: int) -> None:
    expected = _next_round(rounds)
    if number > expected:
        raise ConfigError(f"round {number} is not the next one: ask for round {expected}")
    if number < expected:
        raise ConfigError(
            f"{name_round(number)} is not there any more and later rounds count on it; ask for round "
            f"{expected}"
        )


def _check_is_last(rounds: CommittedTable, name: str, paid: Sequence[PaidRound]) -> None:
    later = [each for each in rounds.drops if number_of(each) > number_of(name)]
    this_round = f"selections/{rounds.space}/{name}"
    later += [spell_input(p.name) for p in paid if this_round in p.manifest.recipe.inputs]
    if later:
        raise ConfigError(
            f"{name} cannot be replaced: {later[0]} was chosen after it and counts on it. Ask for "
            f"a round of its own: round {_next_round(rounds)}."
        )


def _check_meanwhile(seen: CommittedTable, recipe: Recipe, paid: Sequence[PaidRound]) -> None:
    """Look whether the rounds are those that this one was chosen by; others choose rounds, too.

    Raises:
        CommitRefusedError: overtaken: this round, or one that it counts on, is another by now.
        ConfigError: it is to be replaced, and a later round counts on it by now.
    """
    name = str(recipe.output.drop)
    rounds = open_table(seen.store, "selections", space=seen.space)
    standing = rounds.manifest(name) if name in rounds.drops else None
    if standing and standing.recipe == recipe:
        return  # the same round: equal recipes have equal bytes
    if standing and (name not in seen.drops or standing != seen.manifest(name)):
        raise _overtaken(
            f"{name} was chosen by somebody else while this one was being chosen, so this one is not "
            f"stored. Ask for a round of its own: round {_next_round(rounds)}."
        )
    paid_now = find_paid(seen.store, rounds, before=name)
    changed = {(p.name, p.content) for p in paid} ^ {(p.name, p.content) for p in paid_now}
    if changed:
        names = name_some(sorted({spell_input(each) for each, _ in changed}))
        raise _overtaken(
            f"{names} came or changed while {name} was being chosen, so that tiles would be paid for "
            "twice. Nothing is stored; ask for it again."
        )
    if name in seen.drops:
        _check_is_last(rounds, name, paid_now)


def _overtaken(message: str) -> CommitRefusedError:
    return CommitRefusedError(message, reason="overtaken")


def _keep(
    rounds: CommittedTable,
    standing: Manifest,
    draft: Draft,
    was: RoundSettings,
    asked: RoundSettings,
) -> Round:
    """The round that stands, in place of the one asked for, and what is different about it.

    ``draft`` asks for it as it was: of its own settings, and of the rounds that were paid for by then.
    """
    name, recipe = standing.recipe.output.drop, standing.recipe

    def refuse(_: OutputWriter) -> None:
        raise CommitRefusedError(
            f"{name} is damaged, and what it was chosen from has changed, so that it cannot be chosen "
            "again as it was. `dino-assets verify` names the files; while it is the last round, "
            "`dino-assets select --replace` chooses it anew."
        )

    other = [
        f"{key} {_spell(value)}, not {_spell(getattr(asked, key))}"
        for key, value in vars(was).items()
        if value != getattr(asked, key)
    ]
    inputs = {*recipe.inputs.items()} ^ {*draft.recipe.inputs.items()}
    changed = name_some(sorted({spell_input(key) for key, _ in inputs})) or "the way of choosing"
    if draft.recipe != recipe:
        draft = replace(draft, recipe=recipe, produce=refuse)
    elif not other:
        return Round(draft)
    why = f"with {', '.join(other)}" if other else f"before {changed} came or changed"
    return Round(
        draft,
        f"{name} stands as it was chosen, {why}. Further tiles are a round of their own: "
        f"{_next_round(rounds)}.",
        has_other_settings=bool(other),
    )


def _spell(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "any"
    return repr(value)


def _next_round(rounds: CommittedTable) -> int:
    return max(map(number_of, rounds.drops), default=0) + 1
