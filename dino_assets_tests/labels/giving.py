"""Answers that tests give about tiles, photographs and boxes."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from dino_assets.labels.records import Answer, AnswerKind, Target, Window
from dino_assets.labels.stage.answers import make_answer_id, put_answers
from dino_assets.store.objects import ObjectStore

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def tile_target(tile_id: str, *, drop: str = "a", image_id: str = "ab" * 32) -> Target:
    return Target("tile", drop, image_id, "p.jpg", Window(0, 0, 518, 518), tile_id)


def give(
    target: Target, class_name: str | None, *, by: str = "anna", after_s: int = 0, **fields: object
) -> Answer:
    """Give an answer; one without a class is a skip."""
    at = BEGIN + timedelta(seconds=after_s)
    kind: AnswerKind = "label" if class_name else "skip"
    return Answer(make_answer_id(at), kind, by, at, "studio", target, class_name, **fields)  # type: ignore[arg-type]


def put_labels(
    store: ObjectStore, classes: Mapping[str, str], *, by: str = "anna", after_s: int = 0
) -> None:
    """Put one answer about each tile, as the studio does."""
    for number, (tile_id, class_name) in enumerate(sorted(classes.items())):
        target = tile_target(tile_id)
        put_answers(store, [give(target, class_name, by=by, after_s=after_s + number, seconds=2.0)])
