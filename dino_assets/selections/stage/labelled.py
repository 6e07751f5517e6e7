"""Tiles that people labelled without a round, such as those of an imported file; no round chooses them again."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dino_assets.errors import CorruptObjectError
from dino_assets.selections.stage.paid import PaidRound
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.objects import ObjectStore

LABELLED = "labelled.txt"  # one tile id in each line, sorted
LABELLED_INPUT = "labelled/tiles"  # the / tells it from the name of a drop


@dataclass(frozen=True)
class LabelledTiles:
    """Ids of labelled tiles, sorted, without those of earlier rounds. They are stored with the round."""

    tile_ids: tuple[str, ...] = ()

    def hash_inputs(self) -> dict[str, str]:
        """Return the hash of the ids as a recipe input; none if there are no ids."""
        return {LABELLED_INPUT: hashlib.sha256(self.dump()).hexdigest()} if self.tile_ids else {}

    def dump(self) -> bytes:
        """Encode the ids as text."""
        return "".join(f"{each}\n" for each in self.tile_ids).encode()


NO_LABELLED = LabelledTiles()


def leave_out_paid(labelled: Collection[str], paid: Sequence[PaidRound]) -> LabelledTiles:
    """Leave out the labelled tiles that a round has chosen; these are recorded as that round."""
    if not labelled:
        return NO_LABELLED
    of_rounds = {tile_id for each in paid for tile_id in each.tile_ids()}
    return LabelledTiles(tuple(sorted(set(labelled) - of_rounds)))


def read_labelled(store: ObjectStore, manifest: Manifest) -> LabelledTiles:
    """Read the labelled tiles that were stored with a committed round.

    Raises:
        CorruptObjectError: the file is missing or altered.
    """
    wanted = {key: value for key, value in manifest.recipe.inputs.items() if key == LABELLED_INPUT}
    if not wanted:
        return NO_LABELLED
    part = next((part for part in manifest.parts if part.name == LABELLED), None)
    if part is None:
        output = manifest.recipe.output
        message = f"{output} has no file {LABELLED!r}"
        raise CorruptObjectError(message, store=store.url, key=LABELLED)
    stored = LabelledTiles(tuple(read_part(store, part).decode().splitlines()))
    if stored.hash_inputs() != wanted:
        raise CorruptObjectError(
            f"{LABELLED!r} of {manifest.recipe.output} has other tiles than those with the hash in its "
            f"recipe",
            store=store.url,
            key=part.key,
        )
    return stored
