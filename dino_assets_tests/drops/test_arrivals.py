"""Which folders of an inbox are drops, and when one is complete."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dino_assets.drops import arrivals
from dino_assets.drops.arrivals import (
    MARKER,
    FolderState,
    PastRuns,
    UnchangedSince,
    explain_hold,
    explain_incomplete,
    explain_wait,
    list_arrivals,
    plan_launch,
    read_folder_state,
)
from dino_assets.drops.naming import make_drop_name
from dino_assets.drops.registering import register_drop
from dino_assets.errors import (
    ConfigError,
    SourceError,
    StoreAccessError,
    StoreUnavailableError,
)
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.worlds.answering import answer, answering
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.surveyed import (
    Inbox,
    put_objects,
)

# --- listing ------------------------------------------------------------------------------


def folders(inbox: Inbox) -> list[str]:
    return [arrival.folder for arrival in list_arrivals(inbox.url, root=inbox.root)[0]]


def test_list_arrivals__folders_only(inbox: Inbox, tmp_path: Path):
    inbox.put("b/1.jpg")
    inbox.put("a/100MEDIA/1.jpg")
    inbox.put(".hidden/1.jpg")
    inbox.put("loose.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "inbox" / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "inbox" / "pipe")
    assert folders(inbox) == ["a", "b"]


def test_list_arrivals__source_equals_the_registered_one(inbox: Inbox):
    names = ["Flug 7", "süd", "caf\udce9", "plain", "100% #1", "a..b"]
    for name in names:
        inbox.put(f"{name}/1.jpg")
    new_arrivals, refusals = list_arrivals(inbox.url, root=inbox.root)
    assert (sorted(names), refusals) == ([a.folder for a in new_arrivals], {})
    for arrival in new_arrivals:
        assert arrival.drop == make_drop_name(arrival.folder)
        drop, _ = register_drop(
            inbox.store, arrival.folder, source=f"inbox/{arrival.folder}", root=inbox.root
        )
        assert (drop.name, drop.source) == (arrival.drop, arrival.source)


def test_list_arrivals__a_registered_drop_keeps_its_name(inbox: Inbox):
    (inbox.root / "inbox" / "Süd").mkdir(parents=True)
    old_name = f"S-d-{make_drop_name('Süd')[-8:]}"
    for registered, name in (((), make_drop_name("Süd")), ((old_name,), old_name)):
        arrivals, _ = list_arrivals(inbox.url, root=inbox.root, registered=registered)
        assert [arrival.drop for arrival in arrivals] == [name]


def test_list_arrivals__names_that_no_drop_can_have(inbox: Inbox):
    for name in ("good", "---", "\udcff"):
        inbox.put(f"{name}/1.jpg")
    new_arrivals, refusals = list_arrivals(inbox.url, root=inbox.root)
    assert [arrival.folder for arrival in new_arrivals] == ["good"]
    assert set(refusals) == {"---", "\udcff"}
    assert "it has no letter or digit" in refusals["---"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [("nowhere", "missing"), ("list.csv", "is-a-file")],
)
def test_list_arrivals__no_inbox(inbox: Inbox, url: str, reason: str):
    (inbox.root / "list.csv").write_text("image_path\n")
    with raising(SourceError, reason=reason):
        list_arrivals(url, root=inbox.root)


def test_list_arrivals__inbox_that_may_not_be_listed(inbox: Inbox, monkeypatch):
    # Root may list everything: the system call is made to refuse.
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(arrivals.os, "scandir", refuse)
    with raising(SourceError, reason="unlistable", path="inbox"):
        list_arrivals("inbox", root=inbox.root)


def test_list_arrivals__bucket(inbox: Inbox, bucket: StorageSettings):
    names = ["a", "Flug 7", "süd", "x%20y", "h#1", "100%"]
    put_objects(bucket, "", "loose.jpg", ".hidden/1.jpg", "empty/", "a/deep/2.jpg")
    put_objects(bucket, *(f"{name}/1.jpg" for name in names))
    inbox.url = f"{bucket.url}/"
    new_arrivals, _ = list_arrivals(inbox.url, root=inbox.root)
    assert [a.folder for a in new_arrivals] == sorted([*names, "empty"])
    for arrival in new_arrivals:
        state = read_folder_state(arrival.source, root=inbox.root)
        assert state.photos == (0 if arrival.folder == "empty" else 1 + (arrival.folder == "a"))
        drop, _ = register_drop(inbox.store, arrival.folder, source=arrival.source, root=inbox.root)
        assert (drop.name, drop.source) == (arrival.drop, arrival.source)


def test_list_arrivals__bucket_is_listed_one_level_deep():
    page = b"<ListBucketResult><IsTruncated>false</IsTruncated>%s</ListBucketResult>"
    prefixes = b"<CommonPrefixes><Prefix>in/a/</Prefix></CommonPrefixes>"
    paths: list[str] = []

    def respond(handler, n):
        paths.append(handler.path)
        answer(handler, 200, page % prefixes, Content_Type="application/xml")

    with answering(respond) as server:
        store = open_store(
            StorageSettings(
                "s3://some-bucket/in",
                Path(),
                server.endpoint,
                access_key="a",
                secret_key="s",
                limits=RequestLimits(retries=2),
            )
        )
        assert store.list_folders() == ("a",)
    assert len(paths) == 1
    assert "delimiter=%2F" in paths[0]


def test_list_folders__one_level(store: ObjectStore):
    for key in ("a/1", "a/b/2", "c/d/e/3", "top"):
        store.put(key, b"x")
    assert store.list_folders() == ("a", "c")
    assert store.list_folders("c/") == store.list_folders("c") == ("d",)
    assert store.list_folders("no/such") == ()


@pytest.mark.slow
def test_list_folders__more_than_a_page(bucket: StorageSettings):
    store = open_store(bucket)
    names = tuple(f"d{n:04d}" for n in range(1005))
    for name in names:
        store.put(f"{name}/1.jpg", b"")
    assert store.list_folders() == names


def test_list_folders__a_failing_server():
    with answering(lambda handler, n: answer(handler, 500)) as server:
        settings = StorageSettings("s3://some-bucket/in", Path(), server.endpoint, None, "a", "s")
        store = open_store(replace(settings, limits=RequestLimits(retries=2)))
        with raising(StoreUnavailableError, key="", store="s3://some-bucket/in"):
            store.list_folders()
        assert len(server.requests) == 3


def test_list_arrivals__bucket_trouble(inbox: Inbox, bucket: StorageSettings, monkeypatch):
    with raising(SourceError, reason="no-bucket"):
        list_arrivals("minio://no-such-bucket-here", root=inbox.root)
    put_objects(bucket, "a/1.jpg", "b//1.jpg")
    assert [a.folder for a in list_arrivals(bucket.url, root=inbox.root)[0]] == ["a", "b"]
    put_objects(bucket, "/1.jpg")
    with raising(SourceError, reason="odd-key"):
        list_arrivals(bucket.url, root=inbox.root)
    monkeypatch.setenv("MINIO_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError):
        list_arrivals(bucket.url, root=inbox.root, limits=RequestLimits(retries=0))
    with answering(lambda handler, n: answer(handler, 403)) as server:
        monkeypatch.setenv("MINIO_ENDPOINT", server.endpoint)
        with pytest.raises(StoreAccessError):
            list_arrivals(bucket.url, root=inbox.root)
    with raising(ConfigError, reason="no-source"):
        list_arrivals("ftp://card/x", root=inbox.root)


# --- one folder ---------------------------------------------------------------------------


def test_read_folder_state__counts_and_marker(inbox: Inbox):
    for path in ("a/1.jpg", "a/100MEDIA/2.JPG", "a/notes.txt", "a/._1.jpg"):
        inbox.put(path)
    source = str(inbox.root / "inbox" / "a")
    (inbox.root / "inbox" / "a" / "linked.jpg").symlink_to("1.jpg")
    state = read_folder_state(source, root=inbox.root)
    assert (state.files, state.photos, state.has_marker) == (5, 2, False)
    inbox.put(f"a/100MEDIA/{MARKER}", b"")  # not directly in the folder
    assert not read_folder_state(source, root=inbox.root).has_marker
    (inbox.root / "inbox" / "a" / "100MEDIA" / MARKER).unlink()
    inbox.put(f"a/{MARKER}", b"")
    marked_state = read_folder_state(source, root=inbox.root)
    assert marked_state == replace(state, has_marker=True, fingerprint=marked_state.fingerprint)
    assert marked_state.fingerprint != state.fingerprint
    inbox.put("a/1.jpg", b"other")
    assert read_folder_state(source, root=inbox.root).content != state.content


def look(photos: int = 1, *, has_marker: bool = False, content: str = "c") -> FolderState:
    return FolderState(3, photos, has_marker, "f", content)


@pytest.mark.parametrize(
    ("seen", "now_s", "said"),
    [
        (None, 1000, "new or changed"),
        (UnchangedSince("other", 0), 1000, "new or changed"),
        (UnchangedSince("c", 1000), 1000, "unchanged for 0 of 60 s"),
        (UnchangedSince("c", 1000), 1040, "unchanged for 40 of 60 s"),
        (UnchangedSince("c", 1000), 1059.9, "unchanged for 60 of 60 s"),
        (UnchangedSince("c", 1000), 1060, None),
        (UnchangedSince("c", 2000), 1000, "new or changed"),  # the clock was wrong then
    ],
)
def test_explain_incomplete__complete_after_the_settle_time(
    seen: UnchangedSince | None, now_s: float, said: str | None
):
    reason = explain_incomplete(look(), seen, now_s=now_s)
    assert (reason is None) if said is None else (said in reason and "3 files" in reason)
    assert explain_incomplete(look(has_marker=True), seen, now_s=now_s) is None


def test_explain_incomplete__never_complete_without_a_photograph():
    for has_marker in (False, True):
        reason = explain_incomplete(
            look(0, has_marker=has_marker), UnchangedSince("c", 0), now_s=1e9
        )
        assert reason == "no photograph yet (3 files)"


def test_explain_hold__after_three_attempts():
    assert explain_hold(PastRuns()) is explain_hold(PastRuns(ended=2)) is None
    reason = explain_hold(PastRuns(ended=3, last="0123456789"))
    assert reason.startswith("a person must look: 3 runs did not finish it, the last is 01234567.")
    reason = explain_hold(PastRuns(ended=1, last="0123456789", blocked="0 of 3 files are usable"))
    assert reason.startswith(
        "a person must look: a check stopped run 01234567: 0 of 3 files are usable."
    )
    reason = explain_hold(PastRuns(ended=5, last="9876543210", cancelled="0123456789"))
    assert reason.startswith("run 01234567 was cancelled, so no new run is started")


@pytest.mark.parametrize(
    ("unstarted", "wait_s"), [(0, 0), (1, 30), (2, 60), (5, 480), (6, 900), (10**9, 900)]
)
def test_explain_wait__growing_waits(unstarted: int, wait_s: float):
    runs = PastRuns(unstarted=unstarted, unstarted_s=1000)
    assert explain_wait(runs, now_s=1000 + wait_s) is None
    assert explain_wait(runs, now_s=900) is None  # a clock was wrong
    if unstarted:
        assert f"in {wait_s - 10:.0f} s" in explain_wait(runs, now_s=1010)


def test_plan_launch__attempts_are_runs_that_started():
    launch = plan_launch("d", "c", PastRuns(ended=1, keys=frozenset({"d:c:1", "d:c:2"})))
    assert (launch.attempt, launch.run_key) == (2, "d:c:3")


def test_plan_launch__unused_run_key():
    assert plan_launch("d", "c", PastRuns()).run_key == "d:c:1"
    assert plan_launch("d", "c", PastRuns(ended=1, keys=frozenset({"d:c:1"}))).run_key == "d:c:2"
    # The first run was deleted from the history, its failed successor was not.
    assert plan_launch("d", "c", PastRuns(ended=1, keys=frozenset({"d:c:2"}))).run_key == "d:c:3"
