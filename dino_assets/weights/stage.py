"""The output *weights*: a validated checkpoint, its files and its record in the store, and back as a folder."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp

from dino_assets.errors import (
    CheckpointChangedError,
    CheckpointNotFoundError,
    ChecksumError,
    CorruptObjectError,
    InvalidCheckpointError,
)
from dino_assets.settings.urls import expand_path, resolve_path
from dino_assets.store.commits.manifests import content_hash, find_manifest, read_manifest
from dino_assets.store.commits.parts import fetch_part
from dino_assets.store.commits.protocol import (
    Draft,
    LocalFile,
    Manifest,
    OutputId,
    OutputWriter,
    Recipe,
)
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.catalogue import full_name
from dino_assets.weights.checkpoint import check_files, is_paper
from dino_assets.weights.fetching import read_located
from dino_assets.weights.hub.listings import is_commit
from dino_assets.weights.hub.locating import MAIN, Located
from dino_assets.weights.records import Checkpoint, CheckpointFile

CODE_VERSION = "3"
OUTPUT = OutputId("weights")


def draft_current_weights(
    store: ObjectStore,
    model: str,
    revision: str | None,
    locate: Callable[[], Located],
    *,
    warn: Callable[[str], object],
    accepts_changes: bool = False,
) -> Draft:
    """The configured checkpoint; the store's own copy of it where the Hub cannot be asked.

    Producing, or of a directory drafting, raises CheckpointChangedError where the store has other
    weights of the same name, unless ``accepts_changes``.

    Raises:
        CheckpointNotFoundError: it is neither to be had nor in the store.
        CheckpointError: the directory holds no whole checkpoint.
    """

    def check(checkpoint: Checkpoint) -> None:
        if not accepts_changes:
            _refuse_change(store, model, revision, checkpoint)

    try:
        located = locate()
    except ChecksumError:
        raise  # a folder that was changed, perhaps on purpose
    except CheckpointNotFoundError as err:
        stored = find_stored_weights(store, model, revision)
        if stored is None:
            raise
        warn(f"using the copy in the store: {err}")
        return _draft_stored(store, stored)
    if not located.is_current and (stored := find_stored_weights(store, model, revision)):
        # What this machine saw last may be older than what everybody else works with.
        warn("the Hub cannot be asked: using the copy in the store")
        return _draft_stored(store, stored)
    return draft_located_weights(located, revision, check=check)


def draft_located_weights(
    located: Located,
    revision: str | None = None,
    *,
    check: Callable[[Checkpoint], None] = lambda checkpoint: None,
) -> Draft:
    """A draft that fetches only if it is needed: a commit that is in the store already is not.

    A directory that did not come from the Hub is validated and hashed at once: its content is its
    revision. ``check`` sees what the checkpoint is before any of it is stored.

    Raises:
        CheckpointError: the directory holds no whole checkpoint.
    """
    folder = located.bring() if located.commit is None else None
    checked = read_located(located, folder) if folder else None
    if checked:
        check(checked)
    recipe = Recipe(
        OUTPUT,
        CODE_VERSION,
        config=_config(located.model, revision),
        inputs={"checkpoint": checked.revision if checked else f"{located.repo}@{located.commit}"},
    )

    def produce(out: OutputWriter) -> None:
        here = folder or located.bring()
        checkpoint = checked or read_located(located, here)
        if not checked:
            check(checkpoint)
        for file in checkpoint.files:
            out.local_file(LocalFile(here / file.name, file.name, file.sha256, file.bytes))
        out.facts(asdict(checkpoint))

    return Draft(recipe, produce)


def draft_weights(folder: Path, model: str) -> Draft:
    """A checkpoint directory of one's own, under the name of ``model``.

    Raises:
        CheckpointError: the directory holds no whole checkpoint.
    """
    return draft_located_weights(Located(model, None, None, lambda: folder))


def find_stored_weights(
    store: ObjectStore, model: str, revision: str | None = None
) -> Manifest | None:
    """The committed checkpoint, if it is of this very model and revision."""
    manifest = find_manifest(store, OUTPUT)
    if manifest is None or manifest.recipe.config["model"] not in (model, full_name(model)):
        return None
    if revision and is_commit(revision):
        return manifest if manifest.facts.get("commit") == revision else None
    is_same = manifest.recipe.config.get("revision") == _config(model, revision).get("revision")
    return manifest if is_same else None


def find_changed_files(stored: Manifest, checkpoint: Checkpoint) -> list[str]:
    """Name the files by which a checkpoint computes otherwise than the stored one; none where it does not.

    A card or a licence that changed is no other model.
    """
    facts = stored.facts
    if all(facts.get(name) == getattr(checkpoint, name) for name in ("weights_sha256", "network")):
        return []
    before = {str(file["name"]): file["sha256"] for file in facts.get("files", ())}
    now = {file.name: file.sha256 for file in checkpoint.files}
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    # Weights first: they say most. Nothing at all where only our reading of the same files is new.
    return sorted((name for name in changed if not is_paper(name)), key=_rank_file)


def _rank_file(name: str) -> tuple[bool, str]:
    return not name.endswith(".safetensors"), name


def explain_change(stored: Manifest, files: Sequence[str]) -> str:
    """Say that a model is another one than it was, and what to do, by the files that changed."""
    model = stored.recipe.config["model"]
    revision = stored.facts.get("commit")
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    pin = f" To stay with the one before: DINO_MODEL_REVISION={revision}." if revision else ""
    return (
        f"{model!r} is not what it was when it was stored: {files[0]!r}{more} changed. With other weights "
        "all drops are embedded anew and rounds begin with the first, so nothing of it was stored. If it "
        "was damaged, bring the files back: `dino-assets export weights --to FOLDER` writes those of the "
        f"store.{pin} If it was exchanged on purpose, say so once: `dino-assets run NAME "
        "--accept-weights`, or `accept_changes: true` of `weights` in the launchpad."
    )


def _refuse_change(
    store: ObjectStore, model: str, revision: str | None, checkpoint: Checkpoint
) -> None:
    try:
        stored = find_stored_weights(store, model, revision)
    except CorruptObjectError:
        return  # there is nothing to compare with, and it is made again
    if stored and (files := find_changed_files(stored, checkpoint)):
        raise CheckpointChangedError(explain_change(stored, files), file=files[0], reason="altered")


def explain_other_model(store: ObjectStore, model: str, revision: str | None, *, root: Path) -> str:
    """Say that the store's weights are not those configured, and what to do; nothing where they are."""
    current = find_manifest(store, OUTPUT)
    if current is None or find_stored_weights(store, model, revision):
        return ""
    stored = str(current.recipe.config["model"])
    if not revision and _locate(stored, root) == _locate(model, root):
        return ""  # two spellings of one folder
    was = current.recipe.config.get("revision") or (revision and current.facts.get("commit"))
    return (
        f"the model configured is {_spell_model(model, revision)}, but the weights in the store are those "
        f"of {_spell_model(stored, was)}, and tiles are chosen by their embeddings. To use the configured "
        f"one, embed with it first: dino-assets run NAME --select weights,images,tiles,embeddings; "
        f"otherwise set DINO_MODEL_ID{' and DINO_MODEL_REVISION' * bool(revision or was)} back."
    )


def _locate(model: str, root: Path) -> Path:
    return resolve_path(root / expand_path(model))


def _spell_model(model: str, revision: str | None) -> str:
    return f"{model!r} at {revision}" if revision else repr(model)


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


def _draft_stored(store: ObjectStore, manifest: Manifest) -> Draft:
    def produce(_: OutputWriter) -> None:
        raise CheckpointNotFoundError(
            f"{manifest.recipe.config['model']!r} is out of reach, and its copy in store {store.url!r} is "
            "not whole. Connect to the network, or set DINO_MODEL_ID to a folder with its files."
        )

    return Draft(manifest.recipe, produce)


def _config(model: str, revision: str | None) -> dict[str, str]:
    # A commit is in the inputs, however it was found.
    is_named = revision not in (None, MAIN) and not is_commit(str(revision))
    return {"model": model, **({"revision": str(revision)} if is_named else {})}


def checkpoint_folder(
    store: ObjectStore, manifest: Manifest, *, cache: Path, is_altered: bool = False
) -> Path:
    """The files of a ``weights`` manifest under their own names, fetched once and verified.

    A folder that ``is_altered`` is fetched again, unless another process has just done so.

    Raises:
        CorruptObjectError: a file in the store is not the one committed.
    """
    folder = cache / content_hash(manifest)[:32]
    if folder.is_dir() and not (is_altered and _is_altered(folder, manifest)):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Complete or absent: made aside and renamed; a killed one is left for `make clean`.
    made = Path(mkdtemp(prefix=".making-", dir=cache))
    try:
        for part in manifest.parts:
            fetch_part(store, part, made / str(part.name))
        if is_altered:
            with suppress(OSError):  # else somebody took it away
                folder.rename(made.with_name(f"{made.name}-altered"))
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(made.with_name(f"{made.name}-altered"), ignore_errors=True)
    return folder


def _is_altered(folder: Path, manifest: Manifest) -> bool:
    try:
        check_files(folder, checkpoint_of(manifest))
    except InvalidCheckpointError:
        return True
    return False
