"""Survey trouble."""

import shutil
from pathlib import Path

import pytest

from dino_assets.drops.arrivals import MARKER, Look, look_at
from dino_assets.drops.registry import make_drop_name, read_drop
from dino_assets.errors import (
    ObjectNotFoundError,
    SourceError,
    StoreAccessError,
    StoreUnavailableError,
)
from dino_assets.settings.records import StorageSettings
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.arriving import Inbox, put_objects
from dino_assets_tests.worlds.store_doubles import WatchedStore, fail


def test_survey_inbox__one_bad_folder_stops_no_other(inbox: Inbox):
    for name in ("a", "bad", "c", "denied", "---", "caf\udce9"):
        inbox.put(f"{name}/1.jpg")
        inbox.put(f"{name}/{MARKER}", b"")
    inbox.store.put("drops/bad.json", b"{")

    def look_at_all_but(source: str, *, root: Path) -> Look:
        if source.endswith("bad"):
            raise SourceError("cannot list 'bad': Input/output error")
        if source.endswith("denied"):
            raise StoreAccessError("list 'denied': access denied")
        return look_at(source, root=root)

    inbox.look = look_at_all_but
    survey = inbox.survey()
    assert [x.drop for x in survey.launches] == ["a", "c", make_drop_name("caf\udce9")]
    assert "bad: cannot list 'bad': Input/output error" in survey.describe()
    assert "denied: list 'denied': access denied" in survey.describe()
    assert "---: a drop needs a name" in survey.describe()
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
    said = {note.folder: note.sentence for note in survey.notes}
    assert "1 file, new or changed" in said["b"]
    assert "carries credentials or a query" in said["q?1"]
    assert "carries credentials or a query" in said["me@x"]
    assert "cannot be listed because of the key" in said["z"]
    inbox.survey()
    put_objects(bucket, "b/100MEDIA/1.jpg", data=b"another")
    assert inbox.launched() == ["a"]
    assert [inbox.launched(), inbox.launched()] == [["a"], ["a", "b"]]


def test_survey_inbox__gone_while_it_is_looked_at(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")

    def look_and_lose(source: str, *, root: Path) -> Look:
        found = look_at(source, root=root)
        shutil.rmtree(source)
        return found

    inbox.look = look_and_lose
    assert "there is no folder" in inbox.note("a")
    assert inbox.survey().memory.seen == {}


def test_survey_inbox__a_listing_that_fails_once_resets_no_clock(inbox: Inbox):
    inbox.put("a/1.jpg")
    assert "new or changed" in inbox.note("a")

    def refuse(source: str, *, root: Path) -> Look:
        raise SourceError("cannot list 'a': Stale file handle")

    inbox.look = refuse
    assert "Stale file handle" in inbox.note("a")
    inbox.look = look_at
    assert inbox.launched() == ["a"]


def test_survey_inbox__changed_between_looking_and_registering(inbox: Inbox):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")

    def look_and_change(source: str, *, root: Path) -> Look:
        found = look_at(source, root=root)
        inbox.put("a/2.jpg")
        return found

    inbox.look = look_and_change
    assert inbox.note("a") == "still arriving (changed while it was being registered)"
    inbox.look = look_at
    assert inbox.launched() == ["a"]


def test_survey_inbox__a_store_that_is_down_is_raised(inbox: Inbox):
    for name in ("a", "b"):
        inbox.put(f"{name}/1.jpg")
        inbox.put(f"{name}/{MARKER}", b"")
    whole = inbox.store

    def fail_at(verb: str, key: str) -> None:
        if (verb, key) == ("put", "drops/b.json"):
            fail(verb, key)

    inbox.store = WatchedStore(whole, before=fail)
    with pytest.raises(StoreUnavailableError, match="down, for the test"):
        inbox.survey()
    inbox.store = WatchedStore(whole, before=fail_at)
    with pytest.raises(StoreUnavailableError, match="down, for the test"):
        inbox.survey()
    # "a" is registered, which is no harm: nothing says that it was started.
    assert read_drop(whole, "a")
    with pytest.raises(ObjectNotFoundError):
        whole.get("drops/b.json")
    inbox.store = whole
    assert inbox.launched() == ["a", "b"]


def test_survey_inbox__an_outage_of_the_inbox_is_raised(
    inbox: Inbox, bucket: StorageSettings, impatient: None, monkeypatch
):
    put_objects(bucket, "a/1.jpg")
    inbox.url = bucket.url

    def look_at_dead_server(source: str, *, root: Path) -> Look:
        monkeypatch.setenv("MINIO_ENDPOINT", "http://127.0.0.1:9")
        return look_at(source, root=root)

    inbox.look = look_at_dead_server
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        inbox.survey()
