"""Answers in the store: one immutable sealed object for each answer, or for all answers of an import.

Their keys are ``answers/<person>/<id of the first answer>.json``. Thousands of them are read from a digest (see
``store/commits/digests``), and only new ones from their objects.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dino_assets.drops.naming import make_drop_name
from dino_assets.errors import ConfigError, CorruptObjectError
from dino_assets.labels.records import (
    MAX_CLASS_CHARS,
    MAX_PERSON_CHARS,
    Answer,
    Target,
    Window,
    is_name,
)
from dino_assets.store.commits.digests import list_objects, read_digested
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import corrupt, seal, unseal
from dino_assets.store.objects import ObjectStore

ANSWERS = "answers/"


@dataclass(frozen=True)
class StoredAnswers:
    """The answers of one object, and the sha256 of its bytes."""

    key: str
    sha256: str
    answers: tuple[Answer, ...]


def make_answer_id(at: datetime) -> str:
    """Make an id that sorts by time and that no other answer has."""
    return f"{int(at.timestamp() * 1000):012x}-{secrets.token_hex(8)}"


def check_class(name: str) -> str:
    """Return the name of a class without blanks around it.

    Raises:
        ConfigError: it is empty, too long, or has characters that cannot be printed.
    """
    return _check_word(name, "class", MAX_CLASS_CHARS)


def check_person(name: str) -> str:
    """Return the name of a person without blanks around it.

    Raises:
        ConfigError: it is empty, too long, or has characters that cannot be printed.
    """
    return _check_word(name, "person", MAX_PERSON_CHARS)


def put_answers(store: ObjectStore, answers: Sequence[Answer]) -> str:
    """Put the answers of one person as one object; return its key once it is durable.

    Raises:
        ConfigError: a class or person cannot be a name, or the answers are of several persons.
        StoreError: the store failed; none of the answers exists.
    """
    people = {check_person(answer.by) for answer in answers}
    if len(people) != 1:
        message = (
            f"answers of {len(people)} persons were given as one object, expected those of one"
        )
        raise ConfigError(message, setting="by", value=sorted(people))
    for answer in answers:
        if answer.class_name is not None:
            check_class(answer.class_name)
    key = f"{ANSWERS}{name_folder(answers[0].by)}/{answers[0].answer_id}.json"
    store.put(key, seal({"answers": [_dump(answer) for answer in answers]}), is_lasting=True)
    return key


def read_answers(store: ObjectStore, *, without: Collection[str] = ()) -> Iterator[StoredAnswers]:
    """Read all answers, by person and time; objects with a key in ``without`` are left out.

    Raises:
        CorruptObjectError: an object is damaged; its answers are not dropped silently.
    """
    units = {info.key: [info] for info in list_objects(store, ANSWERS)}
    wanted = [key for key in units if key not in without]
    values = read_digested(store, "answers", units, _read, wanted=wanted)
    for key in sorted(values):
        if isinstance(values[key], CorruptObjectError):
            raise values[key]
        sha256, answers = values[key]
        yield StoredAnswers(key, sha256, tuple(_load(fields) for fields in answers))


def count_objects(store: ObjectStore) -> int:
    """Count the objects with answers; none is read."""
    return len(list_objects(store, ANSWERS))


def name_folder(person: str) -> str:
    """Name the folder of a person's answers."""
    if any(char.isalnum() for char in person) and not {"/", "\\"} & set(person):
        return make_drop_name(person)
    return f"person-{hashlib.sha256(person.encode()).hexdigest()[:8]}"


def _read(store: ObjectStore, key: str) -> list[Any]:
    """Read the sha256 of an object and the fields of its answers."""

    def read() -> list[Any]:
        data = store.get(key)
        body = unseal(data, store=store.url, key=key)
        try:
            for fields in body["answers"]:
                _load(fields)
        except (LookupError, TypeError, ValueError) as err:
            raise corrupt(
                store=store.url, key=key, fault=f"an answer cannot be read ({err!r})"
            ) from err
        return [hashlib.sha256(data).hexdigest(), body["answers"]]

    return read_again(read)


def _dump(answer: Answer) -> dict[str, Any]:
    fields = {key: value for key, value in asdict(answer).items() if value is not None}
    return fields | {"at": answer.at.astimezone(UTC).isoformat(timespec="milliseconds")}


def _load(fields: dict[str, Any]) -> Answer:
    target = fields.get("target")
    if target is not None:
        target = Target(**target | {"window": Window(**target["window"])})
    at = datetime.fromisoformat(fields["at"])
    return Answer(**fields | {"target": target, "at": at})


def _check_word(name: str, what: str, most: int) -> str:
    word = name.strip()
    if is_name(word, most):
        return word
    raise ConfigError(
        f"{name!r} cannot be the name of a {what}: expected 1 to {most} printable characters",
        setting=what,
        value=name,
    )
