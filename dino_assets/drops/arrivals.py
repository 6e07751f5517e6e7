"""One folder of an inbox: which drop it is, whether it is complete, whether a run may be started."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dino_assets.counting import count_of
from dino_assets.drops.cards import is_photo_name
from dino_assets.drops.naming import END_CHARS, end_of_names, is_drop_name
from dino_assets.drops.records import SourceEntry
from dino_assets.drops.registry import pick_name
from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import fingerprint
from dino_assets.errors import InvalidDropNameError, SourceError, StoreError
from dino_assets.settings.records import BRIEF_LIMITS, RequestLimits
from dino_assets.store.objects import ObjectStore

# Put last by who copies: the drop is complete, whatever the clock says.
MARKER = "_SUCCESS"
# Copies pause: rsync between files, a card reader for seconds, an upload from the field for longer.
SETTLE_S = 60.0
# What failed three times fails for a reason that a fourth run does not take away.
MAX_ATTEMPTS = 3
# A launch that became no run says nothing about the drop: it is made again for ever, but ever more seldom.
FIRST_LAUNCH_WAIT_S, MAX_LAUNCH_WAIT_S = 30.0, 900.0


@dataclass(frozen=True)
class Arrival:
    """A folder of the inbox, the drop that it is, and where registering would say that it lies."""

    folder: str
    drop: str
    source: str


@dataclass(frozen=True)
class FolderState:
    """What a folder looks like now. ``content`` leaves the marker out, ``fingerprint`` does not."""

    files: int
    photos: int
    has_marker: bool
    fingerprint: str
    content: str
    bytes: int = 0


@dataclass(frozen=True)
class Seen:
    """Since when a folder has had this content."""

    content: str
    since_s: float


@dataclass(frozen=True)
class PastRuns:
    """What became of the runs for one content of a drop; ``ended`` ones started and did not finish it."""

    ended: int = 0
    unstarted: int = 0  # launches since the last of them that became no run: a code server was away
    unstarted_s: float = 0.0  # when the last of these ended
    last: str = ""
    cancelled: str = ""  # the last one that somebody cancelled
    blocked: str = ""  # why a check stopped the last one: the same content fails it again
    is_retrying: bool = False  # Dagster is about to start a crashed one again
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Launch:
    """One run to request."""

    drop: str
    content: str
    attempt: int
    number: int  # of all launches for this content, those included that became no run

    @property
    def run_key(self) -> str:
        """Drop, content and number: a key is used up for ever, by a failed run too."""
        return f"{self.drop}:{self.content}:{self.number}"


# --- listing and looking --------------------------------------------------------------------


def list_arrivals(
    inbox: str,
    *,
    root: Path,
    limits: RequestLimits = BRIEF_LIMITS,
    registered: Collection[str] = (),
) -> tuple[list[Arrival], dict[str, str]]:
    """The inbox's folders, sorted, and why some cannot be drops. Hidden ones and links are left out.

    A folder whose drop is ``registered`` keeps the name that it has.

    Raises:
        SourceError: there is no inbox, or it cannot be listed.
        StoreError: its bucket cannot be reached.
    """
    arrivals: list[Arrival] = []
    refused: dict[str, str] = {}
    alike: dict[str, list[str]] = {}  # by the end that the name of a folder is found by
    for name in registered:
        alike.setdefault(name[-END_CHARS:], []).append(name)
    place = inbox if "://" in inbox else str((root / Path(inbox).expanduser()).resolve())
    place = place.rstrip("/")
    for folder in sorted(_list_folders(inbox, root, limits)):
        if folder.startswith("."):
            continue
        ends = () if is_drop_name(folder) else end_of_names(folder)
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
            f"the inbox {inbox!r} is a file; a folder of folders is expected",
            reason="is-a-file",
            path=inbox,
        )
    try:
        with os.scandir(os.fsencode(source.folder)) as scan:
            return [os.fsdecode(i.name) for i in scan if i.is_dir(follow_symlinks=False)]
    except OSError as err:
        raise SourceError(
            f"the inbox {inbox!r} cannot be listed: {err.strerror}", reason="unlistable", path=inbox
        ) from err


def _list_prefixes(store: ObjectStore, inbox: str) -> Sequence[str]:
    try:
        return store.list_folders()
    except StoreError as err:
        # A missing bucket is a missing inbox, and one key that obstore cannot read (`a//b`) hides
        # all others; everything else is an outage.
        if err.reason not in ("no-bucket", "odd-key"):
            raise
        raise SourceError(
            f"the inbox {inbox!r} cannot be listed: {err}", reason=err.reason, path=inbox
        ) from err


def look_at(source: str, *, root: Path, limits: RequestLimits = BRIEF_LIMITS) -> FolderState:
    """List one folder.

    Raises:
        SourceError: it cannot be listed.
        ConfigError: a bucket's folder of this name has no address.
        StoreError: its bucket refuses.
    """
    return describe_entries(open_source(source, root=root, limits=limits).entries())


def describe_entries(entries: Sequence[SourceEntry]) -> FolderState:
    """Say what a listing looks like."""
    rest = [entry for entry in entries if entry.path != MARKER]
    return FolderState(
        files=len(rest),
        photos=sum(not e.refusal and is_photo_name(e.path) for e in rest),
        has_marker=any(e.path == MARKER and not e.refusal for e in entries),
        fingerprint=fingerprint(entries),
        content=fingerprint(rest)[:16],
        bytes=sum(entry.size for entry in rest),
    )


# --- judging --------------------------------------------------------------------------------


def judge_look(
    look: FolderState, seen: Seen | None, *, now_s: float, settle_s: float = SETTLE_S
) -> str | None:
    """Why a folder is not complete, or None when it is; ``seen`` is what an earlier look found."""
    counts = count_files(look)
    if not look.photos:
        return f"no photograph yet ({counts})"
    if look.has_marker:
        return None
    if seen is None or not has_kept(look, seen, now_s=now_s):
        return f"still arriving ({counts}, new or changed since the last look)"
    age_s = now_s - seen.since_s
    if age_s < settle_s:
        return f"still arriving ({counts}, unchanged for {age_s:.0f} of {settle_s:.0f} s)"
    return None


def has_kept(look: FolderState, seen: Seen, *, now_s: float) -> bool:
    """Tell whether a folder is as it was; one seen in the future was seen by a clock that was wrong."""
    return seen.content == look.content and seen.since_s <= now_s


def judge_runs(past: PastRuns) -> str | None:
    """Why a person must look at a complete drop instead of a run being started, or None."""
    if past.cancelled:
        return (
            f"run {past.cancelled[:8]} was cancelled, so it is not started again: launch ingest by hand "
            "when it is wanted"
        )
    if past.blocked:
        return (
            f"a person must look: a check stopped run {past.last[:8]}: {past.blocked}. Mend the folder, or "
            "launch ingest by hand"
        )
    if past.ended >= MAX_ATTEMPTS:
        return (
            f"a person must look: {past.ended} runs did not finish it, the last is {past.last[:8]}. "
            "Mend the folder, or launch ingest by hand"
        )
    return None


def judge_launches(past: PastRuns, *, now_s: float) -> str | None:
    """Why the next launch waits a while after launches that became no run, or None when it is due."""
    if not past.unstarted:
        return None
    wait_s = min(MAX_LAUNCH_WAIT_S, FIRST_LAUNCH_WAIT_S * 2 ** min(past.unstarted - 1, 10))
    age_s = now_s - past.unstarted_s
    if not 0 <= age_s < wait_s:  # of the future: a clock was wrong
        return None
    return (
        f"{count_of(past.unstarted, 'launch', 'launches')} did not become a run, which counts as no attempt; "
        f"the next one in {wait_s - age_s:.0f} s"
    )


def plan_launch(drop: str, content: str, past: PastRuns) -> Launch:
    """The next attempt, under a key that no run has: runs may be gone from the history."""
    launch = Launch(drop, content, past.ended + 1, past.ended + 1)
    while launch.run_key in past.keys:
        launch = replace(launch, number=launch.number + 1)
    return launch


def count_files(look: FolderState) -> str:
    """A look's size in words."""
    return count_of(look.files, "file")
