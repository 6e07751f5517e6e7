"""Which drops of an inbox are finished, and which need a run: no Dagster, no clock but ours."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dino_assets.drops.arrivals import (
    MARKER,
    FolderState,
    PastRuns,
    read_folder_state,
)
from dino_assets.drops.naming import make_drop_name
from dino_assets.drops.registering import register_drop
from dino_assets.drops.registry import read_drop
from dino_assets.errors import (
    ObjectNotFoundError,
    SourceError,
    StoreAccessError,
    StoreUnavailableError,
)
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.commits.manifests import manifest_key, read_manifest
from dino_assets.store.commits.protocol import Draft, OutputId
from dino_assets.store.commits.writing import commit
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.store_doubles import WatchedStore, fail
from dino_assets_tests.worlds.surveyed import Inbox, put_objects

# --- the whole inbox ----------------------------------------------------------------------


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


def test_survey_inbox__marker_does_not_change_the_run_key(inbox: Inbox):
    inbox.put("a/1.jpg")
    assert [inbox.launched(), inbox.launched()] == [[], []]
    (launch,) = inbox.survey(after_s=60).launches
    inbox.put(f"a/{MARKER}", b"")
    assert inbox.survey().launches == (launch,)


def test_survey_inbox__complete_after_two_surveys_and_a_minute(inbox: Inbox):
    inbox.put("a/1.jpg")
    assert "new or changed" in inbox.note("a")
    assert "1 file, unchanged for 30 of 60 s" in inbox.note("a")
    assert inbox.launched() == ["a"]


def test_survey_inbox__never_complete_after_one_survey(inbox: Inbox):
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


def test_survey_inbox__drop_in_flight_is_not_listed(inbox: Inbox, monkeypatch):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.runs.in_flight = frozenset({"a"})
    inbox.read_state = None
    assert inbox.note("a") == "its run has not ended yet"


def test_survey_inbox__outcomes_of_earlier_runs(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.runs.ended["a"] = PastRuns(ended=1, is_retrying=True)
    assert inbox.note("a") == "Dagster is about to start its crashed run again"
    inbox.runs.ended["a"] = PastRuns(ended=1, is_running=True)
    assert inbox.note("a") == "its run has not ended yet"
    inbox.runs.ended["a"] = PastRuns(ended=2)
    assert [launch.attempt for launch in inbox.survey().launches] == [3]
    for runs, reason in (
        (PastRuns(ended=3), "a person must look"),
        (PastRuns(cancelled="0123456789"), "was cancelled"),
    ):
        inbox.runs.ended["a"] = runs
        survey = inbox.survey()
        assert survey.launches == ()
        assert [(n.needs_person, reason in n.sentence) for n in survey.notes] == [(True, True)]


def test_survey_inbox__unfit_files_are_reported_once_per_run(inbox: Inbox):
    for name in "ab":
        inbox.put(f"{name}/1.jpg")
        inbox.put(f"{name}/{MARKER}", b"")
    inbox.make("b")
    inbox.runs.ended["a"] = PastRuns(ended=1, last="run-1", blocked="0 of 1 files are usable")
    first, second = inbox.survey(), inbox.survey()
    assert "a: a person must look: a check stopped run run-1" in first.describe()
    assert (first.stopped, second.stopped) == (frozenset(), {"a"})
    assert second.notes == ()
    assert second.describe() == (
        "2 drops, 1 finished, 1 stopped by a check (`dino-assets drops list` shows why)."
    )
    inbox.runs.ended["a"] = PastRuns(ended=2, last="run-2", blocked="0 of 1 files are usable")
    assert "run run-2" in inbox.note("a")
    inbox.put("a/2.jpg")  # other files are another matter
    inbox.runs.ended.pop("a")
    assert inbox.launched() == ["a"]


def test_survey_inbox__launches_that_became_no_run(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    keys = frozenset({"a:c:1"})
    inbox.runs.ended["a"] = PastRuns(unstarted=1, unstarted_s=inbox.now_s, keys=keys)
    assert "the next launch is in 20 s" in inbox.note("a", after_s=10)
    (launch,) = inbox.survey(after_s=20).launches
    assert launch.attempt == 1


# --- finished -----------------------------------------------------------------------------


def finished(inbox: Inbox) -> frozenset[str]:
    return inbox.survey().finished


@pytest.mark.parametrize("until", ["images", "tiles", "embeddings"])
def test_survey_inbox__finished_requires_images_tiles_and_embeddings(inbox: Inbox, until: str):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.make("a", until=until)
    assert inbox.survey().finished == ({"a"} if until == "embeddings" else set())


def test_survey_inbox__a_finished_drop_is_not_run_again(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.launched()
    assert set(inbox.memory.unchanged) == {"a"}
    inbox.make("a")
    inbox.put("a/2.jpg")  # whoever adds to a finished drop registers it again
    inbox.read_state = None
    survey = inbox.survey()
    assert (survey.launches, survey.finished) == ((), {"a"})
    assert survey.memory.unchanged == {}


def test_survey_inbox__changed_registration_makes_it_unfinished(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.make("a")
    inbox.put("a/2.jpg")
    register_drop(inbox.store, "a", source="inbox/a", root=inbox.root)
    assert [inbox.launched(), inbox.launched(), inbox.launched()] == [[], [], ["a"]]


@pytest.mark.parametrize("asset", ["images", "tiles", "embeddings"])
def test_survey_inbox__output_of_another_input_is_unfinished(inbox: Inbox, asset: str):
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
def test_survey_inbox__damaged_or_missing_manifest(inbox: Inbox, asset: str):
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


def test_survey_inbox__finished_in_any_space(inbox: Inbox):
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
    sentence = {note.folder: note.sentence for note in survey.notes}["a"]
    assert f"drop 'a' is registered from '{source}', not" in sentence
    assert read_drop(inbox.store, "a").source == source


def test_survey_inbox__existing_outputs_need_only_a_record(inbox: Inbox):
    """The marker came while the run listed: the record is old, what is made is not."""
    inbox.put("a/1.jpg")
    drop, _ = register_drop(inbox.store, "a", source="inbox/a", root=inbox.root)
    inbox.put(f"a/{MARKER}", b"")
    record = inbox.store.get("drops/a.json")
    inbox.make("a")
    inbox.store.put("drops/a.json", record)
    inbox.runs.ended["a"] = PastRuns(ended=3)  # whatever became of the runs
    survey = inbox.survey()
    assert (survey.launches, survey.finished, survey.memory.unchanged) == ((), {"a"}, {})
    assert read_drop(inbox.store, "a").fingerprint != drop.fingerprint
    assert inbox.survey().describe() == "1 drop, 1 finished."


def test_survey_inbox__repairs_a_damaged_record(inbox: Inbox):
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


def test_images__marker_is_not_quarantined(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.make("a", until="images")
    facts = read_manifest(inbox.store, OutputId("images", "a")).facts
    assert (facts["usable"], facts["quarantined"], facts["other_files"]) == (1, 0, 1)


# --- what stands in the way ---------------------------------------------------------------


def test_survey_inbox__bad_folder_does_not_stop_others(inbox: Inbox, monkeypatch):
    for name in ("a", "bad", "c", "denied", "---", "caf\udce9"):
        inbox.put(f"{name}/1.jpg")
        inbox.put(f"{name}/{MARKER}", b"")
    inbox.store.put("drops/bad.json", b"{")

    def look_at_all_but(source: str, *, root: Path) -> FolderState:
        if source.endswith("bad"):
            raise SourceError("cannot list 'bad': Input/output error")
        if source.endswith("denied"):
            raise StoreAccessError("list 'denied': access denied")
        return read_folder_state(source, root=root)

    inbox.read_state = look_at_all_but
    survey = inbox.survey()
    assert [x.drop for x in survey.launches] == ["a", "c", make_drop_name("caf\udce9")]
    assert "bad: cannot list 'bad': Input/output error" in survey.describe()
    assert "denied: list 'denied': access denied" in survey.describe()
    assert "---: '---' cannot be a drop's name: it has no letter" in survey.describe()
    assert "'caf\\udce9': run requested" in survey.describe()
    survey.describe().encode()  # goes to a database and a browser
    survey.memory.dump().encode("ascii")


def test_survey_inbox__bucket(inbox: Inbox, bucket: StorageSettings):
    inbox.url = bucket.url
    put_objects(bucket, "a/1.jpg", f"a/{MARKER}", "b/100MEDIA/1.jpg", "top.jpg", data=photo_bytes())
    # Neither has an address that we could write down, and a part of the last one is empty.
    put_objects(bucket, "q?1/1.jpg", "me@x/1.jpg", "z//1.jpg")
    survey = inbox.survey()
    assert [x.drop for x in survey.launches] == ["a"]
    assert read_drop(inbox.store, "a").source == f"{bucket.url}/a"
    sentences = {note.folder: note.sentence for note in survey.notes}
    assert "1 file, new or changed" in sentences["b"]
    assert "contains credentials or a query" in sentences["q?1"]
    assert "contains credentials or a query" in sentences["me@x"]
    assert "cannot be listed because of the key" in sentences["z"]
    inbox.survey()
    put_objects(bucket, "b/100MEDIA/1.jpg", data=b"another")
    assert inbox.launched() == ["a"]
    assert [inbox.launched(), inbox.launched()] == [["a"], ["a", "b"]]


def test_survey_inbox__folder_removed_during_the_survey(inbox: Inbox, monkeypatch):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")

    def look_and_lose(source: str, *, root: Path) -> FolderState:
        state = read_folder_state(source, root=root)
        shutil.rmtree(source)
        return state

    inbox.read_state = look_and_lose
    assert "there is no folder" in inbox.note("a")
    assert inbox.survey().memory.unchanged == {}


def test_survey_inbox__failed_listing_keeps_the_settle_time(inbox: Inbox, monkeypatch):
    inbox.put("a/1.jpg")
    assert "new or changed" in inbox.note("a")

    def refuse(source: str, *, root: Path) -> FolderState:
        raise SourceError("cannot list 'a': Stale file handle")

    inbox.read_state = refuse
    assert "Stale file handle" in inbox.note("a")
    inbox.read_state = read_folder_state
    assert inbox.launched() == ["a"]


def test_survey_inbox__changed_between_looking_and_registering(inbox: Inbox, monkeypatch):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")

    def look_and_change(source: str, *, root: Path) -> FolderState:
        state = read_folder_state(source, root=root)
        inbox.put("a/2.jpg")
        return state

    inbox.read_state = look_and_change
    assert inbox.note("a") == "still arriving (changed while it was being registered)"
    inbox.read_state = read_folder_state
    assert inbox.launched() == ["a"]


def test_survey_inbox__a_store_that_is_down_is_raised(inbox: Inbox):
    for name in ("a", "b"):
        inbox.put(f"{name}/1.jpg")
        inbox.put(f"{name}/{MARKER}", b"")
    sound_store = inbox.store

    def fail_at(verb: str, key: str) -> None:
        if (verb, key) == ("put", "drops/b.json"):
            fail(verb, key)

    inbox.store = WatchedStore(sound_store, before=fail)
    with pytest.raises(StoreUnavailableError):
        inbox.survey()
    inbox.store = WatchedStore(sound_store, before=fail_at)
    with pytest.raises(StoreUnavailableError):
        inbox.survey()
    # "a" is registered, which is no harm: nothing says that it was started.
    assert read_drop(sound_store, "a")
    with pytest.raises(ObjectNotFoundError):
        sound_store.get("drops/b.json")
    inbox.store = sound_store
    assert inbox.launched() == ["a", "b"]


def test_survey_inbox__an_outage_of_the_inbox_is_raised(
    inbox: Inbox, bucket: StorageSettings, monkeypatch
):
    put_objects(bucket, "a/1.jpg")
    inbox.url = bucket.url

    def look_at_dead_server(source: str, *, root: Path) -> FolderState:
        monkeypatch.setenv("MINIO_ENDPOINT", "http://127.0.0.1:9")
        return read_folder_state(source, root=root, limits=RequestLimits(retries=0))

    inbox.read_state = look_at_dead_server
    with pytest.raises(StoreUnavailableError):
        inbox.survey()
