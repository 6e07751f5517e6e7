"""All answers of a store in memory, with what follows from them; answers of other studios are read later."""

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dino_assets.labels.merging import MergedLabels, merge_answers
from dino_assets.labels.records import Answer, Conflict, Label
from dino_assets.labels.stage.answers import put_answers, read_answers
from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.store.objects import ObjectStore

REFRESH_S = 5.0
_PACE_ANSWERS = 50  # of the last ones, so that the pace follows the person and the round


@dataclass(frozen=True)
class Pace:
    """How fast a person answers: the median seconds of the last answers, and how many were measured."""

    seconds: float | None
    measured: int


class AnswerBook:
    """The answers of everybody. ``put`` returns when an answer is durable in the store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._keys: set[str] = set()
        self._answers: dict[str, Answer] = {}
        self._of_client: dict[tuple[str, str], Answer] = {}
        self._merged: tuple[int, MergedLabels, dict[str, Label]] | None = None
        self._read_at: float | None = None

    def refresh(self) -> None:
        """Read the answers that other programs added, at most every few seconds.

        Raises:
            CorruptObjectError: a stored answer is damaged.
            StoreError: the store cannot be read.
        """
        with self._lock:
            now = time.monotonic()
            if self._read_at is not None and now - self._read_at < REFRESH_S:
                return
            for stored in read_answers(self._store, without=self._keys):
                self._add(stored.key, stored.answers)
            self._read_at = time.monotonic()

    def put(self, answers: Sequence[Answer]) -> list[Answer]:
        """Store answers that are not stored yet; return all as they are stored.

        An answer of the same person with the same client's id is the same answer: a client that does not know
        whether its request arrived sends it again.

        Raises:
            ConfigError: a class or person cannot be a name.
            StudioProblem: an id belongs to another answer, which is stored; 409. Nothing was stored.
            StoreError: nothing was stored.
        """
        with self._lock:
            for answer in answers:
                self._check_id(answer)
            once = {name_of_client(answer): answer for answer in answers}
            new = [answer for name, answer in once.items() if name not in self._of_client]
            if new:
                key = put_answers(self._store, new)
                self._add(key, new)
            return [self._of_client[name_of_client(answer)] for answer in answers]

    def _check_id(self, answer: Answer) -> None:
        stored = self._of_client.get(name_of_client(answer))
        if stored is not None and _list_content(stored) != _list_content(answer):
            raise StudioProblem(
                409,
                "id-in-use",
                f"the id {name_of_client(answer)[1]!r} belongs to another answer of {answer.by!r}, which is stored: give "
                "each answer an id of its own",
            )

    def find_by_client(self, by: str, client_id: str) -> Answer | None:
        """Find a person's answer by the id that the client gave it."""
        return self._of_client.get((by, client_id))

    @property
    def merged(self) -> MergedLabels:
        """The labels and conflicts that follow from all answers."""
        return self._merge()[0]

    @property
    def label_by_key(self) -> dict[str, Label]:
        """The labels, by the key of the tile, box or photograph that has the label."""
        return self._merge()[1]

    def list_counting(self, by: str | None = None) -> list[Answer]:
        """List the answers that count, of one person or of all, oldest first."""
        merged = self.merged
        with self._lock:
            chosen = [self._answers[each] for each in merged.counting if each in self._answers]
        if by is not None:
            chosen = [answer for answer in chosen if answer.by == by]
        return sorted(chosen, key=lambda answer: answer.answer_id)

    def measure_pace(self, by: str) -> Pace:
        """Measure how fast a person answers."""
        with self._lock:
            timed = [
                (answer.answer_id, answer.seconds)
                for answer in self._answers.values()
                if answer.by == by and answer.seconds is not None
            ]
        last = [seconds for _, seconds in sorted(timed)[-_PACE_ANSWERS:]]
        return Pace(statistics.median(last) if last else None, len(last))

    def count_people(self) -> dict[str, int]:
        """Count the answers of each person that count."""
        counts: dict[str, int] = defaultdict(int)
        for answer in self.list_counting():
            counts[answer.by] += 1
        return dict(sorted(counts.items()))

    def count_classes(self) -> dict[str, int]:
        """Count the counting answers of each class, also of classes on which people disagree."""
        counts: dict[str, int] = defaultdict(int)
        for answer in self.list_counting():
            if answer.class_name is not None and answer.kind != "skip":
                counts[answer.class_name] += 1
        return dict(sorted(counts.items()))

    def find_conflict(self, key: str) -> Conflict | None:
        """Find the conflict about a target, by the target's key."""
        return next((each for each in self.merged.conflicts if each.target.key == key), None)

    def _merge(self) -> tuple[MergedLabels, dict[str, Label]]:
        with self._lock:
            if self._merged is None or self._merged[0] != len(self._answers):
                merged = merge_answers(self._answers.values())
                self._merged = (len(self._answers), merged, _index(merged.labels))
            return self._merged[1], self._merged[2]

    def _add(self, key: str, answers: Iterable[Answer]) -> None:
        self._keys.add(key)
        for answer in answers:
            self._answers[answer.answer_id] = answer
            self._of_client[name_of_client(answer)] = answer


def name_of_client(answer: Answer) -> tuple[str, str]:
    """Return the person of an answer, and the id that the client gave to it: the end of the answer's id."""
    return answer.by, answer.answer_id.rpartition("-")[2]


def _index(labels: Iterable[Label]) -> dict[str, Label]:
    by_key: dict[str, Label] = {}
    for label in labels:
        if label.level == "tile":
            by_key[f"tile/{label.tile_id}"] = label
        elif label.level == "image":
            by_key[f"image/{label.image_id}"] = label
    return by_key


def _list_content(answer: Answer) -> tuple[object, ...]:
    """List what the person said, without when and how long it took."""
    key = answer.target.key if answer.target else None
    return answer.kind, key, answer.class_name, answer.undoes
