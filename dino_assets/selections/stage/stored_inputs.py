"""Inputs that are stored with a round: read from it, or from their source if they are damaged and still equal."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from dino_assets.errors import CorruptObjectError, DinoAssetsError
from dino_assets.selections.rounds import RoundSettings, number_of
from dino_assets.selections.stage.examples import (
    NO_EXAMPLES,
    Examples,
    ReadExample,
    read_stored,
    resolve_examples,
)
from dino_assets.selections.stage.labelled import LabelledTiles, read_labelled
from dino_assets.selections.stage.paid import spell_command
from dino_assets.selections.stage.uncertainties import Uncertainties, read_stored_uncertainties
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore


class _Hashed(Protocol):
    def hash_inputs(self) -> Mapping[str, str]: ...


_Input = TypeVar("_Input", bound=_Hashed)


def read_labelled_of(
    store: ObjectStore, committed: Manifest, present: LabelledTiles
) -> LabelledTiles:
    """Read the labelled tiles of a committed round; if damaged, use the present ones if they are equal.

    Raises:
        CorruptObjectError: they cannot be read, and the present ones differ.
    """
    return _read_or_replace(committed, lambda: read_labelled(store, committed), lambda: present)


def read_uncertainties_of(
    store: ObjectStore, committed: Manifest, read_present: Callable[[], Uncertainties] | None
) -> Uncertainties:
    """Read the uncertainties of a committed round; if damaged, use those of the present probe if they are equal.

    Raises:
        CorruptObjectError: they cannot be read, and those of the present probe differ.
    """
    return _read_or_replace(
        committed, lambda: read_stored_uncertainties(store, committed), read_present
    )


def _read_or_replace(
    committed: Manifest, read: Callable[[], _Input], read_present: Callable[[], _Input] | None
) -> _Input:
    try:
        return read()
    except CorruptObjectError as err:
        damage = err
    try:
        present = None if read_present is None else read_present()
    except DinoAssetsError:
        present = None
    if present is None or not present.hash_inputs().items() <= committed.recipe.inputs.items():
        name = str(committed.recipe.output.drop)
        raise CorruptObjectError(
            f"{name} cannot be checked or restored: {damage} Nothing else has the content of this file any more, "
            "because labels or the probe have changed. The round's tiles and pictures do not need it. Put an "
            f"undamaged copy from a backup at {damage.key!r}. If it is the last round, this chooses it again: "
            f"`dino-assets select --round {number_of(name)} --replace`.",
            store=damage.store,
            key=damage.key,
        ) from damage
    return present


def read_examples(
    embeddings: CommittedTable,
    settings: RoundSettings,
    read: ReadExample | None,
    committed: Manifest | None,
    *,
    may_replace: bool,
) -> tuple[Examples, Examples]:
    """Read the requested examples, and the examples with which a committed round was chosen.

    If the round's own file is damaged, the requested examples take its place if they are the same.

    Raises:
        CorruptObjectError: the round's own examples cannot be read, and the requested ones differ.
    """
    stored, damage = NO_EXAMPLES, None
    if committed is not None:
        try:
            stored = read_stored(embeddings.store, committed)
        except CorruptObjectError as err:
            damage = err
    asked = stored if settings.examples else NO_EXAMPLES
    if settings.examples and read is not None:
        # If the round is chosen again by another column, its stored vectors cannot replace a missing picture.
        is_usable = not may_replace or (
            committed is not None and committed.recipe.config.get("column") == settings.column
        )
        substitutes = stored if is_usable else NO_EXAMPLES
        asked = resolve_examples(embeddings, settings, read, stored=substitutes)
    if damage is not None and committed is not None and not may_replace:
        if not asked.rows or not asked.hash_inputs().items() <= committed.recipe.inputs.items():
            raise CorruptObjectError(
                f"the examples that {committed.recipe.output.drop} was chosen by cannot be read: "
                f"{damage} To restore the round, choose it again with the same examples: "
                f"`{spell_command(committed.recipe.config)}`.",
                store=damage.store,
                key=damage.key,
            ) from damage
        stored = asked
    return asked, stored
