"""Arrival of one inbox folder: its drop, whether it is complete, and whether a run may start."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dino_assets.counting import count_of
from dino_assets.drops.cards import is_photo_name
from dino_assets.drops.naming import END_CHARS, is_drop_name, list_name_ends
from dino_assets.drops.records import SourceEntry
from dino_assets.drops.registry import pick_name
from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import fingerprint
from dino_assets.errors import InvalidDropNameError, SourceError, StoreError
from dino_assets.settings.records import BRIEF_LIMITS, RequestLimits
from dino_assets.store.objects import ObjectStore

# The copying program writes this file last. If it is there, the drop is complete without a settle time.
MARKER = "_SUCCESS"
# A folder without that file is complete after this time without a change. Copying may pause: rsync between
# files, a card reader for seconds, an upload over a slow network longer.
SETTLE_S = 60.0
# After three failures, a fourth run would fail for the same reason.
MAX_ATTEMPTS = 3
# A launch that became no run says nothing about the drop. It is repeated without limit, and the waits grow.
FIRST_LAUNCH_WAIT_S, MAX_LAUNCH_WAIT_S = 30.0, 900.0


@dataclass(frozen=True)
class Arrival:
    """A folder of the inbox, its drop's name, and the source address to register."""

    folder: str
    drop: str
    source: str


@dataclass(frozen=True)
class FolderState:
    """Summary of a folder's listing: counts, and two hashes of the listed files.

    ``fingerprint`` is the hash of all files, ``content`` the hash of all but the marker file.
    """

    files: int
    photos: int
    has_marker: bool
    fingerprint: str
    content: str
    bytes: int = 0


@dataclass(frozen=True)
class UnchangedSince:
    """A folder's content, and the time since which it has been unchanged."""

    content: str
    since_s: float


@dataclass(frozen=True)
class PastRuns:
    """Outcome of a drop's earlier runs on the same files.

    ``ended`` counts runs that started and did not finish the drop.
    """

    ended: int = 0
    unstarted: int = 0  # later launches that became no run, because a code server was unreachable
    unstarted_s: float = 0.0  # when the last of these launches ended
    last: str = ""
    cancelled: str = ""  # the last run that a person cancelled
    blocked: str = ""  # why a check stopped the last run; it would stop the same files again
    is_running: bool = False  # a run of the drop, on any files, has not ended
    is_retrying: bool = False  # Dagster is about to start a crashed run again
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Launch:
    """One run to request from Dagster."""

    drop: str
    content: str
    attempt: int
    number: int  # counts all launches for this content, also the ones that became no run

    @property
    def run_key(self) -> str:
        """The run's key in Dagster, made of drop, content and number.

        Dagster accepts a key only once, even if its run failed.
        """
        return f"{self.drop}:{self.content}:{self.number}"


def list_arrivals(
    inbox: str,
    *,
    root: Path,
    limits: RequestLimits = BRIEF_LIMITS,
    registered: Collection[str] = (),
) -> tuple[list[Arrival], dict[str, str]]:
    """List the inbox's folders as drops, sorted; also map each folder that cannot be a drop to the reason.

    Hidden folders and links are left out. A folder whose drop is among the ``registered`` names keeps that
    name.

    Raises:
        SourceError: the inbox does not exist, or it cannot be listed.
        StoreError: the inbox's bucket cannot be reached.
    """
    arrivals: list[Arrival] = []
    refused: dict[str, str] = {}
    alike: dict[str, list[str]] = {}  # registered names by their last characters, a hash
    for name in registered:
        alike.setdefault(name[-END_CHARS:], []).append(name)
    place = inbox if "://" in inbox else str((root / Path(inbox).expanduser()).resolve())
    place = place.rstrip("/")
    for folder in sorted(_list_folders(inbox, root, limits)):
        if folder.startswith("."):
            continue
        ends = () if is_drop_name(folder) else list_name_ends(folder)
        try:
            name = pick_name(folder, [name for end in ends for name in alike.get(end, ())])
        except InvalidDropNameError as err:
            refused[folder] = str(err)
            continue
        arrivals.append(Arrival(folder, name, f"{place}/{folder}"))
    return arrivals, refused


def _list_folders(inbox: str, root: Path, limits: RequestLimits) -> Sequence[str]:
    source = open_source(inbox, root=root, limits=limits)
    if isinstance(source, BucketSource):
        return _list_prefixes(source.store, inbox)
    if not isinstance(source, FolderSource):
        raise SourceError(
            f"the inbox {inbox!r} is a file; expected a folder with one subfolder per drop",
            reason="is-a-file",
            path=inbox,
        )
    try:
        with os.scandir(os.fsencode(source.folder)) as scan:
            return [os.fsdecode(i.name) for i in scan if i.is_dir(follow_symlinks=False)]
    except OSError as err:
        raise SourceError(
            f"the inbox {inbox!r} cannot be listed: {err.strerror}. Check that this folder can be read",
            reason="unlistable",
            path=inbox,
        ) from err


def _list_prefixes(store: ObjectStore, inbox: str) -> Sequence[str]:
    try:
        return store.list_folders()
    except StoreError as err:
        # A missing bucket is a missing inbox. With one key that it cannot read (`a//b`), obstore lists
        # nothing at all. Every other error means that the bucket cannot be reached.
        if err.reason not in ("no-bucket", "odd-key"):
            raise
        raise SourceError(
            f"the inbox {inbox!r} cannot be listed: {err}", reason=err.reason, path=inbox
        ) from err


def read_folder_state(
    source: str, *, root: Path, limits: RequestLimits = BRIEF_LIMITS
) -> FolderState:
    """List one folder and summarise its files.

    Raises:
        SourceError: the folder cannot be listed.
        ConfigError: the folder's name cannot be part of a bucket address.
        StoreError: the bucket refuses the request.
    """
    return summarise_entries(open_source(source, root=root, limits=limits).entries())


def summarise_entries(entries: Sequence[SourceEntry]) -> FolderState:
    """Summarise a listing: counts, bytes, marker and fingerprints."""
    rest = [entry for entry in entries if entry.path != MARKER]
    return FolderState(
        files=len(rest),
        photos=sum(not e.refusal and is_photo_name(e.path) for e in rest),
        has_marker=any(e.path == MARKER and not e.refusal for e in entries),
        fingerprint=fingerprint(entries),
        content=fingerprint(rest)[:16],
        bytes=sum(entry.size for entry in rest),
    )


def explain_incomplete(
    state: FolderState, earlier: UnchangedSince | None, *, now_s: float, settle_s: float = SETTLE_S
) -> str | None:
    """Return why a folder is not complete, or None if it is; ``earlier`` is what an earlier survey saw."""
    counts = count_files(state)
    if not state.photos:
        return f"no photograph yet ({counts})"
    if state.has_marker:
        return None
    if earlier is None or not is_unchanged(state, earlier, now_s=now_s):
        return f"still arriving ({counts}, new or changed since the last survey)"
    age_s = now_s - earlier.since_s
    if age_s < settle_s:
        return f"still arriving ({counts}, unchanged for {age_s:.0f} of {settle_s:.0f} s)"
    return None


def is_unchanged(state: FolderState, earlier: UnchangedSince, *, now_s: float) -> bool:
    """Check whether a folder has the same files as ``earlier``.

    Return False if ``earlier`` lies in the future: then a clock was wrong.
    """
    return earlier.content == state.content and earlier.since_s <= now_s


def explain_hold(past: PastRuns) -> str | None:
    """Return why a person must look at a complete drop before a run starts, or None if a run may start."""
    if past.cancelled:
        return (
            f"run {past.cancelled[:8]} was cancelled, so no new run is started. To continue, launch the job "
            "ingest by hand"
        )
    if past.blocked:
        return (
            f"a person must look: a check stopped run {past.last[:8]}: {past.blocked}. Correct the folder, "
            "or launch the job ingest by hand"
        )
    if past.ended >= MAX_ATTEMPTS:
        return (
            f"a person must look: {past.ended} runs did not finish it, the last is {past.last[:8]}. "
            "Correct the folder, or launch the job ingest by hand"
        )
    return None


def explain_wait(past: PastRuns, *, now_s: float) -> str | None:
    """Return why the next launch must wait, or None if it may start now.

    It waits only if the last launches did not become runs.
    """
    if not past.unstarted:
        return None
    wait_s = min(MAX_LAUNCH_WAIT_S, FIRST_LAUNCH_WAIT_S * 2 ** min(past.unstarted - 1, 10))
    age_s = now_s - past.unstarted_s
    if not 0 <= age_s < wait_s:  # a negative age means that a clock was wrong
        return None
    return (
        f"{count_of(past.unstarted, 'launch', 'launches')} did not become a run, which does not count as an "
        f"attempt; the next launch is in {wait_s - age_s:.0f} s"
    )


def plan_launch(drop: str, content: str, past: PastRuns) -> Launch:
    """Plan the next run of a drop, under a run key that no known run has used.

    The number of earlier runs alone may give a used key, because some runs may be missing from the history.
    """
    launch = Launch(drop, content, past.ended + 1, past.ended + 1)
    while launch.run_key in past.keys:
        launch = replace(launch, number=launch.number + 1)
    return launch


def count_files(state: FolderState) -> str:
    """Describe the number of files, such as ``12 files``."""
    return count_of(state.files, "file")
