"""Survey."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dino_assets.drops import survey as surveys
from dino_assets.drops.arrivals import MARKER, Look, PastRuns, Seen, look_at
from dino_assets.drops.registry import read_drop, register_drop
from dino_assets.drops.survey import Memory, Note, Survey
from dino_assets.store.commits.manifests import manifest_key, read_manifest
from dino_assets.store.commits.protocol import Draft, OutputId
from dino_assets.store.commits.writing import commit
from dino_assets_tests.worlds.arriving import Inbox
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.store_doubles import WatchedStore


def test_survey_inbox__a_marker_triggers_at_once(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    survey = inbox.survey()
    (launch,) = survey.launches
    assert (launch.drop, launch.attempt) == ("a", 1)
    assert launch.run_key == f"a:{launch.content}:1"
    assert read_drop(inbox.store, "a").source == str(inbox.root / "inbox" / "a")
    assert survey.describe() == "1 drop, 0 finished: a: run requested (1 file, attempt 1)."
    # Nobody started it yet: the same key again.
    assert inbox.survey().launches == (launch,)


def test_survey_inbox__a_marker_changes_no_key(inbox: Inbox):
    inbox.put("a/1.jpg")
    assert [inbox.launched(), inbox.launched()] == [[], []]
    (settled,) = inbox.survey(after_s=60).launches
    inbox.put(f"a/{MARKER}", b"")
    assert inbox.survey().launches == (settled,)


def test_survey_inbox__settles_over_two_looks_and_a_minute(inbox: Inbox):
    inbox.put("a/1.jpg")
    assert "new or changed" in inbox.note("a")
    assert "1 file, unchanged for 30 of 60 s" in inbox.note("a")
    assert inbox.launched() == ["a"]


def test_survey_inbox__one_look_is_never_enough(inbox: Inbox):
    inbox.put("a/1.jpg")
    assert inbox.launched(after_s=1e6) == []


def test_survey_inbox__a_growing_folder_never_triggers(inbox: Inbox):
    for n in range(20):
        inbox.put(f"a/{n}.jpg")
        assert "new or changed" in inbox.note("a", after_s=59)
    assert inbox.store.list_folders() == ()  # nothing was registered
    assert [inbox.launched(), inbox.launched()] == [[], ["a"]]


def test_survey_inbox__a_folder_without_photographs_waits(inbox: Inbox):
    inbox.put("a/notes.txt")
    inbox.put(f"a/{MARKER}", b"")
    (inbox.root / "inbox" / "b").mkdir()
    for _ in range(5):
        assert inbox.note("a") == "no photograph yet (1 file)"
        assert inbox.note("b") == "no photograph yet (0 files)"


def test_survey_inbox__in_flight_is_not_even_looked_at(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.runs.in_flight = frozenset({"a"})
    inbox.look = None
    assert inbox.note("a") == "a run is in flight"


def test_survey_inbox__what_became_of_the_runs(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.runs.ended["a"] = PastRuns(ended=1, is_retrying=True)
    assert inbox.note("a") == "Dagster is about to start its crashed run again"
    inbox.runs.ended["a"] = PastRuns(ended=2)
    assert [launch.attempt for launch in inbox.survey().launches] == [3]
    for past, said in (
        (PastRuns(ended=3), "a person must look"),
        (PastRuns(cancelled="0123456789"), "was cancelled"),
    ):
        inbox.runs.ended["a"] = past
        survey = inbox.survey()
        assert survey.launches == ()
        assert [(n.needs_person, said in n.sentence) for n in survey.notes] == [(True, True)]


def finished(inbox: Inbox) -> frozenset[str]:
    return inbox.survey().finished


@pytest.mark.parametrize("until", ["images", "tiles", "embeddings"])
def test_survey_inbox__finished_is_images_tiles_and_embeddings(inbox: Inbox, until: str):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.make("a", until=until)
    assert inbox.survey().finished == ({"a"} if until == "embeddings" else set())


def test_survey_inbox__a_finished_drop_is_not_looked_at(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.launched()
    assert set(inbox.memory.seen) == {"a"}
    inbox.make("a")
    inbox.put("a/2.jpg")  # whoever adds to a finished drop registers it again
    inbox.look = None
    survey = inbox.survey()
    assert survey.describe() == "1 drop, 1 finished."
    assert survey.memory.seen == {}


def test_survey_inbox__registered_again_it_is_not_finished(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.make("a")
    inbox.put("a/2.jpg")
    register_drop(inbox.store, "a", source="inbox/a", root=inbox.root)
    assert [inbox.launched(), inbox.launched(), inbox.launched()] == [[], [], ["a"]]


@pytest.mark.parametrize("asset", ["images", "tiles", "embeddings"])
def test_survey_inbox__a_link_that_does_not_hold(inbox: Inbox, asset: str):
    """Made of other pictures, other images or other tiles is not made."""
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.make("a")
    assert finished(inbox) == {"a"}
    output = OutputId(asset, "a", "s1" if asset == "embeddings" else None)
    manifest = read_manifest(inbox.store, output)
    link = dict.fromkeys(manifest.recipe.inputs, "0" * 64)
    part = manifest.parts[0]
    recipe = replace(manifest.recipe, inputs=link)
    commit(inbox.store, Draft(recipe, pushing([replace(part, name="x")])))
    assert finished(inbox) == set()


@pytest.mark.parametrize("asset", ["images", "tiles", "embeddings"])
def test_survey_inbox__a_manifest_that_went_bad_or_away(inbox: Inbox, asset: str):
    for name in ("a", "b"):
        inbox.put(f"{name}/1.jpg")
        inbox.put(f"{name}/{MARKER}", b"")
        inbox.make(name)
    assert inbox.survey().finished == {"a", "b"}
    key = manifest_key(OutputId(asset, "a", "s1" if asset == "embeddings" else None))
    inbox.store.put(key, b"{")
    survey = inbox.survey()
    assert (survey.finished, [x.drop for x in survey.launches]) == ({"b"}, ["a"])
    inbox.store.delete(key)
    assert inbox.launched() == ["a"]


def test_survey_inbox__any_space_will_do(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.make("a", space="old")
    inbox.make("a", space="new")
    assert finished(inbox) == {"a"}
    inbox.store.delete(manifest_key(OutputId("embeddings", "a", "new")))
    assert finished(inbox) == {"a"}
    inbox.store.delete(manifest_key(OutputId("embeddings", "a", "old")))
    assert finished(inbox) == set()


def test_survey_inbox__finished_from_another_source_is_not_this_folder(inbox: Inbox):
    inbox.put("../card/1.jpg")
    source = str(inbox.root / "card")
    inbox.make("a", source=source)
    inbox.put("a/1.jpg", b"another flight")
    inbox.put(f"a/{MARKER}", b"")
    inbox.put("b/1.jpg")
    inbox.put(f"b/{MARKER}", b"")
    survey = inbox.survey()
    assert [launch.drop for launch in survey.launches] == ["b"]
    assert survey.finished == set()
    said = {note.folder: note.sentence for note in survey.notes}["a"]
    assert f"drop 'a' is registered from '{source}', not" in said
    assert read_drop(inbox.store, "a").source == source


def test_survey_inbox__made_already_needs_its_record_only(inbox: Inbox):
    """The marker came while the run listed: the record is old, what is made is not."""
    inbox.put("a/1.jpg")
    first, _ = register_drop(inbox.store, "a", source="inbox/a", root=inbox.root)
    inbox.put(f"a/{MARKER}", b"")
    record = inbox.store.get("drops/a.json")
    inbox.make("a")
    inbox.store.put("drops/a.json", record)
    inbox.runs.ended["a"] = PastRuns(ended=3)  # whatever became of the runs
    survey = inbox.survey()
    assert (survey.launches, survey.finished, survey.memory.seen) == ((), {"a"}, {})
    assert read_drop(inbox.store, "a").fingerprint != first.fingerprint
    assert inbox.survey().describe() == "1 drop, 1 finished."


def test_survey_inbox__a_damaged_record_is_mended(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.make("a")
    inbox.store.put("drops/a.json", b"{")
    assert finished(inbox) == {"a"}
    assert read_drop(inbox.store, "a").name == "a"


def test_survey_inbox__finished_drops_are_read_once(inbox: Inbox):
    for name in ("a", "b"):
        inbox.put(f"{name}/1.jpg")
        inbox.make(name)
    calls: list[tuple[str, str]] = []
    inbox.store = WatchedStore(inbox.store, before=lambda verb, key: calls.append((verb, key)))
    assert finished(inbox) == {"a", "b"}
    calls.clear()
    assert finished(inbox) == {"a", "b"}
    assert {verb for verb, _ in calls} == {"list"}
    assert len(calls) == 4
    # Another process knows nothing, and a record that was replaced is read.
    inbox.put("a/2.jpg")
    register_drop(inbox.store, "a", source="inbox/a", root=inbox.root)
    assert finished(inbox) == {"b"}
    inbox.remembered = {}
    assert finished(inbox) == {"b"}


def test_images__the_marker_is_no_bad_picture(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.make("a", until="images")
    facts = read_manifest(inbox.store, OutputId("images", "a")).facts
    assert (facts["usable"], facts["quarantined"], facts["other_files"]) == (1, 0, 1)


def test_survey_inbox__ten_at_a_time_and_everyone_in_turn(inbox: Inbox):
    names = [f"d{n:02d}" for n in range(25)]
    for name in names:
        inbox.put(f"{name}/1.jpg", b"x")
        inbox.put(f"{name}/{MARKER}", b"")
    survey = inbox.survey()
    assert [x.drop for x in survey.launches] == names[:10]
    assert survey.describe().endswith("15 not looked at yet, their turn is next.")
    # Nobody starts them: all the same, the others get their turn.
    assert inbox.launched() == names[10:20]
    assert inbox.launched() == names[20:] + names[:5]


def test_survey_inbox__stops_in_time_and_goes_on_where_it_stopped(inbox: Inbox):
    for name in "abcd":
        inbox.put(f"{name}/1.txt")
    looked: list[str] = []

    def look_slowly(source: str, *, root: Path) -> Look:
        inbox.now_s += slow_s
        looked.append(source[-1])
        return look_at(source, root=root)

    inbox.look = look_slowly
    slow_s = 15
    assert inbox.survey().left == 1
    assert looked == ["a", "b", "c"]
    slow_s = 1000  # one is always looked at, or nothing would ever move
    for _ in range(5):
        assert inbox.survey().left == 3
    assert looked[3:] == ["d", "a", "b", "c", "d"]


def test_survey_inbox__a_slow_store_leaves_time_for_one(inbox: Inbox):
    for name in "ab":
        inbox.put(f"{name}/1.jpg")
        inbox.put(f"{name}/{MARKER}", b"")

    def take_long(verb: str, key: str) -> None:
        inbox.now_s += 1000

    inbox.store = WatchedStore(inbox.store, before=take_long)
    assert [inbox.launched(), inbox.launched(), inbox.launched()] == [["a"], ["b"], ["a"]]


def test_survey_inbox__what_was_not_looked_at_is_remembered(inbox: Inbox):
    for name in "ab":
        inbox.put(f"{name}/1.jpg")
    inbox.survey()
    before = inbox.memory.seen
    inbox.max_launches = 0
    assert inbox.survey().memory.seen == before
    assert set(before) == {"a", "b"}


def test_memory__forgets_what_is_gone(inbox: Inbox):
    for name in "abc":
        inbox.put(f"{name}/1.jpg")
    inbox.survey()
    assert set(inbox.memory.seen) == {"a", "b", "c"}
    shutil.rmtree(inbox.root / "inbox" / "b")
    inbox.make("a")
    inbox.survey()
    assert set(inbox.memory.seen) == {"c"}
    shutil.rmtree(inbox.root / "inbox" / "c")
    assert inbox.survey().describe() == "1 drop, 1 finished."
    assert inbox.memory.seen == {}


@pytest.mark.parametrize(
    "text",
    [
        None, "", "x", "[]", "7", "null", "[" * 100_000, '{"seen": 3}', '{"seen": {"a": 3}}',
        '{"seen": {"a": ["c", "x"]}}', '{"seen": {"a": ["c", NaN]}}', '{"seen": {"a": [3, 1.0]}}',
        '{"seen": {"a": ["c", 1, 2]}}', '{"seen": {"a": ["c", 1e999]}}', '{"after": 3}',
        '{"after": null, "seen": null}', '{"seen": {"a": ["c", 1%s]}}' % ("0" * 400),
    ],
)  # fmt: skip
def test_memory__whatever_is_not_ours_is_forgotten(inbox: Inbox, text: str | None):
    inbox.memory = Memory.load(text)
    assert inbox.memory == Memory()
    inbox.put("a/1.jpg")
    assert [inbox.launched(), inbox.launched(), inbox.launched()] == [[], [], ["a"]]


def test_memory__a_clock_that_was_ahead_costs_one_settle_time(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.now_s += 1e9
    inbox.survey()
    inbox.now_s -= 1e9
    assert [inbox.launched(), inbox.launched(), inbox.launched()] == [[], [], ["a"]]


def test_memory__travels_as_json():
    memory = Memory({"caf\udce9": Seen("c", 1.5), "ü": Seen("d", 2)}, after="caf\udce9")
    assert Memory.load(memory.dump()) == memory
    assert set(json.loads(memory.dump())) == {"after", "seen"}


def test_describe__people_first_and_bounded():
    notes = [Note(f"n{i:03d}", "still arriving") for i in range(200)]
    notes.append(Note("last", "a person must look\nnow " + "x" * 5000, needs_person=True))
    text = Survey((), frozenset({"f"}), tuple(notes), 7, Memory()).describe()
    assert text.startswith("209 drops, 1 finished: last: a person must look now xxx")
    assert "…; n000: still arriving; n001" in text
    assert text.endswith("; 181 more; 7 not looked at yet, their turn is next.")
    assert len(text) < 21 * (surveys.MAX_NOTE_CHARS + 2) + 100
    assert len(text.splitlines()) == 1


def test_describe__an_empty_inbox(inbox: Inbox):
    assert inbox.survey().describe() == "The inbox is empty: no folder has arrived yet."
