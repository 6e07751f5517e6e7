"""Merging of answers into labels and conflicts; a pure function of the answers, in any order."""

import unicodedata
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dino_assets.labels.records import Answer, Conflict, Label, Target, Window

SAME_BOX_IOU = 0.7  # boxes of two persons that overlap at least so much are one thing


@dataclass(frozen=True)
class MergedLabels:
    """Labels and conflicts, both sorted, and the ids of the answers that count."""

    labels: tuple[Label, ...]
    conflicts: tuple[Conflict, ...]
    counting: frozenset[str]


def merge_answers(answers: Iterable[Answer]) -> MergedLabels:
    """Merge the answers of all persons.

    Of each person the last answer about a target counts. Persons who give one class agree. Several classes are
    a conflict, and no label, until somebody settles it; an answer after that can open it again.
    """
    ordered = sorted(answers, key=lambda answer: answer.answer_id)
    owners = {answer.answer_id: answer.by for answer in ordered}
    undone = {
        answer.undoes
        for answer in _without_undone_undos(ordered)
        if answer.undoes is not None and owners.get(answer.undoes) == answer.by
    }
    latest: dict[str, dict[str, Answer]] = defaultdict(dict)
    for answer in ordered:
        if answer.target is not None and answer.kind != "undo" and answer.answer_id not in undone:
            latest[answer.target.key][answer.by] = answer
    labels: list[Label] = []
    conflicts: list[Conflict] = []
    counting: set[str] = set()
    for group in _group_boxes(latest):
        present = _list_present(group)
        counting |= {answer.answer_id for answer in group}
        classes = _list_classes(present)
        if len(classes) == 1:
            labels.append(_make_label(present))
        elif classes:
            conflicts.append(Conflict(_target_of(present[0]), classes))
    return MergedLabels(
        tuple(sorted(labels, key=lambda label: (label.drop, label.path, label.label_id))),
        tuple(sorted(conflicts, key=lambda conflict: conflict.target.key)),
        frozenset(counting),
    )


def measure_overlap(one: Window, other: Window) -> float:
    """Measure how much two windows overlap: the area of both over the area of either (IoU)."""
    width = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    height = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (one.w * one.h + other.w * other.h - both)


def _without_undone_undos(ordered: Sequence[Answer]) -> list[Answer]:
    """List the undo answers that are not taken back themselves; the last answer decides."""
    standing: list[Answer] = []
    undone: set[tuple[str | None, str]] = set()  # answer and person
    for answer in reversed(ordered):
        if answer.kind == "undo" and (answer.answer_id, answer.by) not in undone:
            standing.append(answer)
            undone.add((answer.undoes, answer.by))
    return standing


def _group_boxes(latest: Mapping[str, Mapping[str, Answer]]) -> list[list[Answer]]:
    """Group the answers of each target, oldest first; boxes that overlap are one target."""
    groups: list[list[Answer]] = []
    of_image: dict[str, list[list[Answer]]] = defaultdict(list)
    for by_person in latest.values():
        answers = sorted(by_person.values(), key=lambda answer: answer.answer_id)
        target = _target_of(answers[0])
        if target.level != "box":
            groups.append(answers)
            continue
        for answer in answers:
            of_image[target.image_id].append([answer])
    for boxes in of_image.values():
        groups += _join_overlapping(sorted(boxes, key=lambda group: group[0].answer_id))
    return groups


def _join_overlapping(boxes: Iterable[list[Answer]]) -> list[list[Answer]]:
    """Join boxes of different persons that show one thing; one person's boxes stay apart."""
    groups: list[list[Answer]] = []
    # Left edge and number of each group. A mosaic has thousands of boxes, and all pairs would take minutes.
    edges: list[tuple[int, int]] = []
    for box in boxes:
        (answer,) = box
        window = _target_of(answer).window
        # Boxes that overlap so much have left edges that are no farther apart.
        apart = window.w * (1 / SAME_BOX_IOU - 1) + 1
        first = bisect_left(edges, (window.x - apart, -1))
        last = bisect_left(edges, (window.x + apart, -1))
        near = [groups[number] for number in sorted(number for _, number in edges[first:last])]
        matches = [
            group
            for group in near
            if (answer.kind == "settle" or answer.by not in {each.by for each in group})
            and measure_overlap(_target_of(group[0]).window, window) >= SAME_BOX_IOU
        ]
        if matches:
            best = max(matches, key=lambda g: measure_overlap(_target_of(g[0]).window, window))
            best.append(answer)
        else:
            insort(edges, (window.x, len(groups)))
            groups.append(box)
    return groups


def _list_present(group: Sequence[Answer]) -> list[Answer]:
    """List the answers of a target that give a class; a settled class replaces all before it."""
    settled = [index for index, answer in enumerate(group) if answer.kind == "settle"]
    rest = group[settled[-1] :] if settled else group
    return [answer for answer in rest if answer.class_name is not None and answer.kind != "skip"]


def _list_classes(present: Sequence[Answer]) -> dict[str, tuple[str, ...]]:
    by_class: dict[str, list[str]] = defaultdict(list)
    for answer in present:
        by_class[_spell_class(answer)].append(answer.by)
    return {name: tuple(sorted(set(people))) for name, people in sorted(by_class.items())}


def _spell_class(answer: Answer) -> str:
    """Spell a class such that equal words are equal texts: macOS writes ``ü`` in names of folders as two characters."""
    return unicodedata.normalize("NFC", str(answer.class_name))


def _make_label(present: Sequence[Answer]) -> Label:
    first = present[0]  # the settling answer, or the first that gave the class
    target = _target_of(first)
    return Label(
        label_id=first.answer_id,
        level=target.level,
        drop=target.drop,
        image_id=target.image_id,
        path=target.path,
        tile_id=target.tile_id,
        x=target.window.x,
        y=target.window.y,
        w=target.window.w,
        h=target.window.h,
        class_name=_spell_class(first),
        by=first.by,
        at=first.at,
        source=first.source,
        round=first.round,
        seconds=first.seconds,
        people=len({answer.by for answer in present}),
        is_settled=first.kind == "settle",
    )


def _target_of(answer: Answer) -> Target:
    assert answer.target is not None
    return answer.target
