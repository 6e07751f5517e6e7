"""Answers as the page sends them: checked, and completed with the tile that they are about."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from dino_assets.labels.records import Answer, AnswerKind, Target, Window, is_name
from dino_assets.labels.stage.answers import check_class, check_person
from dino_assets.serving.studio.answer_book import AnswerBook
from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.serving.studio.tile_lookup import ShownTile, TileLookup, TileName

MAX_ANSWERS = 20_000  # of one request: a lasso
_CLIENT_ID = re.compile(r"[0-9a-f]{16}")
_OLDEST = timedelta(days=90)  # an answer may wait in a browser that was offline
_MOST_SECONDS = 3600.0
_SOURCE = "studio"


def make_answers(
    body: object, lookup: TileLookup, book: AnswerBook, *, now: datetime
) -> list[Answer]:
    """Make the answers of a request.

    An answer's id is made of the time at which the person gave it and the id that the client gave to this answer. So
    a request that is sent again makes the same ids. A time that cannot be right is replaced by ``now``.

    Raises:
        StudioProblem: the request is not as expected, or names a tile that does not exist.
        ConfigError: a class or a person cannot be a name.
    """
    if not isinstance(body, Mapping):
        raise _refuse(f"the body is {body!r:.100}; expected an object with `by` and `answers`")
    by = check_person(_read(body, "by", str))
    entries = _read(body, "answers", list)
    if not 0 < len(entries) <= MAX_ANSWERS:
        raise _refuse(f"{len(entries)} answers were sent; expected 1 to {MAX_ANSWERS:,}")
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise _refuse(f"an answer is {entry!r:.100}; expected an object")
    tiles = _find_tiles(entries, lookup)
    find_earlier = book.find_by_client
    answers = []
    for entry in entries:
        answer = _make_answer(entry, by, tiles, find_earlier, now=now)
        if answer.kind == "settle":
            answer = replace(answer, target=_find_disputed(entry, book))
        answers.append(answer)
    return answers


def _make_answer(
    entry: Mapping[str, Any],
    by: str,
    tiles: Mapping[TileName, ShownTile],
    find_earlier: Callable[[str, str], Answer | None],
    *,
    now: datetime,
) -> Answer:
    client_id, kind = _read(entry, "id", str), _read(entry, "kind", str)
    if not _CLIENT_ID.fullmatch(client_id):
        raise _refuse(f"id is {client_id!r}; expected 16 hexadecimal digits")
    if kind not in get_args(AnswerKind):
        raise _refuse(f"kind is {kind!r}; expected one of {', '.join(get_args(AnswerKind))}")
    at = _read_time(entry.get("at"), now)
    answer = Answer(
        answer_id=f"{int(at.timestamp() * 1000):012x}-{client_id}",
        kind=kind,
        by=by,
        at=at,
        source=_SOURCE,
        round=_read_word(entry, "round"),
        seconds=_read_seconds(entry.get("seconds")),
        suggested=_read_word(entry, "suggested"),
    )
    if kind == "undo":
        undone = find_earlier(by, _read(entry, "undoes", str))
        if undone is None:
            raise StudioProblem(409, "nothing-to-undo", f"{by} gave no answer of this id")
        return replace(answer, undoes=undone.answer_id)
    if kind in ("label", "settle"):
        answer = replace(answer, class_name=check_class(_read(entry, "class", str)))
    if kind == "settle":
        return answer
    name = TileName(_read(entry, "drop", str), _read(entry, "tile_id", str))
    return replace(answer, target=_make_target(entry, tiles[name]))


def _make_target(entry: Mapping[str, Any], tile: ShownTile) -> Target:
    level = entry.get("level", "tile")
    if level == "tile":
        return tile.as_target()
    whole = Window(0, 0, tile.width, tile.height)
    target = replace(tile.as_target(), tile_id=None, level="image", window=whole)
    if level == "image":
        return target
    if level != "box":
        raise _refuse(f"level is {level!r}; expected tile, image or box")
    return replace(target, level="box", window=_read_box(entry.get("window"), whole))


def _read_box(value: object, whole: Window) -> Window:
    """Read a box, cut at the edges of the photograph."""
    if not (
        isinstance(value, Sequence)
        and len(value) == 4
        and all(type(each) is int and abs(each) < 2**31 for each in value)  # not True
    ):
        raise _refuse(
            f"window is {value!r:.100}; expected [x, y, width, height] in whole pixels of the photograph"
        )
    x, y, w, h = value
    left, top = max(0, x), max(0, y)
    right, bottom = min(whole.w, x + w), min(whole.h, y + h)
    if right <= left or bottom <= top:
        raise _refuse(f"box {x},{y},{w},{h} has no pixel of the photograph of {whole.w}×{whole.h}")
    return Window(left, top, right - left, bottom - top)


def _find_tiles(
    entries: Sequence[Mapping[str, Any]], lookup: TileLookup
) -> dict[TileName, ShownTile]:
    names = [
        TileName(_read(entry, "drop", str), _read(entry, "tile_id", str))
        for entry in entries
        if entry.get("kind") in ("label", "skip")
    ]
    return dict(zip(names, lookup.find(names), strict=True))


def _find_disputed(entry: Mapping[str, Any], book: AnswerBook) -> Target:
    conflict = book.find_conflict(_read(entry, "target", str))
    if conflict is None:
        raise StudioProblem(
            409,
            "no-disagreement",
            "people agree about this now; load the list of disagreements again",
        )
    return conflict.target


def _read_time(value: object, now: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(str(value)).astimezone(UTC)
    except (ValueError, OverflowError):
        return now
    return at if now - _OLDEST < at < now + timedelta(minutes=1) else now


def _read_seconds(value: object) -> float | None:
    if isinstance(value, (int, float)) and 0 < value <= _MOST_SECONDS:
        return round(float(value), 3)
    return None


def _read_word(entry: Mapping[str, Any], name: str) -> str | None:
    value = entry.get(name)
    return value if isinstance(value, str) and is_name(value, 200) else None


def _read(entry: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind):
        raise _refuse(f"{name} is {value!r:.100}; expected {kind.__name__}")
    return value


def _refuse(detail: str) -> StudioProblem:
    return StudioProblem(422, "unexpected-answer", detail)
