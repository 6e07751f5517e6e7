"""Fetching of a checkpoint from the Hub into a given folder, and validation of checkpoint folders."""

import logging
from dataclasses import replace
from pathlib import Path

from dino_assets.errors import (
    AuthenticationError,
    CheckpointError,
    CheckpointNotFoundError,
    ConfigError,
    LocalEntryNotFoundError,
)
from dino_assets.weights.architecture import check_config
from dino_assets.weights.catalogue import PUBLISHED, full_name
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.hub.filling import Progress, Watch
from dino_assets.weights.hub.listings import RECORD, read_record
from dino_assets.weights.hub.locating import Located, locate_checkpoint, locate_directory
from dino_assets.weights.hub.transfer import TransferRetries
from dino_assets.weights.records import Checkpoint

log = logging.getLogger(__name__)


def fetch_checkpoint(
    model: str,
    folder: Path,
    *,
    root: Path,
    revision: str | None = None,
    progress: Progress = lambda done, total: None,
    retries: TransferRetries | None = None,
) -> Checkpoint:
    """Fetch a checkpoint from the Hub into ``folder``; files that are already complete there are kept.

    A user without access on the Hub has no other copy of an imported checkpoint. So it is kept if it has the family,
    dimensions, layers and heads of the published model, and about as many parameters.

    Raises:
        CheckpointNotFoundError: the checkpoint cannot be fetched; the subclasses say why.
        InvalidCheckpointError: the repository holds no supported checkpoint.
        ConfigError: the folder holds another model or other files, which would be lost.
        DiskFullError: the disk has too little space; checked before the first request.
    """
    repo = full_name(model)
    whole = folder.absolute()
    own = _find_own(whole)
    if own is not None and own.imported_from and _is_as_published(own, repo, folder):
        log.warning(
            "%s: keeping the imported checkpoint (%s); nothing was fetched",
            folder,
            own.imported_from,
        )
        return own
    seen: list[Checkpoint] = []
    watch = Watch(
        progress,
        check_early=lambda new: check_config(new, repo),
        check=lambda new: seen.append(read_checkpoint(new, model=str(folder), published_as=repo)),
    )
    try:
        located = locate_checkpoint(
            model, root=root, revision=revision, into=folder, watch=watch, retries=retries
        )
        located.bring()
    except (LocalEntryNotFoundError, AuthenticationError) as err:
        if own is None or not _is_as_published(own, repo, folder):
            raise
        log.warning(
            "%s: keeping this checkpoint; it could not be compared with the Hub: %s", folder, err
        )
        return own
    if seen:
        return of_commit(seen[-1], located)  # just hashed
    return read_located(replace(located, model=str(folder)), whole)


def check_checkpoint(folder: Path) -> Checkpoint:
    """Validate a checkpoint folder and describe it.

    If the folder has a record of its files (``.dino-assets.json``), the files' hashes are compared with the
    record.

    Raises:
        CheckpointError: the folder is missing, incomplete or changed.
    """
    whole = folder.absolute()
    if not whole.is_dir():
        raise CheckpointNotFoundError(
            f"there is no checkpoint directory {str(folder)!r}. Check the path."
        )
    return read_located(locate_directory(str(folder), whole), whole)


def _find_own(folder: Path) -> Checkpoint | None:
    """Find a whole checkpoint in the folder that was imported or copied there by hand, not fetched.

    Return None if the folder was fetched from the Hub, or holds no whole checkpoint.
    """
    record = read_record(folder / RECORD)
    if record and record.is_of_hub:
        return None
    try:
        return check_checkpoint(folder)
    except (CheckpointError, OSError):  # broken or unreadable: the fetch reports it
        return None


def _is_as_published(own: Checkpoint, repo: str, folder: Path) -> bool:
    """Check whether a checkpoint has the sizes of the model in ``repo``; False if those sizes are not known.

    Raises:
        ConfigError: the checkpoint is another model.
    """
    published = PUBLISHED.get(repo)
    if published is None:
        return False
    shape = (own.family, own.dim, own.layers, own.heads)
    published_shape = (published.family, published.dim, published.layers, published.heads)
    # A mask token or a zero bias of the keys is optional; another kind of MLP differs by a third.
    is_near = abs(own.parameters / published.parameters - 1) < 0.01
    if shape == published_shape and is_near:
        return True
    raise ConfigError(
        f"{str(folder)!r} holds a {own.family} with {own.dim} dims, {own.layers} layers and "
        f"{own.parameters:,} parameters; {repo!r} is a {published.family} with "
        f"{published.dim}, {published.layers} and {published.parameters:,}. Nothing was changed. Name "
        "another folder.",
        setting="folder",
        value=str(folder),
    )


def read_located(located: Located, folder: Path) -> Checkpoint:
    """Validate a located directory and describe it, with repository and commit if they are known."""
    checkpoint = read_checkpoint(folder, model=located.model, published_as=located.repo)
    return of_commit(checkpoint, located)


def of_commit(checkpoint: Checkpoint, located: Located) -> Checkpoint:
    """Add the repository and commit of ``located`` to a checkpoint's record, if the commit is known."""
    if located.commit is None:
        return checkpoint
    return replace(checkpoint, revision=located.commit, repo=located.repo, commit=located.commit)
