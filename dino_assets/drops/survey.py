"""All folders of an inbox at once: what to start, what to remember, what to tell the operator.

Level-triggered: every survey starts from the inbox, the manifests and the runs, never from what an
earlier one did. ``Memory`` only tells since when a folder has looked the same, and whose turn it is;
losing it costs one more settle time.
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
    Seen,
    count_files,
    has_kept,
    judge_launches,
    judge_look,
    judge_runs,
    list_arrivals,
    look_at,
    plan_launch,
)
from dino_assets.drops.finished import Remembered, Stamps, find_settled, is_made, list_stamps
from dino_assets.drops.late import LateFiles, LateWatch
from dino_assets.drops.registering import register_drop
from dino_assets.errors import ConfigError, DropError, SourceError, StoreAccessError
from dino_assets.store.objects import ObjectStore

# Dagster gives up an evaluation after 60 s; one slow listing must still fit in.
BUDGET_S = 40.0
# A full inbox must not fill the queue before a person can see the first run fail.
MAX_LAUNCHES = 10
# The UI shows a tick's text in one paragraph.
MAX_NOTES = 20
MAX_NOTE_CHARS = 300


class LookAt(Protocol):
    """How one folder is listed: ``arrivals.look_at``."""

    def __call__(self, source: str, *, root: Path) -> FolderState:
        """What the folder looks like now."""
        ...


class Runs(Protocol):
    """What the orchestrator knows about runs."""

    in_flight: frozenset[str]

    def past(self, drop: str, content: str) -> PastRuns:
        """Runs that are over: those for this content, and any that is about to be retried."""
        ...


@dataclass(frozen=True)
class Memory:
    """What one survey tells the next."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    after: str = ""  # the folder that was looked at last
    # Folders whose files a check has judged unfit, and the run of which that was said.
    reported: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, text: str | None) -> "Memory":
        """Read it back; whatever is not ours is forgotten."""
        try:
            body = json.loads(text or "{}")
            seen = {
                folder: Seen(content, float(since_s))
                for folder, (content, since_s) in body.get("seen", {}).items()
                if isinstance(content, str) and math.isfinite(since_s)
            }
            after = body.get("after", "")
            reported = {
                folder: run
                for folder, run in body.get("reported", {}).items()
                if isinstance(run, str)
            }
            return cls(seen, after if isinstance(after, str) else "", reported)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()

    def dump(self) -> str:
        """As JSON in ASCII, undecodable names included."""
        seen = {folder: [s.content, round(s.since_s, 3)] for folder, s in self.seen.items()}
        body = {"after": self.after, "seen": seen}
        body |= {"reported": dict(self.reported)} if self.reported else {}
        return json.dumps(body, sort_keys=True)


@dataclass(frozen=True)
class Note:
    """A sentence about one folder; those that need a person are shown first."""

    folder: str
    sentence: str
    needs_person: bool = False

    def __str__(self) -> str:
        """Printable on one line, and bounded: names and errors come from outside."""
        shown = self.folder if self.folder.isprintable() else repr(self.folder)
        text = " ".join(f"{shown}: {self.sentence}".split())
        return text if len(text) <= MAX_NOTE_CHARS else f"{text[: MAX_NOTE_CHARS - 1]}…"


@dataclass(frozen=True)
class Survey:
    """What there is to do, to say and to remember. ``finished`` and ``retired`` are drops, ``left`` a count.

    ``late`` are those of the finished drops that photographs came to afterwards.
    ``stopped`` are those whose files a check has judged unfit, which was said by an earlier survey.
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
        """What an operator wants to read about this survey."""
        silent = len(self.finished) + len(self.retired) + len(self.stopped)
        total = silent + len(self.notes) + self.left
        if not total:
            return "The inbox is empty: no folder has arrived yet."
        notes = [*self.notes, *(Note(late.folder, late.describe(), True) for late in self.late)]
        shown = sorted(notes, key=lambda note: not note.needs_person)[:MAX_NOTES]
        sentences = [str(note) for note in shown]
        if len(notes) > len(shown):
            sentences.append(f"{len(notes) - len(shown)} more")
        if self.left:
            sentences.append(f"{self.left} not looked at yet, their turn is next")
        counts = f"{count_of(total, 'drop')}, {len(self.finished)} finished"
        if self.retired:
            counts += f", {len(self.retired)} retired"
        if self.stopped:
            counts += (
                f", {len(self.stopped)} stopped by a check (`dino-assets drops list` says why)"
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
    look: LookAt = look_at,
    max_launches: int = MAX_LAUNCHES,
) -> Survey:
    """Look at every drop that is neither finished nor in flight; register those that need a run.

    ``late_watch`` looks at finished ones with the time that is left: nothing is run for what it sees.

    ``runs.in_flight`` must be asked for before this lists manifests: a run that ends in between then
    counts as running, not as gone without a result.

    Raises:
        SourceError: there is no inbox.
        StoreError: the inbox's bucket or the store cannot be reached; a later survey does the rest.
    """
    started_s = clock()
    stamps = list_stamps(store)
    registered = [name for name, keys in stamps.items() if f"drops/{name}.json" in keys]
    arrivals, refused = list_arrivals(inbox, root=root, registered=registered)
    sources = {arrival.drop: arrival.source for arrival in arrivals}
    settled = find_settled(store, stamps, sources, remembered=remembered)
    finished, retired = settled.finished, frozenset(settled.retired)
    waiting = [a for a in arrivals if a.drop not in finished and a.drop not in retired]
    seen = {a.folder: memory.seen[a.folder] for a in waiting if a.folder in memory.seen}
    notes = [Note(folder, why, needs_person=True) for folder, why in refused.items()]
    reported = {a.folder: memory.reported[a.folder] for a in waiting if a.folder in memory.reported}
    stopped: set[str] = set()
    launches: list[Launch] = []
    left, last = 0, ""
    # From the one after the last that was looked at: a slow or full inbox gets round to everyone.
    for arrival in sorted(waiting, key=lambda a: (a.folder <= memory.after, a.folder)):
        if arrival.drop in runs.in_flight:
            notes.append(Note(arrival.folder, "a run is in flight"))
            continue
        is_late = last and clock() - started_s >= BUDGET_S
        if len(launches) >= max_launches or is_late:
            left += 1
            continue
        last = arrival.folder
        earlier = seen.pop(arrival.folder, None)
        keys = stamps.get(arrival.drop, {})
        outcome = _examine(
            store, arrival, root, look_at=look, earlier=earlier, runs=runs, keys=keys, now_s=clock()
        )
        if outcome.is_finished:
            finished.add(arrival.drop)
            continue
        if outcome.stopped_run and outcome.stopped_run == reported.get(arrival.folder):
            stopped.add(arrival.drop)
        else:
            notes.append(Note(arrival.folder, outcome.sentence, outcome.needs_person))
        reported |= {arrival.folder: outcome.stopped_run} if outcome.stopped_run else {}
        seen |= {arrival.folder: outcome.seen} if outcome.seen else {}
        launches += [outcome.launch] if outcome.launch else []
    late: tuple[LateFiles, ...] = ()
    if clock() - started_s < BUDGET_S:
        resting = [a for a in arrivals if a.drop in finished and a.drop not in runs.in_flight]
        late = late_watch.look(store, resting, stamps, root=root, clock=clock)
    remember = Memory(seen, last or memory.after, reported)
    return Survey(
        tuple(launches),
        frozenset(finished),
        tuple(notes),
        left,
        remember,
        retired,
        late,
        frozenset(stopped),
    )


@dataclass(frozen=True)
class _Outcome:
    """What looking at one folder came to."""

    sentence: str = ""
    needs_person: bool = False
    launch: Launch | None = None
    seen: Seen | None = None
    is_finished: bool = False
    stopped_run: str = ""  # the one whose check says that the files are unfit


def _examine(
    store: ObjectStore,
    arrival: Arrival,
    root: Path,
    *,
    look_at: LookAt,
    earlier: Seen | None,
    runs: Runs,
    keys: Stamps,
    now_s: float,
) -> _Outcome:
    try:
        look = look_at(arrival.source, root=root)
    except (SourceError, ConfigError, StoreAccessError) as err:
        return _Outcome(str(err), needs_person=True, seen=earlier)
    has_stayed = earlier is not None and has_kept(look, earlier, now_s=now_s)
    seen = earlier if has_stayed else Seen(look.content, now_s)
    if why := judge_look(look, earlier, now_s=now_s):
        return _Outcome(why, seen=seen)
    past = runs.past(arrival.drop, look.content)
    if past.is_retrying:
        return _Outcome("Dagster is about to start its crashed run again", seen=seen)
    # Made of these very files already: its record alone is old, whatever became of the runs.
    is_finished = is_made(store, look.fingerprint, keys)
    why = None if is_finished else judge_runs(past)
    if why:
        stopped_run = past.last if past.blocked and not past.cancelled else ""
        return _Outcome(why, needs_person=True, seen=seen, stopped_run=stopped_run)
    if not is_finished and (why := judge_launches(past, now_s=now_s)):
        return _Outcome(why, seen=seen)
    try:
        drop, _ = register_drop(store, arrival.folder, source=arrival.source, root=root)
    except (SourceError, DropError) as err:
        return _Outcome(str(err), needs_person=True, seen=seen)
    if drop.fingerprint != look.fingerprint:
        return _Outcome("still arriving (changed while it was being registered)", seen=seen)
    if is_finished:
        return _Outcome(is_finished=True)
    launch = plan_launch(arrival.drop, look.content, past)
    sentence = f"run requested ({count_files(look)}, attempt {launch.attempt})"
    return _Outcome(sentence, launch=launch, seen=seen)
