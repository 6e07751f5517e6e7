"""Opening of a round: a new draft, or the committed round with a notice if it differs."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dino_assets.compute.settings import ComputeSettings
from dino_assets.drops.naming import join_names
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.pool import choose_pool, list_drops
from dino_assets.errors import (
    CommitRefusedError,
    ConfigError,
    NotCommittedError,
)
from dino_assets.selections.rounds import RoundSettings, check_shares, name_round, number_of
from dino_assets.selections.stage.drafting import (
    CODE_VERSION,
    EVERY_WINDOW,
    REPEATABLE,
    UNPREDICTED,
    UNSHARED,
    draft_selections,
)
from dino_assets.selections.stage.examples import ReadExample
from dino_assets.selections.stage.labelled import leave_out_paid
from dino_assets.selections.stage.paid import PaidRound, find_paid, spell_input
from dino_assets.selections.stage.stored_inputs import (
    read_examples,
    read_labelled_of,
    read_uncertainties_of,
)
from dino_assets.selections.stage.uncertainties import (
    NO_UNCERTAINTIES,
    ReadUncertainties,
    Uncertainties,
)
from dino_assets.settings.described import check_settings, from_recipe
from dino_assets.store.commits.protocol import Draft, Manifest, OutputWriter, Recipe, Turns
from dino_assets.store.commits.reading import CommittedTable, SpacedTable, open_table
from dino_assets.weights.records import Checkpoint


@dataclass(frozen=True)
class Round:
    """A round to commit.

    ``notice`` says how a committed round differs from the requested one. It is empty if they do not differ,
    and for a new round. ``has_other_settings`` is True if their settings differ. ``unmade`` are registered
    drops that would be in the pool but are not embedded.
    """

    draft: Draft
    notice: str = ""
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
    read_example: ReadExample | None = None,
    labelled: Collection[str] = (),
    read_uncertainties: ReadUncertainties | None = None,
) -> Round:
    """Open a round: a draft of a new round, or the committed round with this number.

    The space is that of ``checkpoint`` and ``tile_px``; 0 px is the side of the model's family. Committed
    rounds do not change, because somebody may be labelling them. If the round is committed, it is returned
    as it is, for any settings and pool. With ``may_replace`` it is chosen again, but only if no later round
    depends on it. Tiles that an earlier round or a round of another space has chosen are not chosen again.

    ``labelled`` are the ids of tiles with a label. A new round does not choose them, and a committed round
    stays as it is. ``read_uncertainties`` reads the numbers that the strategy ``uncertainty`` needs; a
    committed round has its own.

    ``read_example`` reads the vectors of the examples that the settings name. Without ``read_example``, the
    vectors that are stored with the committed round are used.

    Raises:
        NotCommittedError: nothing is embedded in that space.
        ConfigError: a setting is invalid, a drop or tag does not exist, the round is not the next one, a
            round to replace has later rounds that depend on it, or the strategy needs a probe and there is
            none.
    """
    check_settings(settings)
    check_shares(settings)
    if tile_px < 0:
        message = f"tile_px={tile_px}: a side in px is expected, or 0 for the family's own"
        raise ConfigError(message, setting="tile_px", value=tile_px)
    space = current_space(checkpoint, compute, tile_px=tile_px)
    embedded = embeddings.in_space(space)
    pool = choose_pool(embedded, drops=settings.drops, tags=settings.tags)
    if not pool.rows:
        waiting = f" Registered but not embedded: {join_names(pool.unmade)}." if pool.unmade else ""
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
    committed = rounds.manifest(name) if name in rounds.drops else None
    if committed is None:
        _check_is_next(rounds, settings.round)
    asked, stored = read_examples(
        embedded, settings, read_example, committed, may_replace=may_replace
    )
    settings = asked.rename(settings)
    if committed is not None and not may_replace:
        if committed.recipe.code_version in EVERY_WINDOW:
            settings = replace(settings, all_windows=True)  # what it did without the setting
        own = from_recipe(
            _reset_settings(settings, committed.recipe.code_version), committed.recipe.config
        )
        own_drops = list_drops(committed.recipe)
        pool = choose_pool(embedded, drops=own.drops, tags=own.tags, committed=own_drops)
        own_paid = [p for p in paid if p.name in committed.recipe.inputs]
        # Its budget was already accepted when it was committed.
        repeated = replace(own, all=True)
        left_out = committed.facts.get("left_out", {})
        version = committed.recipe.code_version
        if version not in REPEATABLE:
            version = CODE_VERSION
        draft = make(
            pool,
            tiles,
            own_paid,
            repeated,
            left_out=left_out,
            code_version=version,
            examples=stored,
            labelled=read_labelled_of(pool.store, committed, leave_out_paid(labelled, own_paid)),
            uncertainties=read_uncertainties_of(
                pool.store,
                committed,
                None if read_uncertainties is None else partial(read_uncertainties, pool, own),
            ),
        )
        has_other_examples = asked.hash_inputs() != stored.hash_inputs()
        reopened = _reopen(
            rounds, committed, draft, own, settings, has_other_examples=has_other_examples
        )
        return replace(reopened, unmade=pool.unmade)
    draft = make(
        pool,
        tiles,
        paid,
        settings,
        examples=asked,
        labelled=leave_out_paid(labelled, paid),
        uncertainties=_read_new_uncertainties(pool, settings, read_uncertainties),
    )
    if committed is not None:
        # Its recipe includes the drops that were left out. An equal recipe may now give another choice,
        # because these drops may be readable.
        draft = replace(draft, is_anew=bool(committed.facts.get("left_out")))
        if committed.recipe != draft.recipe or draft.is_anew:
            _check_is_last(rounds, name, paid)
    check = partial(_check_meanwhile, rounds, draft.recipe, paid)
    return Round(replace(draft, turns=Turns("selections", check)), unmade=pool.unmade)


def _read_new_uncertainties(
    pool: CommittedTable, settings: RoundSettings, read: ReadUncertainties | None
) -> Uncertainties:
    if settings.strategy != "uncertainty":
        return NO_UNCERTAINTIES
    if read is None:
        raise ConfigError(
            "the strategy 'uncertainty' needs the predictions of a probe, and none can be read here",
            setting="strategy",
            value=settings.strategy,
        )
    return read(pool, settings)


def _reset_settings(settings: RoundSettings, code_version: str) -> RoundSettings:
    """Give the settings that a version did not have their defaults; its recipes have the others."""
    if code_version in UNPREDICTED:
        settings = replace(settings, uncertainty=RoundSettings.uncertainty)
    if code_version in UNSHARED:
        settings = replace(settings, most_per_drop=0, most_per_camera=0, most_per_class=0)
    return settings


def _name_choice(settings: RoundSettings) -> str:
    chosen = [f"drop {name!r}" for name in settings.drops]
    chosen += [f"the drops with tag {tag!r}" for tag in settings.tags]
    return f" of {' or '.join(chosen)}" if chosen else ""


def _check_is_next(rounds: CommittedTable, number: int) -> None:
    expected = _next_round(rounds)
    if number > expected:
        raise ConfigError(f"round {number} is not the next one: ask for round {expected}.")
    if number < expected:
        raise ConfigError(
            f"{name_round(number)} does not exist any more, and later rounds depend on it; ask for round "
            f"{expected}."
        )


def _check_is_last(rounds: CommittedTable, name: str, paid: Sequence[PaidRound]) -> None:
    later = [each for each in rounds.drops if number_of(each) > number_of(name)]
    this_round = f"selections/{rounds.space}/{name}"
    later += [spell_input(p.name) for p in paid if this_round in p.manifest.recipe.inputs]
    if later:
        raise ConfigError(
            f"{name} cannot be replaced: {later[0]} was chosen after it and depends on it. Ask for a new "
            f"round: round {_next_round(rounds)}."
        )


def _check_meanwhile(seen: CommittedTable, recipe: Recipe, paid: Sequence[PaidRound]) -> None:
    """Check that no other run has changed the rounds since this one was drafted.

    Raises:
        CommitRefusedError: another run has chosen this round or a round that it depends on (reason
            ``overtaken``).
        ConfigError: the round is to be replaced, and a new later round depends on it.
    """
    name = str(recipe.output.drop)
    rounds = open_table(seen.store, "selections", space=seen.space)
    committed = rounds.manifest(name) if name in rounds.drops else None
    if committed and committed.recipe == recipe:
        return  # the same round: equal recipes have equal bytes
    if committed and (name not in seen.drops or committed != seen.manifest(name)):
        raise _overtaken(
            f"another run chose {name} at the same time, so this one is not stored. Ask for a new round: "
            f"round {_next_round(rounds)}."
        )
    paid_now = find_paid(seen.store, rounds, before=name)
    changed = {(p.name, p.content) for p in paid} ^ {(p.name, p.content) for p in paid_now}
    if changed:
        names = join_names(sorted({spell_input(each) for each, _ in changed}))
        raise _overtaken(
            f"{names} was added or changed while {name} was being chosen, so tiles could be chosen twice. "
            f"Nothing is stored. Ask for {name} again."
        )
    if name in seen.drops:
        _check_is_last(rounds, name, paid_now)


def _overtaken(message: str) -> CommitRefusedError:
    return CommitRefusedError(message, reason="overtaken")


def _reopen(
    rounds: CommittedTable,
    committed: Manifest,
    draft: Draft,
    own: RoundSettings,
    asked: RoundSettings,
    *,
    has_other_examples: bool = False,
) -> Round:
    """Open the committed round instead of the requested one; add a notice if they differ.

    ``draft`` repeats the committed round with its ``own`` settings and the same earlier rounds. ``asked`` are
    the requested settings. With ``has_other_examples``, their vectors differ, even if the names are equal.
    """
    name, recipe = committed.recipe.output.drop, committed.recipe

    def refuse(_: OutputWriter) -> None:
        raise CommitRefusedError(
            f"{name} is damaged, and it cannot be restored, because the tiles or rounds from which it "
            f"was chosen have changed. "
            "`dino-assets verify` names the damaged files; put undamaged copies from a backup in their place. If it "
            f"is the last round: `dino-assets select --round {own.round} --replace`. If its table cannot be read, "
            f"`dino-assets rounds --set-aside {name}` moves it away."
        )

    other = [
        f"{key} {_spell(value)}, not {_spell(getattr(asked, key))}"
        for key, value in vars(own).items()
        if value != getattr(asked, key)
    ]
    if has_other_examples and own.examples == asked.examples:
        other.append("other vectors for the examples of the same names")
    inputs = {*recipe.inputs.items()} ^ {*draft.recipe.inputs.items()}
    names = {key for key, _ in inputs}
    # If a drop's embeddings changed, its tiles changed before.
    names = {name for name in names if name.removeprefix("tiles/") not in names - {name}}
    changed = join_names(sorted(map(spell_input, names))) or "the way of choosing"
    if draft.recipe != recipe:
        draft = replace(draft, recipe=recipe, produce=refuse)
    elif not other:
        return Round(draft)
    verb = "were" if len(names) > 1 else "was"
    why = f"with {', '.join(other)}" if other else f"before {changed} {verb} added or changed"
    return Round(
        draft,
        f"{name} is already chosen and stays unchanged: it was chosen {why}. To choose more tiles, ask for "
        f"round {_next_round(rounds)}.",
        has_other_settings=bool(other),
    )


def _spell(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_spell_entry, value)) or "any"
    return repr(value)


def _spell_entry(entry: object) -> str:
    if not isinstance(entry, tuple):
        return str(entry)
    name, value = entry
    return f"{name}={'+'.join(value) if isinstance(value, tuple) else value}"


def _next_round(rounds: CommittedTable) -> int:
    return max(map(number_of, rounds.drops), default=0) + 1
