"""Photographs that come to a finished drop: named in every survey, and read when somebody says so."""

import os

import pytest

from dino_assets.drops.arrivals import MARKER
from dino_assets.drops.late import MAX_SHARE, LateWatch
from dino_assets.drops.marks import set_retired
from dino_assets.drops.registering import register_drop
from dino_assets.settings.records import StorageSettings
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.store_doubles import WatchedStore
from dino_assets_tests.worlds.surveyed import Inbox, put_objects


@pytest.fixture
def made(inbox: Inbox) -> Inbox:
    """An inbox of one finished drop."""
    inbox.put("a/1.jpg")
    inbox.make("a")
    return inbox


def test_survey_inbox__reports_late_files(made: Inbox):
    assert made.survey().describe() == "1 drop, 1 finished."
    made.put("a/2.jpg")
    survey = made.survey()
    assert (survey.launches, survey.finished, survey.memory.unchanged) == ((), {"a"}, {})
    assert survey.describe() == (
        "1 drop, 1 finished: a: finished; to add the new files: dino-assets drops register a (1 "
        "photograph came since the drop was read, the first is '2.jpg')."
    )
    made.put("a/3.jpg")
    assert "(2 photographs came" in made.survey().describe()


def test_survey_inbox__late_files_after_registering_again(made: Inbox):
    made.put("a/2.jpg")
    assert made.survey().late
    register_drop(made.store, "a", source="inbox/a", root=made.root)
    assert made.survey().late == ()
    assert [made.launched(), made.launched()] == [[], ["a"]]
    made.make("a")
    survey = made.survey()
    assert (survey.finished, survey.late) == ({"a"}, ())


def test_survey_inbox__reports_replaced_files(made: Inbox):
    made.put("a/1.jpg", photo_bytes(640, 480))
    (late_drop,) = made.survey().late
    assert (late_drop.drop, late_drop.changes.changed) == ("a", ("1.jpg",))


@pytest.mark.parametrize("name", [MARKER, "notes.txt", "._2.jpg"])
def test_survey_inbox__ignored_files_are_not_late(made: Inbox, name: str):
    made.put(f"a/{name}", b"")
    assert made.survey().describe() == "1 drop, 1 finished."


def test_survey_inbox__missing_or_touched_files_are_not_late(made: Inbox):
    made.put("a/2.jpg")
    made.make("a")
    os.utime(made.root / "inbox" / "a" / "1.jpg", (1, 1))
    assert made.survey().late == ()
    (made.root / "inbox" / "a" / "1.jpg").unlink()
    assert made.survey().late == ()


def test_survey_inbox__a_retired_or_running_drop_is_left_alone(made: Inbox):
    made.put("a/2.jpg")
    made.runs.in_flight = frozenset({"a"})
    assert made.survey().late == ()
    made.runs.in_flight = frozenset()
    assert made.survey().late
    set_retired(made.store, "a", True)
    assert made.survey().late == ()


def test_survey_inbox__late_files_settle_at_the_second_listing(made: Inbox):
    made.put("a/2.jpg")
    assert [made.survey().late[0].is_settled for _ in range(4)] == [False, True, False, False]
    made.put("a/3.jpg")
    assert [made.survey().late[0].is_settled for _ in range(3)] == [False, True, False]


def test_survey_inbox__skips_a_folder_that_cannot_be_listed(made: Inbox):
    made.put("b/1.jpg")
    made.make("b")
    made.put("b/2.jpg")
    folder = made.root / "inbox" / "a"
    folder.rename(made.root / "away")
    folder.mkdir(mode=0)
    try:
        assert [late_drop.drop for late_drop in made.survey().late] == ["b"]
    finally:
        folder.chmod(0o700)


def test_survey_inbox__reads_the_images_of_a_late_drop_once(made: Inbox):
    made.put("a/2.jpg")
    calls: list[str] = []
    made.store = WatchedStore(made.store, before=lambda verb, key: calls.append(verb))
    assert made.survey().late
    calls.clear()
    assert made.survey().late
    assert set(calls) == {"list"}


def test_late_watch__lists_drops_in_turn_within_the_budget(inbox: Inbox):
    for name in "abc":
        inbox.put(f"{name}/1.jpg")
        inbox.make(name)
    inbox.survey()
    for name in "abc":
        inbox.put(f"{name}/2.jpg")

    def take_long(verb: str, key: str) -> None:
        inbox.now_s += 10 * (verb == "get" and key.startswith("manifests/images"))

    inbox.store = WatchedStore(inbox.store, before=take_long)
    assert [late_drop.drop for late_drop in inbox.survey().late] == ["a"]
    # It took ten seconds, so it rests; what it saw stands.
    assert [late_drop.drop for late_drop in inbox.survey().late] == ["a"]
    rest_s = 10 / MAX_SHARE
    assert [late_drop.drop for late_drop in inbox.survey(after_s=rest_s).late] == ["a", "b"]
    # A clock that was set back is no reason to rest.
    assert [late_drop.drop for late_drop in inbox.survey(after_s=-1e6).late] == ["a", "b", "c"]


def test_late_watch__new_process_reports_again(made: Inbox):
    made.put("a/2.jpg")
    made.survey()
    made.late_watch = LateWatch()
    assert [late_drop.drop for late_drop in made.survey().late] == ["a"]


def test_survey_inbox__late_files_in_a_bucket(inbox: Inbox, bucket: StorageSettings):
    inbox.url = bucket.url
    put_objects(bucket, "a/1.jpg", data=photo_bytes())
    inbox.make("a", source=f"{bucket.url}/a")
    assert inbox.survey().late == ()
    put_objects(bucket, "a/2.jpg", data=photo_bytes())
    (late_drop,) = inbox.survey().late
    assert late_drop.changes.came == ("2.jpg",)
