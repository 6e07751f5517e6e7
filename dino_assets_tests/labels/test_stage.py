"""Answers in the store, and the table of labels that follows from them."""

import io
import json

import pyarrow.parquet as pq
import pytest

from dino_assets.errors import ConfigError, CorruptObjectError, NotCommittedError
from dino_assets.labels.records import Answer, Target, Window
from dino_assets.labels.stage.answers import ANSWERS, make_answer_id, put_answers, read_answers
from dino_assets.labels.stage.drafting import OUTPUT, draft_labels
from dino_assets.labels.stage.reading import hash_labels, read_labels
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.labels.giving import BEGIN, give, put_labels, tile_target


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore.in_memory()


def read_file(store: ObjectStore, name: str) -> bytes:
    (part,) = [part for part in read_manifest(store, OUTPUT).parts if part.name == name]
    return read_part(store, part)


def test_put_answers__all_fields_come_back(store):
    box = Target("box", "a", "cd" * 32, "DCIM/ü.jpg", Window(1, 2, 3, 4))
    answers = [
        give(tile_target("t1"), "Rauch 火", round="s/round-0001", seconds=1.5, suggested="fog"),
        give(box, "deer", after_s=1),
        give(tile_target("t2"), None, after_s=2),
    ]
    put_answers(store, answers)
    (stored,) = read_answers(store)
    assert stored.answers == tuple(answers)


@pytest.mark.parametrize("by", ["Anna", "../b", "a/b", "ø", "…", "Anna Müller-Lüdenscheidt", "CON"])
def test_put_answers__any_printable_name_has_a_folder_of_its_own(store, by):
    key = put_answers(store, [give(tile_target("t1"), "smoke", by=by)])
    other = put_answers(store, [give(tile_target("t1"), "smoke", by=f"{by}2")])
    assert key.count("/") == other.count("/") == 2
    assert key.split("/")[1] != other.split("/")[1]


@pytest.mark.parametrize(("class_name", "by"), [("", "a"), (" ", "a"), ("x" * 81, "a"), ("a\nb", "a"), ("a", "")])  # fmt: skip
def test_put_answers__refuses_what_cannot_be_a_name(store, class_name, by):
    answer = Answer(
        make_answer_id(BEGIN), "label", by, BEGIN, "studio", tile_target("t"), class_name
    )
    with pytest.raises(ConfigError):
        put_answers(store, [answer])
    assert list(store.list(ANSWERS)) == []


def test_read_answers__damaged_answer_is_no_silent_loss(store):
    key = put_answers(store, [give(tile_target("t1"), "smoke")])
    store.put(key, store.get(key).replace(b"smoke", b"smoky"))
    with pytest.raises(CorruptObjectError) as caught:
        list(read_answers(store))
    assert caught.value.key == key


def test_read_answers__thousands_are_read_from_a_digest(store):
    put_labels(store, {f"t{n}": "smoke" for n in range(40)})
    first = list(read_answers(store))
    put_labels(store, {"t0": "fog"}, by="ben")
    damaged = first[0].key
    second = list(read_answers(store))
    assert [each for each in second if each.key != second[-1].key] == first
    store.delete(damaged)
    assert damaged not in {each.key for each in read_answers(store)}


def test_verify__damaged_answers_are_named_and_a_repair_moves_them_aside(store):
    put_labels(store, {"t1": "smoke", "t2": "fog"})
    damaged = sorted(info.key for info in store.list(ANSWERS))[0]
    data = store.get(damaged).replace(b"smoke", b"smoky")
    store.put(damaged, data)
    assert [fault.key for fault in verify(store)] == [damaged]
    assert store.get(damaged) == data
    assert [fault.key for fault in verify(store, should_repair=True)] == [damaged]
    assert store.get(f"damaged/{damaged}") == data
    assert list(verify(store)) == []
    commit(store, draft_labels(store))
    assert [label.class_name for label in read_labels(store)] == ["fog"]


def test_draft_labels__nobody_has_answered(store):
    with pytest.raises(NotCommittedError):
        draft_labels(store)
    assert read_labels(store) == []
    assert hash_labels(store) == {}


def test_draft_labels__rows_history_and_disagreements(store):
    put_labels(store, {"t1": "smoke", "t2": "fog", "t3": "fog"})
    put_labels(store, {"t1": "smoke", "t2": "smoke"}, by="ben")
    put_answers(store, [give(tile_target("t3"), "smoke", after_s=60)])
    committed = commit(store, draft_labels(store))
    labels = {label.tile_id: (label.class_name, label.people) for label in read_labels(store)}
    assert labels == {"t1": ("smoke", 2), "t3": ("smoke", 1)}
    history = pq.read_table(io.BytesIO(read_file(store, "history.parquet"))).to_pylist()
    assert len(history) == 6
    assert [row["class_name"] for row in history if not row["counts"]] == ["fog"]
    (conflict,) = json.loads(read_file(store, "conflicts.json"))
    assert conflict["classes"] == {"fog": ["anna"], "smoke": ["ben"]}
    facts = committed.manifest.facts
    assert (facts["classes"], facts["conflicts"]) == ({"smoke": 2}, 1)
    assert (facts["people"], facts["seconds_per_label"]) == ({"anna": 3, "ben": 2}, 2.0)


def test_draft_labels__same_answers_give_the_same_output(store):
    put_labels(store, {"t1": "smoke"})
    first = commit(store, draft_labels(store))
    assert commit(store, draft_labels(store)).was_reused
    other = ObjectStore.in_memory()
    for info in store.list(ANSWERS):
        other.put(info.key, store.get(info.key))
    assert commit(other, draft_labels(other)).manifest == first.manifest
    before = hash_labels(store)
    put_labels(store, {"t2": "fog"}, by="ben")
    assert not commit(store, draft_labels(store)).was_reused
    assert hash_labels(store) != before
