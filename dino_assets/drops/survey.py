"""Survey of an inbox: runs to start, state for the next survey, notes for the operator.

Every survey starts from the current inbox, manifests and runs, and not from what an earlier survey did.
``Memory`` only holds since when each folder is unchanged, which folder was listed last, and which runs were
reported. If it is lost, runs only start later, by one settle time (``arrivals.SETTLE_S``).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dino_assets.counting import count_of
from dino_assets.drops.arrivals import (
    Arrival,
    FolderState,
    Launch,
    PastRuns,
    UnchangedSince,
    count_files,
    explain_hold,
    explain_incomplete,
    explain_wait,
    is_unchanged,
    list_arrivals,
    plan_launch,
    read_folder_state,
)
from dino_assets.drops.finished import (
    Remembered,
    Stamps,
    find_done_drops,
    has_all_outputs,
    list_stamps,
)
from dino_assets.drops.late import LateFiles, LateWatch
from dino_assets.drops.registering import register_drop
from dino_assets.errors import ConfigError, DropError, SourceError, StoreAccessError
from dino_assets.store.commits.digests import collecting_later
from dino_assets.store.objects import ObjectStore

# Dagster aborts an evaluation after 60 s. The rest is for a slow listing that has begun.
BUDGET_S = 40.0
# A full inbox must not fill the queue before a person can notice that the first run failed.
MAX_LAUNCHES = 10
# The UI shows a tick's text in one paragraph, which must stay readable.
MAX_NOTES = 20
MAX_NOTE_CHARS = 300
_HAS_RUN = "its run has not ended yet"


class FolderReader(Protocol):
    """Function that lists one folder, like ``arrivals.read_folder_state``."""

    def __call__(self, source: str, *, root: Path) -> FolderState:
        """List the folder and summarise its files."""
        ...


class Runs(Protocol):
    """Dagster's runs; ``in_flight`` names the drops whose run has not ended."""

    in_flight: frozenset[str]

    def past(self, drop: str, content: str) -> PastRuns:
        """Return the outcome of a drop's earlier runs on the files with the hash ``content``."""
        ...


@dataclass(frozen=True)
class Memory:
    """State that one survey leaves for the next."""

    unchanged: Mapping[str, UnchangedSince] = field(default_factory=dict)
    after: str = ""  # the folder that was listed last
    # Folders whose files a check rejected, and the run that was reported for it.
    reported: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, text: str | None) -> "Memory":
        """Read the state from JSON; anything invalid is ignored."""
        try:
            body = json.loads(text or "{}")
            unchanged = {
                folder: UnchangedSince(content, float(since_s))
                for folder, (content, since_s) in body.get("seen", {}).items()
                if isinstance(content, str) and math.isfinite(since_s)
            }
            after = body.get("after", "")
            reported = {
                folder: run
                for folder, run in body.get("reported", {}).items()
                if isinstance(run, str)
            }
            return cls(unchanged, after if isinstance(after, str) else "", reported)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()

    def dump(self) -> str:
        """Write the state as ASCII JSON; undecodable names are kept."""
        unchanged = {
            folder: [s.content, round(s.since_s, 3)] for folder, s in self.unchanged.items()
        }
        body = {"after": self.after, "seen": unchanged}
        body |= {"reported": dict(self.reported)} if self.reported else {}
        return json.dumps(body, sort_keys=True)


@dataclass(frozen=True)
class Note:
    """A sentence about one folder; notes that need a person are shown first."""

    folder: str
    sentence: str
    needs_person: bool = False

    def __str__(self) -> str:
        """One printable line of limited length, because names and errors come from outside."""
        shown = self.folder if self.folder.isprintable() else repr(self.folder)
        text = " ".join(f"{shown}: {self.sentence}".split())
        return text if len(text) <= MAX_NOTE_CHARS else f"{text[: MAX_NOTE_CHARS - 1]}…"


@dataclass(frozen=True)
class Survey:
    """Result of a survey: runs to launch, notes, and state for the next survey.

    ``finished``, ``retired`` and ``stopped`` are drops. ``stopped`` are the drops whose files a check
    rejected, if an earlier survey has already reported that. ``left`` counts folders that were not reached.
    ``late`` lists finished drops with new photographs.
    """

    launches: tuple[Launch, ...]
    finished: frozenset[str]
    notes: tuple[Note, ...]
    left: int
    memory: Memory
    retired: frozenset[str] = frozenset()
    late: tuple[LateFiles, ...] = ()
    stopped: frozenset[str] = frozenset()

    def describe(self) -> str:
        """Describe the survey for an operator."""
        without_note = len(self.finished) + len(self.retired) + len(self.stopped)
        total = without_note + len(self.notes) + self.left
        if not total:
            return "The inbox is empty: no folder has arrived yet."
        notes = [*self.notes, *(Note(late.folder, late.describe(), True) for late in self.late)]
        shown = sorted(notes, key=lambda note: not note.needs_person)[:MAX_NOTES]
        sentences = [str(note) for note in shown]
        if len(notes) > len(shown):
            sentences.append(count_of(len(notes) - len(shown), "further note"))
        if self.left:
            sentences.append(
                f"{count_of(self.left, 'folder')} not listed yet, the next survey begins there"
            )
        counts = f"{count_of(total, 'drop')}, {len(self.finished)} finished"
        if self.retired:
            counts += f", {len(self.retired)} retired"
        if self.stopped:
            counts += (
                f", {len(self.stopped)} stopped by a check (`dino-assets drops list` shows why)"
            )
        return f"{counts}: {'; '.join(sentences)}." if sentences else f"{counts}."


def survey_inbox(
    store: ObjectStore,
    inbox: str,
    *,
    root: Path,
    runs: Runs,
    memory: Memory,
    remembered: Remembered,
    late_watch: LateWatch,
    clock: Callable[[], float],
    read_state: FolderReader = read_folder_state,
    max_launches: int = MAX_LAUNCHES,
) -> Survey:
    """Examine the inbox's drops that are not finished, retired or running; register those that need a run.

    In the remaining time, ``late_watch`` looks for new photographs in finished drops. Such photographs start
    no run.

    ``runs.in_flight`` must be read before this function lists manifests. A run that ends in between then
    counts as running, not as ended without a result.

    Raises:
        SourceError: the inbox does not exist.
        StoreError: the inbox's bucket or the store cannot be reached; a later survey continues.
    """
    started_s = clock()
    with collecting_later():
        stamps = list_stamps(store)
        registered = [name for name, keys in stamps.items() if f"drops/{name}.json" in keys]
        arrivals, refused = list_arrivals(inbox, root=root, registered=registered)
        sources = {arrival.drop: arrival.source for arrival in arrivals}
        done = find_done_drops(store, stamps, sources, remembered=remembered)
    finished, retired = done.finished, frozenset(done.retired)
    waiting = [a for a in arrivals if a.drop not in finished and a.drop not in retired]
    unchanged = {
        a.folder: memory.unchanged[a.folder] for a in waiting if a.folder in memory.unchanged
    }
    notes = [Note(folder, why, needs_person=True) for folder, why in refused.items()]
    reported = {a.folder: memory.reported[a.folder] for a in waiting if a.folder in memory.reported}
    stopped: set[str] = set()
    launches: list[Launch] = []
    left, last = 0, ""
    # Start after the folder that was listed last, so that a slow or full inbox reaches every folder.
    for arrival in sorted(waiting, key=lambda a: (a.folder <= memory.after, a.folder)):
        if arrival.drop in runs.in_flight:
            notes.append(Note(arrival.folder, _HAS_RUN))
            continue
        is_over_budget = last and clock() - started_s >= BUDGET_S
        if len(launches) >= max_launches or is_over_budget:
            left += 1
            continue
        last = arrival.folder
        earlier = unchanged.pop(arrival.folder, None)
        keys = stamps.get(arrival.drop, {})
        outcome = _examine(
            store,
            arrival,
            root,
            read_state=read_state,
            earlier=earlier,
            runs=runs,
            keys=keys,
            now_s=clock(),
        )
        if outcome.is_finished:
            finished.add(arrival.drop)
            continue
        if outcome.stopped_run and outcome.stopped_run == reported.get(arrival.folder):
            stopped.add(arrival.drop)
        else:
            notes.append(Note(arrival.folder, outcome.sentence, outcome.needs_person))
        reported |= {arrival.folder: outcome.stopped_run} if outcome.stopped_run else {}
        unchanged |= {arrival.folder: outcome.unchanged} if outcome.unchanged else {}
        launches += [outcome.launch] if outcome.launch else []
    late: tuple[LateFiles, ...] = ()
    if clock() - started_s < BUDGET_S:
        without_run = [a for a in arrivals if a.drop in finished and a.drop not in runs.in_flight]
        late = late_watch.find_late(store, without_run, stamps, root=root, clock=clock)
    next_memory = Memory(unchanged, last or memory.after, reported)
    return Survey(
        tuple(launches),
        frozenset(finished),
        tuple(notes),
        left,
        next_memory,
        retired,
        late,
        frozenset(stopped),
    )


@dataclass(frozen=True)
class _Outcome:
    """Result of examining one folder."""

    sentence: str = ""
    needs_person: bool = False
    launch: Launch | None = None
    unchanged: UnchangedSince | None = None
    is_finished: bool = False
    stopped_run: str = ""  # the run whose check rejected the files


def _examine(
    store: ObjectStore,
    arrival: Arrival,
    root: Path,
    *,
    read_state: FolderReader,
    earlier: UnchangedSince | None,
    runs: Runs,
    keys: Stamps,
    now_s: float,
) -> _Outcome:
    try:
        state = read_state(arrival.source, root=root)
    except (SourceError, ConfigError, StoreAccessError) as err:
        return _Outcome(str(err), needs_person=True, unchanged=earlier)
    has_stayed = earlier is not None and is_unchanged(state, earlier, now_s=now_s)
    unchanged = earlier if has_stayed else UnchangedSince(state.content, now_s)
    if why := explain_incomplete(state, earlier, now_s=now_s):
        return _Outcome(why, unchanged=unchanged)
    past = runs.past(arrival.drop, state.content)
    if past.is_running:
        return _Outcome(_HAS_RUN, unchanged=unchanged)
    if past.is_retrying:
        return _Outcome("Dagster is about to start its crashed run again", unchanged=unchanged)
    # If outputs of exactly these files exist, only the record is old, and earlier runs do not matter.
    is_finished = has_all_outputs(store, state.fingerprint, keys)
    why = None if is_finished else explain_hold(past)
    if why:
        stopped_run = past.last if past.blocked and not past.cancelled else ""
        return _Outcome(why, needs_person=True, unchanged=unchanged, stopped_run=stopped_run)
    if not is_finished and (why := explain_wait(past, now_s=now_s)):
        return _Outcome(why, unchanged=unchanged)
    try:
        drop, _ = register_drop(store, arrival.folder, source=arrival.source, root=root)
    except (SourceError, DropError) as err:
        return _Outcome(str(err), needs_person=True, unchanged=unchanged)
    if drop.fingerprint != state.fingerprint:
        return _Outcome(
            "still arriving (changed while it was being registered)", unchanged=unchanged
        )
    if is_finished:
        return _Outcome(is_finished=True)
    launch = plan_launch(arrival.drop, state.content, past)
    sentence = f"run requested ({count_files(state)}, attempt {launch.attempt})"
    return _Outcome(sentence, launch=launch, unchanged=unchanged)
