"""Stage of the output *weights*: storing a validated checkpoint, and writing it back into a folder."""

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
    """Draft the configured checkpoint; if the Hub is out of reach, use the store's own copy.

    If the weights differ from the stored ones of the same name, CheckpointChangedError is raised, unless
    ``accepts_changes`` is set. For a directory it is raised at once, otherwise when the draft is produced.

    Raises:
        CheckpointNotFoundError: the checkpoint cannot be fetched, and the store has no copy.
        CheckpointError: the directory holds no whole checkpoint.
    """

    def check(checkpoint: Checkpoint) -> None:
        if not accepts_changes:
            _refuse_change(store, model, revision, checkpoint)

    try:
        located = locate()
    except ChecksumError:
        raise  # the folder has changed, perhaps on purpose: do not use the store's copy instead
    except CheckpointNotFoundError as err:
        stored = find_stored_weights(store, model, revision)
        if stored is None:
            raise
        warn(f"using the checkpoint's copy in the store: {err}")
        return _draft_stored(store, stored)
    if not located.is_current and (stored := find_stored_weights(store, model, revision)):
        # This machine's last known commit may be older than the one in the shared store.
        warn("the Hub is out of reach: using the checkpoint's copy in the store")
        return _draft_stored(store, stored)
    return draft_located_weights(located, revision, check=check)


def draft_located_weights(
    located: Located,
    revision: str | None = None,
    *,
    check: Callable[[Checkpoint], None] = lambda checkpoint: None,
) -> Draft:
    """Draft a located checkpoint; it is fetched only if its commit is not in the store yet.

    A directory that did not come from the Hub is validated and hashed at once, because the hash of its
    content is its revision. ``check`` is called with the checkpoint before anything is stored.

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
        source = folder or located.bring()
        checkpoint = checked or read_located(located, source)
        if not checked:
            check(checkpoint)
        for file in checkpoint.files:
            out.local_file(LocalFile(source / file.name, file.name, file.sha256, file.bytes))
        out.facts(asdict(checkpoint))

    return Draft(recipe, produce)


def draft_weights(folder: Path, model: str) -> Draft:
    """Draft a checkpoint directory under the name ``model``.

    Raises:
        CheckpointError: the directory holds no whole checkpoint.
    """
    return draft_located_weights(Located(model, None, None, lambda: folder))


def find_stored_weights(
    store: ObjectStore, model: str, revision: str | None = None
) -> Manifest | None:
    """Find the committed weights; return None unless they are of this model and revision."""
    manifest = find_manifest(store, OUTPUT)
    if manifest is None or manifest.recipe.config["model"] not in (model, full_name(model)):
        return None
    if revision and is_commit(revision):
        return manifest if manifest.facts.get("commit") == revision else None
    is_same = manifest.recipe.config.get("revision") == _config(model, revision).get("revision")
    return manifest if is_same else None


def find_changed_files(stored: Manifest, checkpoint: Checkpoint) -> list[str]:
    """List the changed files that make a checkpoint compute other outputs than the stored one.

    A changed model card or licence does not count. The list is also empty if the files are equal and only
    this package reads them differently.
    """
    facts = stored.facts
    if all(facts.get(name) == getattr(checkpoint, name) for name in ("weights_sha256", "network")):
        return []
    before = {str(file["name"]): file["sha256"] for file in facts.get("files", ())}
    now = {file.name: file.sha256 for file in checkpoint.files}
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    # Weights first. Empty if the files are equal and only this package reads them differently.
    return sorted((name for name in changed if not is_paper(name)), key=_rank_file)


def _rank_file(name: str) -> tuple[bool, str]:
    return not name.endswith(".safetensors"), name


def explain_change(stored: Manifest, files: Sequence[str]) -> str:
    """Write the message for a model whose files changed: which files changed, and what to do."""
    model = stored.recipe.config["model"]
    revision = stored.facts.get("commit")
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    pin = f" To keep the stored version, set DINO_MODEL_REVISION={revision}." if revision else ""
    return (
        f"{model!r} has changed since it was stored: {files[0]!r}{more} differ. Other weights mean that all "
        "drops are embedded again and rounds start again at 1, so the new files were not stored. If the "
        "files were damaged, restore them: `dino-assets export weights --to FOLDER` writes the stored "
        f"ones.{pin} If the change is intended, accept it once: `dino-assets run NAME --accept-weights`, "
        "or `accept_changes: true` for `weights` in the launchpad."
    )


def _refuse_change(
    store: ObjectStore, model: str, revision: str | None, checkpoint: Checkpoint
) -> None:
    try:
        stored = find_stored_weights(store, model, revision)
    except CorruptObjectError:
        return  # the stored manifest is damaged: nothing to compare with, and it is written again
    if stored and (files := find_changed_files(stored, checkpoint)):
        raise CheckpointChangedError(explain_change(stored, files), file=files[0], reason="altered")


def explain_other_model(store: ObjectStore, model: str, revision: str | None, *, root: Path) -> str:
    """Write the message that the stored weights are of another model than the configured one.

    Return an empty text if they are of the configured model, or if no weights are stored.
    """
    current = find_manifest(store, OUTPUT)
    if current is None or find_stored_weights(store, model, revision):
        return ""
    stored = str(current.recipe.config["model"])
    if not revision and _locate(stored, root) == _locate(model, root):
        return ""  # two spellings of one folder
    stored_revision = current.recipe.config.get("revision") or (
        revision and current.facts.get("commit")
    )
    settings = "DINO_MODEL_ID" + " and DINO_MODEL_REVISION" * bool(revision or stored_revision)
    return (
        f"the configured model is {_spell_model(model, revision)}, but the weights and embeddings in the "
        f"store are of {_spell_model(stored, stored_revision)}. To use the configured model, embed with it "
        "first: dino-assets run NAME --select weights,images,tiles,embeddings; to use the stored one, set "
        f"{settings} back."
    )


def _locate(model: str, root: Path) -> Path:
    return resolve_path(root / expand_path(model))


def _spell_model(model: str, revision: str | None) -> str:
    return f"{model!r} at {revision}" if revision else repr(model)


def checkpoint_of(manifest: Manifest) -> Checkpoint:
    """Read the checkpoint record of a committed ``weights`` manifest."""
    facts = dict(manifest.facts)
    facts["files"] = tuple(CheckpointFile(**file) for file in facts["files"])
    for name in ("mean", "std"):
        facts[name] = tuple(facts[name])
    return Checkpoint(**facts)


def load_checkpoint(store: ObjectStore) -> Checkpoint:
    """Read the record of the current checkpoint.

    Raises:
        NotCommittedError: no weights are committed.
    """
    return checkpoint_of(read_manifest(store, OUTPUT))


def _draft_stored(store: ObjectStore, manifest: Manifest) -> Draft:
    def produce(_: OutputWriter) -> None:
        raise CheckpointNotFoundError(
            f"{manifest.recipe.config['model']!r} cannot be fetched, and its copy in the store "
            f"{store.url!r} is incomplete. Connect to the network, or set DINO_MODEL_ID to a folder with "
            "its files."
        )

    return Draft(manifest.recipe, produce)


def _config(model: str, revision: str | None) -> dict[str, str]:
    # The commit is part of the recipe's inputs, so only a branch or tag goes into the config.
    is_named = revision not in (None, MAIN) and not is_commit(str(revision))
    return {"model": model, **({"revision": str(revision)} if is_named else {})}


def checkpoint_folder(
    store: ObjectStore, manifest: Manifest, *, cache: Path, is_altered: bool = False
) -> Path:
    """Return a folder with the files of a ``weights`` manifest; the first call fetches them from the store.

    Fetched files are verified. With ``is_altered``, an existing folder is checked, and fetched again if its
    files have changed.

    Raises:
        CorruptObjectError: a file in the store differs from the committed one.
    """
    folder = cache / content_hash(manifest)[:32]
    if folder.is_dir() and not (is_altered and _is_altered(folder, manifest)):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Made under another name and renamed when whole. After a kill, `make clean` removes the rest.
    made = Path(mkdtemp(prefix=".making-", dir=cache))
    try:
        for part in manifest.parts:
            fetch_part(store, part, made / str(part.name))
        if is_altered:
            with suppress(OSError):  # another process may have removed it
                folder.rename(made.with_name(f"{made.name}-altered"))
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process may have been first, with equal files
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
