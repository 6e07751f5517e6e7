"""Merging of answers: the last counts, people agree or disagree, boxes of two persons meet."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dino_assets.labels.merging import SAME_BOX_IOU, measure_overlap, merge_answers
from dino_assets.labels.records import Answer, AnswerKind, Target, Window

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def answer(
    number: int,
    class_name: str | None = "smoke",
    *,
    by: str = "anna",
    kind: AnswerKind = "label",
    tile: str = "t1",
    box: Window | None = None,
    undoes: int | None = None,
) -> Answer:
    window = box or Window(0, 0, 518, 518)
    level = "box" if box else "tile"
    target = Target(level, "a", "ab" * 32, "p.jpg", window, None if box else tile)
    return Answer(
        f"{number:012x}",
        kind,
        by,
        BEGIN + timedelta(seconds=number),
        "studio",
        None if kind == "undo" else target,
        class_name if kind in ("label", "settle") else None,
        undoes=None if undoes is None else f"{undoes:012x}",
    )


def classes(*answers: Answer) -> dict[str, str]:
    merged = merge_answers(answers)
    return {str(label.tile_id): label.class_name for label in merged.labels}


def test_merge_answers__last_answer_of_a_person_counts():
    assert classes(answer(1, "smoke"), answer(2, "fog")) == {"t1": "fog"}


def test_merge_answers__skip_takes_the_class_away():
    assert classes(answer(1), answer(2, kind="skip")) == {}


def test_merge_answers__undo_brings_back_the_answer_before():
    answers = [answer(1, "smoke"), answer(2, "fog"), answer(3, kind="undo", undoes=2)]
    assert classes(*answers) == {"t1": "smoke"}
    assert classes(*answers, answer(4, kind="undo", undoes=3)) == {"t1": "fog"}


def test_merge_answers__nobody_undoes_the_answer_of_another():
    assert classes(answer(1), answer(2, by="ben", kind="undo", undoes=1)) == {"t1": "smoke"}


def test_merge_answers__people_who_agree_are_counted():
    (label,) = merge_answers([answer(1), answer(2, by="ben")]).labels
    assert (label.people, label.by, label.is_settled) == (2, "anna", False)


def test_merge_answers__several_classes_are_a_conflict_until_one_is_settled():
    answers = [answer(1, "smoke"), answer(2, "fog", by="ben")]
    merged = merge_answers(answers)
    assert merged.labels == ()
    assert [c.classes for c in merged.conflicts] == [{"fog": ("ben",), "smoke": ("anna",)}]
    settled = [*answers, answer(3, "fog", by="carl", kind="settle")]
    (label,) = merge_answers(settled).labels
    assert (label.class_name, label.is_settled, label.by) == ("fog", True, "carl")
    reopened = merge_answers([*settled, answer(4, "smoke", by="ben")])
    assert (len(reopened.labels), len(reopened.conflicts)) == (0, 1)


def test_merge_answers__boxes_of_two_persons_are_one_thing_if_they_overlap():
    own, near, far = Window(0, 0, 100, 100), Window(4, 4, 100, 100), Window(300, 0, 100, 100)
    merged = merge_answers([answer(1, box=own), answer(2, box=near, by="ben"), answer(3, box=far)])
    assert [(label.window, label.people) for label in merged.labels] == [(own, 2), (far, 1)]


def test_merge_answers__boxes_of_one_person_stay_apart():
    boxes = [Window(0, 0, 100, 100), Window(4, 4, 100, 100)]
    merged = merge_answers([answer(n, box=box) for n, box in enumerate(boxes)])
    assert len(merged.labels) == 2


SIDES = st.integers(1, 40)
BOXES = st.builds(Window, st.integers(0, 12), st.integers(0, 3), SIDES, SIDES)


@given(BOXES, BOXES, st.lists(BOXES, max_size=4))
def test_merge_answers__boxes_are_joined_wherever_they_are(own, other, others):
    apart = [answer(9 + n, box=replace(box, x=box.x + 500)) for n, box in enumerate(others)]
    merged = merge_answers([answer(1, box=own), answer(2, box=other, by="ben"), *apart])
    is_one = measure_overlap(own, other) >= SAME_BOX_IOU
    assert sum(label.people == 2 for label in merged.labels) == is_one


def test_merge_answers__box_with_another_class_is_a_conflict():
    box = Window(0, 0, 100, 100)
    merged = merge_answers([answer(1, box=box), answer(2, "fog", box=box, by="ben")])
    assert (len(merged.labels), len(merged.conflicts)) == (0, 1)


@given(st.randoms(), st.lists(st.sampled_from(["smoke", "fog", None]), min_size=1, max_size=12))
def test_merge_answers__order_of_reading_does_not_matter(dice, names):
    answers = [
        answer(n, name, by=f"p{n % 3}", tile=f"t{n % 2}", kind="label" if name else "skip")
        for n, name in enumerate(names)
    ]
    mixed = list(answers)
    dice.shuffle(mixed)
    assert merge_answers(mixed) == merge_answers(answers)


def test_measure_overlap__is_the_common_share_of_both():
    assert measure_overlap(Window(0, 0, 10, 10), Window(5, 0, 10, 10)) == 50 / 150
    assert measure_overlap(Window(0, 0, 10, 10), Window(10, 0, 10, 10)) == 0


def test_merge_answers__one_word_in_two_spellings_is_one_class():
    # macOS writes the umlaut in names of folders as two characters.
    merged = merge_answers([answer(1, "Su\u0308d"), answer(2, "S\u00fcd", by="ben")])
    (label,) = merged.labels
    assert (label.class_name, label.people, merged.conflicts) == ("S\u00fcd", 2, ())
