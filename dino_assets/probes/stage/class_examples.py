"""Examples of the classes of a round: stored prototypes beside pictures, tiles and vectors."""

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError
from dino_assets.probes.stage.prototypes import find_prototype, read_prototypes
from dino_assets.selections.rounds import PROTOTYPE
from dino_assets.selections.stage.examples import ReadExample
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore


def list_prototype_names(store: ObjectStore) -> frozenset[str]:
    """List the names of the stored prototypes of all spaces.

    Raises:
        CorruptObjectError: one of them is damaged.
    """
    return frozenset(each.name for each in read_prototypes(store))


def with_prototypes(read: ReadExample) -> ReadExample:
    """Let a reader of examples also read ``prototype:NAME``, as the direction of that prototype."""

    def read_any(
        embeddings: CommittedTable, query: str, column: EmbeddingColumn
    ) -> NDArray[np.float32]:
        if not query.startswith(PROTOTYPE):
            return read(embeddings, query, column)
        name, space = query.removeprefix(PROTOTYPE), str(embeddings.space)
        prototype = find_prototype(embeddings.store, name, space=space)
        if prototype is None or prototype.column != column:
            where = f"of {column!r} vectors in space {space}"
            raise ConfigError(
                f"there is no prototype {name!r} {where}. Make it with `dino-assets like CROP… --name "
                f"{name}`, or give the class examples: --example {name}=photo.jpg:1200,800,512,512",
                setting="examples",
                value=query,
            )
        return prototype.direction

    return read_any
