"""Stage *weights*: a validated checkpoint, its files and its record in the store."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from dino_assets.core.weights import read_checkpoint
from dino_assets.errors import CheckpointNotFoundError
from dino_assets.records import (
    Checkpoint,
    CheckpointFile,
    Draft,
    Facts,
    LocalFile,
    Manifest,
    OutputId,
    Recipe,
)
from dino_assets.store.manifests import find_manifest, read_manifest
from dino_assets.store.objects import ObjectStore

CODE_VERSION = "1"
OUTPUT = OutputId("weights")


def draft_weights(folder: Path, model: str) -> Draft:
    """Validate and hash a checkpoint directory; its files are stored when the draft is produced.

    Raises:
        CheckpointError: the directory holds no whole checkpoint.
    """
    checkpoint = read_checkpoint(folder, model=model)
    recipe = Recipe(
        OUTPUT,
        CODE_VERSION,
        config={"model": model},
        inputs={"checkpoint": checkpoint.revision},
    )

    def produce() -> Iterator[LocalFile | Facts]:
        for file in checkpoint.files:
            yield LocalFile(folder / file.name, file.name, file.sha256, file.bytes)
        yield Facts(asdict(checkpoint))

    return Draft(recipe, produce)


def draft_stored_weights(store: ObjectStore, model: str) -> Draft | None:
    """The committed checkpoint of this very model, to be reused where its source is out of reach."""
    manifest = find_manifest(store, OUTPUT)
    if manifest is None or manifest.recipe.config["model"] != model:
        return None

    def produce() -> Iterator[LocalFile | Facts]:
        raise CheckpointNotFoundError(
            f"{model!r} is out of reach, and its copy in store {store.url!r} is not whole. Connect to "
            "the network, or set DINO_MODEL_ID to a folder with its files."
        )

    return Draft(manifest.recipe, produce)


def checkpoint_of(manifest: Manifest) -> Checkpoint:
    """The checkpoint record a committed ``weights`` manifest carries."""
    facts = dict(manifest.facts)
    facts["files"] = tuple(CheckpointFile(**file) for file in facts["files"])
    for name in ("mean", "std"):
        facts[name] = tuple(facts[name])
    return Checkpoint(**facts)


def load_checkpoint(store: ObjectStore) -> Checkpoint:
    """The current checkpoint.

    Raises:
        NotCommittedError: no weights are committed.
    """
    return checkpoint_of(read_manifest(store, OUTPUT))
