"""Examples of classes: read as vectors, stored with the round, and read back when it is chosen again."""

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.pool import read_parts
from dino_assets.embeddings.stage.queries import SpaceEncoders, read_query, split_window
from dino_assets.errors import ConfigError, CorruptObjectError, InvalidVectorsError
from dino_assets.numerics.neighbours import check_vectors
from dino_assets.selections.rounds import RoundSettings
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore

EXAMPLES = "examples.npy"  # the vectors of a round's examples, in the order of its settings
_INPUT = "examples/"  # begins the names of a recipe's inputs


@dataclass(frozen=True, eq=False)
class Example:
    """An example of a class: its vector (D,), and its name for people, which is a path's last part."""

    of_class: str
    name: str
    vector: NDArray[np.float32]

    @property
    def sha256(self) -> str:
        """The hash of the vector's numbers, in little-endian order."""
        return hashlib.sha256(np.asarray(self.vector, "<f4").tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of a round, sorted by class, name and vector."""

    rows: tuple[Example, ...] = ()

    def by_class(self) -> dict[str, NDArray[np.float32]]:
        """Return the vectors (E, D) of each class, the classes in the order of their names."""
        groups = groupby(self.rows, lambda each: each.of_class)
        return {name: np.stack([each.vector for each in group]) for name, group in groups}

    def rename(self, settings: RoundSettings) -> RoundSettings:
        """Replace the queries in settings by the examples' names, which do not depend on a folder."""
        groups = groupby(self.rows, lambda each: each.of_class)
        names = tuple((name, tuple(each.name for each in group)) for name, group in groups)
        return replace(settings, examples=names)

    def hash_inputs(self) -> dict[str, str]:
        """Return the hash of each class's vectors as recipe inputs."""
        return {
            f"{_INPUT}{name}": hashlib.sha256(each.astype("<f4").tobytes()).hexdigest()
            for name, each in self.by_class().items()
        }

    def dump(self) -> bytes:
        """Encode all vectors (E, D) as a .npy file."""
        sink = io.BytesIO()
        np.save(sink, np.stack([each.vector for each in self.rows]).astype("<f4"))
        return sink.getvalue()


NO_EXAMPLES = Examples()

ReadExample = Callable[[CommittedTable, str, EmbeddingColumn], NDArray[np.float32]]


def make_reader(encoders: SpaceEncoders, folder: Path) -> ReadExample:
    """Make a function that reads the vector of an example; paths are relative to ``folder``."""

    def read(
        embeddings: CommittedTable, query: str, column: EmbeddingColumn
    ) -> NDArray[np.float32]:
        is_file = split_window(folder / query)[0].is_file()
        embed = partial(encoders.embed, embeddings, column=column)
        return read_query(
            embeddings, os.fspath(folder / query) if is_file else query, column, embed=embed
        ).vector

    return read


def resolve_examples(
    embeddings: CommittedTable,
    settings: RoundSettings,
    read: ReadExample,
    *,
    stored: Examples,
) -> Examples:
    """Read the vectors of all examples that settings name.

    If a picture, file or tile no longer exists, its vector among the ``stored`` examples of the round is used.
    So the same request still gives the same round.

    Raises:
        ConfigError: an example does not exist.
        InvalidVectorsError: a vector is not finite, is zero, or does not have the tiles' number of dimensions.
        UnusableImageError: a picture cannot be used.
    """
    embeddings = _with_column(embeddings, settings.column)
    rows: list[Example] = []
    for of_class, queries in settings.examples:
        for query in queries:
            name = Path(query).name
            try:
                vector = read(embeddings, query, settings.column)
            except ConfigError as err:
                same = [(e.of_class, e.name) == (of_class, name) for e in stored.rows]
                if err.value != query or not any(same):
                    raise
                rows += [each for each, is_same in zip(stored.rows, same, strict=True) if is_same]
            else:
                rows.append(Example(of_class, name, vector))
    examples = _sort(rows)
    _check(embeddings, examples, settings.column)
    return examples


def _with_column(embeddings: CommittedTable, column: EmbeddingColumn) -> CommittedTable:
    """Leave out drops that were embedded without a column, if other drops have it."""
    having = tuple(
        manifest
        for manifest in embeddings.manifests
        if column in (manifest.recipe.config.get("columns") or (column,))
    )
    return replace(embeddings, manifests=having or embeddings.manifests)


def _sort(rows: list[Example]) -> Examples:
    """Sort examples, and keep only one of equal examples."""
    distinct = {(each.of_class, each.name, each.sha256): each for each in rows}
    return Examples(tuple(distinct[key] for key in sorted(distinct)))


def _check(embeddings: CommittedTable, examples: Examples, column: EmbeddingColumn) -> None:
    _, part = next(read_parts(embeddings, column, []))
    dims = part.schema.field(column).type.list_size
    for each in examples.rows:
        if each.vector.shape != (dims,):
            raise InvalidVectorsError(
                f"the example {each.name!r} of {each.of_class!r} has the shape {each.vector.shape}, and the "
                f"tiles' vectors have {dims} numbers. Embed it with the same model",
                dims=(each.vector.shape[-1] if each.vector.ndim else 0, dims),
            )
        if not check_vectors(each.vector[None]).any():
            raise InvalidVectorsError(
                f"the example {each.name!r} of {each.of_class!r} is a vector of zeros, which has no direction. "
                "Give another example"
            )


def read_stored(store: ObjectStore, manifest: Manifest) -> Examples:
    """Read the examples of a committed round; none if it has no shares.

    Raises:
        CorruptObjectError: the file is missing or altered, or its vectors are not those of the recipe.
    """
    recipe = manifest.recipe
    names: Mapping[str, list[str]] = recipe.config.get("examples", {})
    if not names:
        return Examples()
    part = next((part for part in manifest.parts if part.name == EXAMPLES), None)
    if part is None:
        raise CorruptObjectError(
            f"{recipe.output} has no file {EXAMPLES!r}", store=store.url, key=EXAMPLES
        )
    vectors = np.load(io.BytesIO(read_part(store, part)), allow_pickle=False)
    labels = [(of_class, name) for of_class in sorted(names) for name in names[of_class]]
    if len(labels) == len(vectors):
        rows = [Example(*label, vector) for label, vector in zip(labels, vectors, strict=True)]
        examples = Examples(tuple(rows))
        wanted = {key: value for key, value in recipe.inputs.items() if key.startswith(_INPUT)}
        if examples.hash_inputs() == wanted:
            return examples
    raise CorruptObjectError(
        f"the vectors in {EXAMPLES!r} of {recipe.output} are not the examples with the hashes in its recipe",
        store=store.url,
        key=part.key,
    )
