"""Lookup of a checkpoint by a model's name: in a directory, in a cache of the Hub, or on the Hub.

``api`` requests listings through huggingface_hub, ``transfer`` moves the bytes, ``places`` stores them.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dino_assets.errors import (
    CheckpointNotFoundError,
    ChecksumError,
    DinoAssetsError,
    DiskFullError,
    RevisionNotFoundError,
)
from dino_assets.settings.hub import resolve_hub
from dino_assets.settings.urls import expand_path, resolve_path
from dino_assets.store.folders import exchange_names
from dino_assets.weights.catalogue import full_name, short_names
from dino_assets.weights.hub.api import list_revision, make_file_fetcher
from dino_assets.weights.hub.filling import Exchange, FetchFile, Watch
from dino_assets.weights.hub.listings import RECORD, Record, is_commit, read_record
from dino_assets.weights.hub.places import Destination, RepoCache, TargetFolder
from dino_assets.weights.hub.transfer import Interrupted, TransferRetries

log = logging.getLogger(__name__)

MAIN = "main"
NO_WATCH = Watch()


@dataclass(frozen=True)
class Located:
    """A checkpoint that was found, possibly before any byte of it is on this machine.

    ``repo`` and ``commit`` are None for a directory that did not come from the Hub. ``bring`` fetches and
    verifies missing files, and returns the directory. ``is_current`` is False if the Hub could not be asked
    which commit a branch has now.
    """

    model: str
    repo: str | None
    commit: str | None
    bring: Callable[[], Path]
    is_current: bool = True


def locate_checkpoint(
    model: str,
    *,
    root: Path,
    revision: str | None = None,
    into: Path | None = None,
    may_download: bool = True,
    watch: Watch = NO_WATCH,
    retries: TransferRetries | None = None,
    exchange: Exchange = exchange_names,
) -> Located:
    """Locate the checkpoint ``model``: a directory below ``root``, else a Hub repository.

    ``revision`` is a branch, a tag or a commit. A commit that is on this machine needs no request; a branch
    or tag needs one. Fetched files go to the cache, or to the folder ``into``. With ``into``, ``model`` is
    always taken as a repository.

    Raises:
        CheckpointNotFoundError: ``model`` is not a directory and cannot be fetched from the Hub. The
            subclasses (AuthenticationError, RepositoryNotFoundError, …) say why.
        InvalidCheckpointError: the repository has no weights that are safe to load.
    """
    folder = resolve_path(root / expand_path(model))
    if into is None and folder.is_dir():
        return locate_directory(model, folder, revision)
    repo = full_name(model)
    if into is None and (repo.startswith((".", "/", "~")) or repo.count("/") != 1):
        raise CheckpointNotFoundError(
            f"there is no checkpoint directory {model!r}. Name a directory with config.json, "
            "preprocessor_config.json and model.safetensors, a Hub repository such as "
            f"facebook/dinov2-base, or one of {', '.join(short_names())}."
        )
    hub = resolve_hub(root)
    cache = RepoCache.of(repo, hub)
    place: Destination = cache
    if into is not None:
        place = TargetFolder(resolve_path(expand_path(into)), cache, str(into), exchange)
        with _explained(repo, place):
            place.restore()
    revision = revision or MAIN
    reason = "HF_HUB_OFFLINE is set" if hub.is_offline else ""
    may_pass = False
    if may_download and not hub.is_offline:
        retries = retries or TransferRetries()
        record = place.recall(revision) if is_commit(revision) else None
        try:
            if record is None or not record.is_listed:
                record = Record(list_revision(repo, revision, hub=hub, retries=retries), revision)
            fetch = make_file_fetcher(record.listing, hub=hub, retries=retries)
            bring = partial(_bring, record, place, fetch, watch)
            return Located(repo, repo, record.listing.commit, bring)
        except Interrupted as err:
            reason, may_pass = err.reason, not err.is_unreachable
    # Without the Hub: local files are verified as usual, and a target folder is filled from the cache.
    record = place.recall(revision)
    with _explained(repo, place):
        local = place.find(record.listing) if record else None
        if record and not local and cache.find(record.listing):
            local = place.fill(record, _refuse_to_fetch, watch)
    if record is None or local is None:
        raise _out_of_reach(repo, reason, may_pass=may_pass)
    if may_download and not hub.is_offline:
        log.warning("the Hub is out of reach (%s): using the last fetched %s", reason, repo)
    return Located(repo, repo, record.listing.commit, lambda: local, is_current=is_commit(revision))


def locate_directory(model: str, folder: Path, revision: str | None = None) -> Located:
    """Locate a checkpoint's directory, and verify its files if it has a record of them.

    Raises:
        ChecksumError: the files differ from the record.
        RevisionNotFoundError: the directory has no record that it is this revision.
    """
    record = read_record(folder / RECORD)
    if record and (damaged := record.listing.find_damage(folder)):
        origin = record.listing.repo if record.is_of_hub else "the import"
        raise ChecksumError(
            f"{model!r}: {damaged} from {origin}. Fetch or import the checkpoint again; if the change is "
            f"intended, remove {RECORD} from the folder."
        )
    fetched = record if record and record.is_of_hub else None
    if revision and (not fetched or revision not in (fetched.listing.commit, fetched.revision)):
        raise RevisionNotFoundError(
            f"{model!r} is a directory without a record that it is revision {revision!r}. Leave the "
            f"revision out, or give a Hub repository."
        )
    if fetched is None:
        return Located(model, None, None, lambda: folder)
    return Located(model, fetched.listing.repo, fetched.listing.commit, lambda: folder)


def _bring(record: Record, place: Destination, fetch: FetchFile, watch: Watch) -> Path:
    with _explained(record.listing.repo, place):
        folder = place.find(record.listing) or place.fill(record, fetch, watch)
    try:
        place.remember(record)
    except OSError as err:
        # The files are whole, but the disk is full or read-only: the next run needs one more request.
        log.warning(
            "%s: the files are complete, but their commit could not be recorded on the disk (%s); the "
            "next run "
            "asks the Hub again",
            record.listing.repo,
            err.strerror,
        )
    return folder


@contextlib.contextmanager
def _explained(repo: str, place: Destination) -> Iterator[None]:
    try:
        yield
        return
    except DinoAssetsError:
        raise
    except OSError as err:
        number = err.errno or 0
    if number in (errno.ENOSPC, errno.EDQUOT):
        raise DiskFullError(
            f"no space left {place.where}. Free some space and run again: the transfer continues where it "
            "stopped."
        )
    raise CheckpointNotFoundError(
        f"{repo!r} cannot be written {place.where}: {os.strerror(number)}. Name another folder; if it is "
        "the cache, set HF_HOME to a folder that can be written."
    )


def _out_of_reach(model: str, reason: str, *, may_pass: bool) -> CheckpointNotFoundError:
    from dino_assets.weights.hub.errors import LocalEntryNotFoundError

    where = "available from the Hugging Face Hub" if reason else "in the Hub cache"
    again = "run again" if reason else "run `dino-assets fetch`"
    return LocalEntryNotFoundError(
        f"{model!r} is neither a directory on this machine nor {where}{f' ({reason})' if reason else ''}. "
        f"Connect to the Hub, or to a mirror with HF_ENDPOINT, and {again}; or copy the checkpoint's files "
        "into a folder and set DINO_MODEL_ID to that folder.",
        problem=reason,
        may_pass=may_pass,
    )


def _refuse_to_fetch(*_: object) -> None:
    raise AssertionError("the cache has just been verified as whole")
