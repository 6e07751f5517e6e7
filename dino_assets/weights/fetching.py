"""A checkpoint of the Hub in a folder that somebody named, valid as every later reader will find it."""

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
    """Have ``folder`` hold a checkpoint of the Hub, whole; what is there and whole is not fetched.

    A checkpoint that was imported into the folder is kept if it is of the published shape: whoever
    was refused access by the Hub has no other.

    Raises:
        CheckpointNotFoundError: it cannot be had; the subclasses say why.
        InvalidCheckpointError: what the repository holds is no checkpoint of ours.
        ConfigError: the folder holds something else, which would be lost.
        DiskFullError: there is no room, said before the first byte is asked for.
    """
    repo = full_name(model)
    whole = folder.absolute()
    own = _find_own(whole)
    if own is not None and own.imported_from and _is_as_published(own, repo, folder):
        log.warning("%s: imported from %s, kept", folder, own.imported_from)
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
        log.warning("%s: kept as it is, and not compared with what was published: %s", folder, err)
        return own
    if seen:
        return of_commit(seen[-1], located)  # hashed a moment ago
    return read_located(replace(located, model=str(folder)), whole)


def check_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder as every later reader does, and compare its hashes where they are known.

    Raises:
        CheckpointError: it is not there, not whole, or not what it was.
    """
    whole = folder.absolute()
    if not whole.is_dir():
        raise CheckpointNotFoundError(f"there is no checkpoint directory {str(folder)!r}")
    return read_located(locate_directory(str(folder), whole), whole)


def _find_own(folder: Path) -> Checkpoint | None:
    """A whole checkpoint that we did not fetch: imported, or put there by hand."""
    record = read_record(folder / RECORD)
    if record and record.is_of_hub:
        return None
    try:
        return check_checkpoint(folder)
    except (CheckpointError, OSError):  # broken or closed to us: the fetch will say what it is
        return None


def _is_as_published(own: Checkpoint, repo: str, folder: Path) -> bool:
    """Tell whether a checkpoint can be what a repository holds; False where nobody knows.

    Raises:
        ConfigError: it is another model.
    """
    published = PUBLISHED.get(repo)
    if published is None:
        return False
    shape = (own.family, own.dim, own.layers, own.heads)
    published_shape = (published.family, published.dim, published.layers, published.heads)
    # A mask token or a key's bias of zeros may be there or not; another MLP is a third more.
    is_near = abs(own.parameters / published.parameters - 1) < 0.01
    if shape == published_shape and is_near:
        return True
    raise ConfigError(
        f"{str(folder)!r} holds a {own.family} with {own.dim} dims, {own.layers} layers and "
        f"{own.parameters:,} parameters; {repo!r} is a {published.family} with "
        f"{published.dim}, {published.layers} and {published.parameters:,}. It was left alone: name "
        "another folder.",
        setting="folder",
        value=str(folder),
    )


def read_located(located: Located, folder: Path) -> Checkpoint:
    """What the directory holds, and the commit that it is, where one is known."""
    checkpoint = read_checkpoint(folder, model=located.model, published_as=located.repo)
    return of_commit(checkpoint, located)


def of_commit(checkpoint: Checkpoint, located: Located) -> Checkpoint:
    """The same checkpoint, under the commit that it is, where one is known."""
    if located.commit is None:
        return checkpoint
    return replace(checkpoint, revision=located.commit, repo=located.repo, commit=located.commit)
