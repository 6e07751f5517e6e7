"""Named prototypes in the store: each holds the vectors of its examples, and its direction in their space.

prototypes/<space>/<name>.json
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.drops.naming import make_drop_name
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError, NotCommittedError, ObjectNotFoundError
from dino_assets.labels.stage.answers import check_class
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import corrupt, is_json, seal, unseal
from dino_assets.store.objects import ObjectStore

PROTOTYPES = "prototypes/"


@dataclass(frozen=True, eq=False)
class NamedVector:
    """An example of a prototype: its query without folders, its vector (D,), and the id if it is a tile."""

    query: str
    vector: NDArray[np.float32]
    tile_id: str = ""


@dataclass(frozen=True, eq=False)
class Prototype:
    """A class that was learned from examples, and how well they agree.

    ``direction`` (D,) has a larger cosine with tiles that are more likely of the class. ``percentiles`` and
    ``chance`` are those of ``LeaveOneOut``. ``searched`` is the number of tiles that it was compared with.
    ``sha256`` is the hash of the stored object; it is empty before the prototype is stored.
    """

    name: str
    space: str
    column: EmbeddingColumn
    examples: tuple[NamedVector, ...]
    unlike: tuple[NamedVector, ...]
    direction: NDArray[np.float32] = field(repr=False)
    percentiles: tuple[float, ...]
    chance: float
    is_better_than_chance: bool
    searched: int
    sha256: str = ""

    def describe(self) -> dict[str, Any]:
        """Return what programs read about the prototype, without its vectors."""
        return {
            "name": self.name,
            "space": self.space,
            "column": self.column,
            "examples": [each.query for each in self.examples],
            "unlike": [each.query for each in self.unlike],
            "left_out_percentiles": list(self.percentiles),
            "chance": round(self.chance, 4),
            "is_better_than_chance": self.is_better_than_chance,
            "searched": self.searched,
        }


def put_prototype(store: ObjectStore, prototype: Prototype) -> Prototype:
    """Store a prototype under its name, in place of an earlier one; return it with its hash."""
    data = seal(
        {
            "name": prototype.name,
            "space": prototype.space,
            "column": prototype.column,
            "examples": [_dump(each) for each in prototype.examples],
            "unlike": [_dump(each) for each in prototype.unlike],
            "direction": _encode(prototype.direction),
            "percentiles": list(prototype.percentiles),
            "chance": prototype.chance,
            "is_better_than_chance": prototype.is_better_than_chance,
            "searched": prototype.searched,
        }
    )
    key = name_key(prototype.space, prototype.name)
    store.put(key, data, is_lasting=True)
    return _load(data, store=store.url, key=key)


def find_prototype(store: ObjectStore, name: str, *, space: str) -> Prototype | None:
    """Read the prototype of a name in a space; return None if there is none.

    Raises:
        CorruptObjectError: it is damaged.
    """
    key = name_key(space, name)
    try:
        return read_again(lambda: _load(store.get(key), store=store.url, key=key))
    except ObjectNotFoundError:
        return None


def read_prototypes(store: ObjectStore, *, space: str | None = None) -> Iterator[Prototype]:
    """Read all prototypes, or those of one space, sorted by space and name.

    Raises:
        CorruptObjectError: one of them is damaged.
    """
    prefix = PROTOTYPES if space is None else f"{PROTOTYPES}{space}/"
    for key in sorted(info.key for info in store.list(prefix) if is_json(info.key)):
        yield read_again(lambda key=key: _load(store.get(key), store=store.url, key=key))  # type: ignore[misc]


def remove_prototype(store: ObjectStore, name: str, *, space: str | None = None) -> list[str]:
    """Remove the prototypes of a name, from one space or from all; return the spaces.

    A damaged prototype is removed, too.

    Raises:
        NotCommittedError: there is none.
    """
    end = name_key("_", name).rpartition("/")[2]
    keys = [
        info.key
        for info in store.list(PROTOTYPES)
        if info.key.rpartition("/")[2] == end and space in (None, info.key.split("/")[1])
    ]
    if not keys:
        where = f" in space {space}" if space else ""
        raise NotCommittedError(
            f"no prototype is called {name!r}{where}. `dino-assets like --list` lists the prototypes",
            output=name,
            reason="no-prototype",
        )
    for key in keys:
        store.delete(key)
    return sorted(key.split("/")[1] for key in keys)


def name_key(space: str, name: str) -> str:
    """Name the key of a prototype.

    Raises:
        ConfigError: the text cannot be a name.
    """
    name = check_class(name)
    if not any(char.isalnum() for char in name) or {"/", "\\"} & set(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a prototype: expected a letter or digit, and no path",
            setting="name",
            value=name,
        )
    return f"{PROTOTYPES}{space}/{make_drop_name(name)}.json"


def _dump(example: NamedVector) -> dict[str, str]:
    return {
        "query": example.query,
        "tile_id": example.tile_id,
        "vector": _encode(example.vector),
    }


def _encode(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def _decode(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)


def _load(data: bytes, *, store: str, key: str) -> Prototype:
    body = unseal(data, store=store, key=key)
    try:
        return Prototype(
            name=body["name"],
            space=body["space"],
            column=body["column"],
            examples=_load_vectors(body["examples"]),
            unlike=_load_vectors(body["unlike"]),
            direction=_decode(body["direction"]),
            percentiles=tuple(body["percentiles"]),
            chance=body["chance"],
            is_better_than_chance=body["is_better_than_chance"],
            searched=body["searched"],
            sha256=hashlib.sha256(data).hexdigest(),
        )
    except (LookupError, TypeError, ValueError) as err:
        raise corrupt(store=store, key=key, fault=f"its fields have {err!r}") from err


def _load_vectors(rows: list[dict[str, str]]) -> tuple[NamedVector, ...]:
    return tuple(NamedVector(row["query"], _decode(row["vector"]), row["tile_id"]) for row in rows)
