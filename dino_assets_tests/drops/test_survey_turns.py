"""Whose turn it is in a full inbox, what one survey tells the next, and what the operator reads."""

import json
import shutil
from pathlib import Path

import pytest

from dino_assets.drops.arrivals import (
    MARKER,
    FolderState,
    UnchangedSince,
    read_folder_state,
)
from dino_assets.drops.survey import (
    MAX_NOTE_CHARS,
    Memory,
    Note,
    Survey,
)
from dino_assets_tests.worlds.store_doubles import WatchedStore
from dino_assets_tests.worlds.surveyed import (
    Inbox,
)

# --- fairness and memory ------------------------------------------------------------------


def test_survey_inbox__ten_launches_and_all_folders_in_turn(inbox: Inbox):
    names = [f"d{n:02d}" for n in range(25)]
    for name in names:
        inbox.put(f"{name}/1.jpg", b"x")
        inbox.put(f"{name}/{MARKER}", b"")
    survey = inbox.survey()
    assert [x.drop for x in survey.launches] == names[:10]
    assert survey.describe().endswith("15 folders not listed yet, the next survey begins there.")
    # Nobody starts them: all the same, the others get their turn.
    assert inbox.launched() == names[10:20]
    assert inbox.launched() == names[20:] + names[:5]


def test_survey_inbox__continues_after_the_time_budget(inbox: Inbox, monkeypatch):
    for name in "abcd":
        inbox.put(f"{name}/1.txt")
    names: list[str] = []

    def look_slowly(source: str, *, root: Path) -> FolderState:
        inbox.now_s += slow_s
        names.append(source[-1])
        return read_folder_state(source, root=root)

    inbox.read_state = look_slowly
    slow_s = 15
    assert inbox.survey().left == 1
    assert names == ["a", "b", "c"]
    slow_s = 1000  # one is always looked at, or nothing would ever move
    for _ in range(5):
        assert inbox.survey().left == 3
    assert names[3:] == ["d", "a", "b", "c", "d"]


def test_survey_inbox__a_slow_store_leaves_time_for_one(inbox: Inbox):
    for name in "ab":
        inbox.put(f"{name}/1.jpg")
        inbox.put(f"{name}/{MARKER}", b"")

    def take_long(verb: str, key: str) -> None:
        inbox.now_s += 1000

    inbox.store = WatchedStore(inbox.store, before=take_long)
    assert [inbox.launched(), inbox.launched(), inbox.launched()] == [["a"], ["b"], ["a"]]


def test_survey_inbox__remembers_folders_not_listed(inbox: Inbox, monkeypatch):
    for name in "ab":
        inbox.put(f"{name}/1.jpg")
    inbox.survey()
    unchanged = inbox.memory.unchanged
    inbox.max_launches = 0
    assert inbox.survey().memory.unchanged == unchanged
    assert set(unchanged) == {"a", "b"}


def test_memory__drops_folders_that_are_gone(inbox: Inbox):
    for name in "abc":
        inbox.put(f"{name}/1.jpg")
    inbox.survey()
    assert set(inbox.memory.unchanged) == {"a", "b", "c"}
    shutil.rmtree(inbox.root / "inbox" / "b")
    inbox.make("a")
    inbox.survey()
    assert set(inbox.memory.unchanged) == {"c"}
    shutil.rmtree(inbox.root / "inbox" / "c")
    assert inbox.survey().describe() == "1 drop, 1 finished."
    assert inbox.memory.unchanged == {}


@pytest.mark.parametrize(
    "text",
    [
        None, "", "x", "[]", "7", "null", "[" * 100_000, '{"seen": 3}', '{"seen": {"a": 3}}',
        '{"seen": {"a": ["c", "x"]}}', '{"seen": {"a": ["c", NaN]}}', '{"seen": {"a": [3, 1.0]}}',
        '{"seen": {"a": ["c", 1, 2]}}', '{"seen": {"a": ["c", 1e999]}}', '{"after": 3}',
        '{"after": null, "seen": null}', '{"seen": {"a": ["c", 1%s]}}' % ("0" * 400),
    ],
)  # fmt: skip
def test_memory__invalid_json_is_dropped(inbox: Inbox, text: str | None):
    inbox.memory = Memory.load(text)
    assert inbox.memory == Memory()
    inbox.put("a/1.jpg")
    assert [inbox.launched(), inbox.launched(), inbox.launched()] == [[], [], ["a"]]


def test_memory__wrong_clock_costs_one_settle_time(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.now_s += 1e9
    inbox.survey()
    inbox.now_s -= 1e9
    assert [inbox.launched(), inbox.launched(), inbox.launched()] == [[], [], ["a"]]


def test_memory__dump_and_load():
    memory = Memory(
        {"caf\udce9": UnchangedSince("c", 1.5), "ü": UnchangedSince("d", 2)}, after="caf\udce9"
    )
    assert Memory.load(memory.dump()) == memory
    assert set(json.loads(memory.dump())) == {"after", "seen"}


# --- words --------------------------------------------------------------------------------


def test_describe__notes_for_people_first_and_limited():
    notes = [Note(f"n{i:03d}", "still arriving") for i in range(200)]
    notes.append(Note("last", "a person must look\nnow " + "x" * 5000, needs_person=True))
    text = Survey((), frozenset({"f"}), tuple(notes), 7, Memory()).describe()
    assert text.startswith("209 drops, 1 finished: last: a person must look now xxx")
    assert "…; n000: still arriving; n001" in text
    assert text.endswith(
        "; 181 further notes; 7 folders not listed yet, the next survey begins there."
    )
    assert len(text) < 21 * (MAX_NOTE_CHARS + 2) + 100
    assert len(text.splitlines()) == 1


def test_describe__an_empty_inbox(inbox: Inbox):
    assert inbox.survey().describe() == "The inbox is empty: no folder has arrived yet."
