"""Retired drops in an inbox: neither registered nor run, and without a partition key."""

import pytest

from dino_assets.drops.marks import set_retired
from dino_assets.drops.registry import read_drop
from dino_assets_tests.worlds.surveyed import Inbox


@pytest.mark.parametrize("until", ["images", "embeddings"])
def test_survey_inbox__a_retired_drop_is_left_alone(inbox: Inbox, until: str):
    inbox.put("a/DJI_0001.JPG")
    inbox.put("a/_SUCCESS", b"")
    inbox.make("a", until=until)
    drop, _ = set_retired(inbox.store, "a", True)
    inbox.put("a/DJI_0002.JPG")
    for _ in range(3):
        survey = inbox.survey()
        assert (survey.launches, survey.finished, survey.retired) == ((), set(), {"a"})
        assert survey.describe() == "1 drop, 0 finished, 1 retired."
    assert read_drop(inbox.store, "a") == drop
    set_retired(inbox.store, "a", False)
    assert inbox.launched() == ([] if until == "embeddings" else ["a"])
    assert inbox.survey().retired == frozenset()


def test_survey_inbox__a_finished_drop_that_is_retired_later(inbox: Inbox):
    inbox.put("a/DJI_0001.JPG")
    inbox.make("a")
    assert inbox.survey().finished == {"a"}
    set_retired(inbox.store, "a", True)
    assert (inbox.survey().finished, inbox.survey().retired) == (set(), {"a"})
    set_retired(inbox.store, "a", False)
    assert inbox.survey().finished == {"a"}


def test_survey_inbox__a_retired_drop_is_read_once(inbox: Inbox, monkeypatch):
    inbox.put("a/DJI_0001.JPG")
    inbox.make("a", until="images")
    set_retired(inbox.store, "a", True)
    inbox.survey()
    monkeypatch.setattr(type(inbox.store), "get", None)
    assert inbox.survey().retired == {"a"}
