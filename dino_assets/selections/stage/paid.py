"""Rounds that are paid for: rounds of any space whose tiles are not chosen again.

Somebody has labelled these tiles or is going to, so a label for the same tile would be paid twice.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from dino_assets.errors import CorruptObjectError
from dino_assets.selections.receipt import RECEIPT
from dino_assets.selections.rounds import RoundSettings, number_of
from dino_assets.settings.described import list_settings
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore

MAP_PICTURE, MAP_PAGE, SHEET = "round-map.png", "round-map.html", "contact-sheet.jpg"
# Code versions whose contact sheets have no title. The hashes of such rounds, which are inputs of later
# rounds, include the sheet.
UNTITLED = ("1", "2", "3")


@dataclass(frozen=True)
class PaidRound:
    """A round of this or another space; ``name`` is its name among the inputs of a recipe."""

    name: str
    rounds: CommittedTable
    manifest: Manifest

    @property
    def content(self) -> str:
        """The hash of the round's choice."""
        return hash_choice(self.manifest)

    def tile_ids(self) -> list[str]:
        """List the ids of the round's tiles.

        Raises:
            CorruptObjectError: its table is gone or altered; the message says how to make it again.
        """
        drop = str(self.manifest.recipe.output.drop)
        return list(read_round(self.rounds, drop, ["tile_id"])["tile_id"].to_pylist())


def hash_choice(manifest: Manifest) -> str:
    """Hash the choice of a round.

    The round's map is not hashed, because a round that is repaired after a change of the map has the same
    choice. A contact sheet with a title is not hashed either, because the same weights may later have another
    name. The receipt only describes how the choice was made, so it is not part of the choice.
    """
    others = {MAP_PICTURE, MAP_PAGE, RECEIPT}
    if manifest.recipe.code_version not in UNTITLED:
        others.add(SHEET)
    parts = [part for part in manifest.parts if part.name not in others]
    return content_hash(replace(manifest, parts=tuple(parts)))


def find_paid(store: ObjectStore, rounds: CommittedTable, *, before: str) -> list[PaidRound]:
    """List the rounds of this space that precede the round ``before``, and all rounds of all other spaces.

    Two spaces share tiles only if their tile sides are equal, because an id contains the tile's window. Tiles
    with other sides may show the same ground (``read_ground``).
    """
    paid = [
        PaidRound(f"selections/{m.recipe.output.drop}", rounds, m)
        for m in rounds.manifests
        if number_of(m.recipe.output.drop) < number_of(before)
    ]
    for space in list_spaces(store, "selections"):
        if space != rounds.space:
            others = open_table(store, "selections", space=space)
            paid += [
                PaidRound(f"selections/{space}/{m.recipe.output.drop}", others, m)
                for m in others.manifests
            ]
    return paid


def spell_input(name: str) -> str:
    """Name a recipe's input for people: a drop, its tiles, examples, a round, or a round of another space."""
    words = name.split("/")
    if words[0] in ("labelled", "probes") and len(words) == 2:
        return "labelled tiles" if words[0] == "labelled" else "the probe"
    if words[0] in ("tiles", "examples") and len(words) == 2:
        return f"the {words[0]} of {words[1]}"
    if words[0] != "selections" or len(words) == 1:
        return name
    return words[-1] + (f" of space {words[1]}" if len(words) == 3 else "")


def read_round(rounds: CommittedTable, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a committed round's rows.

    Raises:
        NotCommittedError: the round does not exist.
        CorruptObjectError: its table is gone or altered; the message says how to make it again.
    """
    try:
        return rounds.read(name, list(columns) if columns else None)
    except CorruptObjectError as err:
        config = rounds.manifest(name).recipe.config
        raise CorruptObjectError(
            f"the tiles of {name} cannot be read: {err} To restore {name} of space {rounds.space}, choose "
            f"it again with the weights and the tile side of that space: `{spell_command(config)}`.",
            store=err.store,
            key=err.key,
        ) from err


def spell_command(config: Mapping[str, Any]) -> str:
    """Write the command that chooses a round with this configuration."""
    words = sorted(config, key=lambda key: (key != "round", key))
    flag_of = {setting.name: setting.flag for setting in list_settings(RoundSettings)}
    flags = (
        flag_of[key] if value is True else f"{flag_of[key]} {shlex.quote(str(value))}"
        for key in words
        for value in _list_values(config[key])
        if value is not False
    )
    return f"dino-assets select {' '.join(flags)}"


def _list_values(value: Any) -> list[Any]:
    """List the values of a setting's flag: one, or several of a list or a mapping."""
    if isinstance(value, Mapping):
        return [
            f"{name}={each}"
            for name, values in value.items()
            for each in (values if isinstance(values, list) else [values])
        ]
    return value if isinstance(value, list) else [value]
