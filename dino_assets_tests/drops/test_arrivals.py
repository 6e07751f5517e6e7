"""Which drops of an inbox are complete, finished, or need a run: no Dagster, no clock but ours."""

import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pytest

from dino_assets.drops import arrivals
from dino_assets.drops import survey as surveys
from dino_assets.drops.arrivals import (
    MARKER,
    Look,
    PastRuns,
    Seen,
    judge_look,
    judge_runs,
    list_arrivals,
    look_at,
    plan_launch,
)
from dino_assets.drops.registry import make_drop_name, read_drop, register_drop
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.survey import Memory, Note, Survey, survey_inbox
from dino_assets.errors import (
    ConfigError,
    ObjectNotFoundError,
    SourceError,
    StoreAccessError,
    StoreUnavailableError,
)
from dino_assets.images.stage.drafting import draft_images
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.commits.manifests import content_hash, manifest_key, read_manifest
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests.conftest import photo_bytes, s3_settings
from dino_assets_tests.worlds.answering import answer, answering
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.store_doubles import WatchedStore, fail

GRID = make_grid(512, patch_px=16)
VECTORS = pa.schema([("n", pa.int64())])


@dataclass
class KnownRuns:
    """What a test says that the orchestrator knows."""

    in_flight: frozenset[str] = frozenset()
    ended: dict[str, PastRuns] = field(default_factory=dict)

    def past(self, drop: str, content: str) -> PastRuns:
        return self.ended.get(drop, PastRuns())


@dataclass
class Inbox:
    """A project with an inbox, a store and a clock, surveyed again and again."""

    root: Path
    store: ObjectStore
    url: str = "inbox"
    now_s: float = 1_000_000.0
    runs: KnownRuns = field(default_factory=KnownRuns)
    memory: Memory = field(default_factory=Memory)
    remembered: dict = field(default_factory=dict)

    def put(self, path: str, data: bytes | None = None) -> None:
        target = self.root / "inbox" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(photo_bytes() if data is None else data)

    def survey(self, *, after_s: float = 30.0) -> Survey:
        self.now_s += after_s
        survey = survey_inbox(
            self.store, self.url, root=self.root, runs=self.runs, memory=self.memory,
            remembered=self.remembered, clock=lambda: self.now_s,
        )  # fmt: skip
        # As it travels between two ticks.
        self.memory = Memory.load(survey.memory.dump())
        assert self.memory == survey.memory
        return survey

    def launched(self, *, after_s: float = 30.0) -> list[str]:
        return [launch.drop for launch in self.survey(after_s=after_s).launches]

    def note(self, folder: str, *, after_s: float = 30.0) -> str:
        return {n.folder: n.sentence for n in self.survey(after_s=after_s).notes}[folder]

    def make(
        self,
        folder: str,
        *,
        until: str = "embeddings",
        space: str = "s1",
        source: str | None = None,
    ) -> None:
        """What a run of `ingest` commits, up to an asset."""
        source = source or str(self.root / "inbox" / folder)
        drop, _ = register_drop(self.store, folder, source=source, root=self.root)
        commit(self.store, draft_images(drop, open_source(drop.source, root=self.root), threads=1))
        if until == "images":
            return
        commit(self.store, draft_tiles(open_table(self.store, "images"), drop.name, GRID))
        if until == "tiles":
            return
        tiles = read_manifest(self.store, OutputId("tiles", drop.name))
        output = OutputId("embeddings", drop.name, space)
        recipe = Recipe(output, "1", inputs={"tiles": content_hash(tiles)})
        batch = pa.RecordBatch.from_pydict({"n": [1]}, VECTORS)
        commit(self.store, Draft(recipe, pushing([batch]), VECTORS))


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    (tmp_path / "inbox").mkdir()
    return Inbox(tmp_path, open_store(StorageSettings(url="data", root=tmp_path)))


# --- listing --------------------------------------------------------------------------------


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


def test_list_arrivals__the_source_is_what_registering_keeps(inbox: Inbox):
    odd = ["Flug 7", "süd", "caf\udce9", "plain", "100% #1", "a..b"]
    for name in odd:
        inbox.put(f"{name}/1.jpg")
    found, refused = list_arrivals(inbox.url, root=inbox.root)
    assert (sorted(odd), refused) == ([a.folder for a in found], {})
    for arrival in found:
        assert arrival.drop == make_drop_name(arrival.folder)
        drop, _ = register_drop(
            inbox.store, arrival.folder, source=f"inbox/{arrival.folder}", root=inbox.root
        )
        assert (drop.name, drop.source) == (arrival.drop, arrival.source)


def test_list_arrivals__names_that_no_drop_can_have(inbox: Inbox):
    for name in ("good", "---", "\udcff"):
        inbox.put(f"{name}/1.jpg")
    found, refused = list_arrivals(inbox.url, root=inbox.root)
    assert [arrival.folder for arrival in found] == ["good"]
    assert set(refused) == {"---", "\udcff"}
    assert "a drop needs a name" in refused["---"]


@pytest.mark.parametrize(
    ("url", "said"),
    [("nowhere", "there is no folder and no"), ("list.csv", "'list.csv' is a file; a folder")],
)
def test_list_arrivals__no_inbox(inbox: Inbox, url: str, said: str):
    (inbox.root / "list.csv").write_text("image_path\n")
    with pytest.raises(SourceError, match=said):
        list_arrivals(url, root=inbox.root)


def test_list_arrivals__inbox_that_may_not_be_listed(inbox: Inbox, monkeypatch):
    # Root may list everything: the system call is made to refuse.
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(arrivals.os, "scandir", refuse)
    with pytest.raises(SourceError, match="'inbox' cannot be listed: Permission denied"):
        list_arrivals("inbox", root=inbox.root)


@pytest.fixture
def bucket(s3_endpoint: str, tmp_path: Path, monkeypatch) -> StorageSettings:
    settings = s3_settings(s3_endpoint, tmp_path)
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    return settings


def s3_client(settings: StorageSettings):
    import boto3

    return boto3.client(
        "s3", endpoint_url=settings.endpoint, aws_access_key_id="a", aws_secret_access_key="b",
        region_name="us-east-1",
    )  # fmt: skip


def put_objects(settings: StorageSettings, *keys: str, data: bytes = b"x") -> None:
    """Under names that our own store would refuse to write."""
    for key in keys:
        name = settings.url.split("/")[2]
        s3_client(settings).put_object(Bucket=name, Key=f"some/prefix/{key}", Body=data)


def test_list_arrivals__bucket(inbox: Inbox, bucket: StorageSettings):
    odd = ["a", "Flug 7", "süd", "x%20y", "h#1", "100%"]
    put_objects(bucket, "", "loose.jpg", ".hidden/1.jpg", "empty/", "a/deep/2.jpg")
    put_objects(bucket, *(f"{name}/1.jpg" for name in odd))
    inbox.url = f"{bucket.url}/"
    found, _ = list_arrivals(inbox.url, root=inbox.root)
    assert [a.folder for a in found] == sorted([*odd, "empty"])
    for arrival in found:
        look = look_at(arrival.source, root=inbox.root)
        assert look.photos == (0 if arrival.folder == "empty" else 1 + (arrival.folder == "a"))
        drop, _ = register_drop(inbox.store, arrival.folder, source=arrival.source, root=inbox.root)
        assert (drop.name, drop.source) == (arrival.drop, arrival.source)


def test_list_arrivals__a_bucket_is_never_listed_whole():
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
        with pytest.raises(StoreUnavailableError, match=r"list '' in store 's3://some-bucket/in'"):
            store.list_folders()
        assert len(server.requests) == 3


def test_list_arrivals__bucket_trouble(
    inbox: Inbox, bucket: StorageSettings, impatient: None, monkeypatch
):
    with pytest.raises(SourceError, match="the bucket does not exist"):
        list_arrivals("minio://no-such-bucket-here", root=inbox.root)
    put_objects(bucket, "a/1.jpg", "b//1.jpg")
    assert [a.folder for a in list_arrivals(bucket.url, root=inbox.root)[0]] == ["a", "b"]
    put_objects(bucket, "/1.jpg")
    with pytest.raises(SourceError, match=r"cannot be listed: .*invalid path.*some/prefix//"):
        list_arrivals(bucket.url, root=inbox.root)
    monkeypatch.setenv("MINIO_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError, match="does not answer as it should"):
        list_arrivals(bucket.url, root=inbox.root)
    with answering(lambda handler, n: answer(handler, 403)) as server:
        monkeypatch.setenv("MINIO_ENDPOINT", server.endpoint)
        with pytest.raises(StoreAccessError, match="access denied"):
            list_arrivals(bucket.url, root=inbox.root)
    with pytest.raises(ConfigError, match="is no source: a folder"):
        list_arrivals("ftp://card/x", root=inbox.root)


# --- one folder -----------------------------------------------------------------------------


def test_look_at__counts_and_the_marker(inbox: Inbox):
    for path in ("a/1.jpg", "a/100MEDIA/2.JPG", "a/notes.txt", "a/._1.jpg"):
        inbox.put(path)
    source = str(inbox.root / "inbox" / "a")
    (inbox.root / "inbox" / "a" / "linked.jpg").symlink_to("1.jpg")
    before = look_at(source, root=inbox.root)
    assert (before.files, before.photos, before.has_marker) == (5, 2, False)
    inbox.put(f"a/100MEDIA/{MARKER}", b"")  # not directly in the folder
    assert not look_at(source, root=inbox.root).has_marker
    (inbox.root / "inbox" / "a" / "100MEDIA" / MARKER).unlink()
    inbox.put(f"a/{MARKER}", b"")
    after = look_at(source, root=inbox.root)
    assert after == replace(before, has_marker=True, fingerprint=after.fingerprint)
    assert after.fingerprint != before.fingerprint
    inbox.put("a/1.jpg", b"other")
    assert look_at(source, root=inbox.root).content != before.content


def look(photos: int = 1, *, has_marker: bool = False, content: str = "c") -> Look:
    return Look(3, photos, has_marker, "f", content)


@pytest.mark.parametrize(
    ("seen", "now_s", "said"),
    [
        (None, 1000, "new or changed"),
        (Seen("other", 0), 1000, "new or changed"),
        (Seen("c", 1000), 1000, "unchanged for 0 of 60 s"),
        (Seen("c", 1000), 1040, "unchanged for 40 of 60 s"),
        (Seen("c", 1000), 1059.9, "unchanged for 60 of 60 s"),
        (Seen("c", 1000), 1060, None),
        (Seen("c", 2000), 1000, "new or changed"),  # the clock was wrong then
    ],
)
def test_judge_look__settles(seen: Seen | None, now_s: float, said: str | None):
    why = judge_look(look(), seen, now_s=now_s)
    assert (why is None) if said is None else (said in why and "3 files" in why)
    assert judge_look(look(has_marker=True), seen, now_s=now_s) is None


def test_judge_look__without_a_photograph_it_never_is():
    for has_marker in (False, True):
        why = judge_look(look(0, has_marker=has_marker), Seen("c", 0), now_s=1e9)
        assert why == "no photograph yet (3 files)"


def test_judge_runs__three_attempts_and_a_person():
    assert judge_runs(PastRuns()) is judge_runs(PastRuns(ended=2)) is None
    why = judge_runs(PastRuns(ended=3, last="0123456789"))
    assert why.startswith("a person must look: 3 runs did not finish it, the last is 01234567.")
    why = judge_runs(PastRuns(ended=5, last="9876543210", cancelled="0123456789"))
    assert why.startswith("run 01234567 was cancelled, so it is not started again")


def test_plan_launch__a_key_that_no_run_has():
    assert plan_launch("d", "c", PastRuns()).run_key == "d:c:1"
    assert plan_launch("d", "c", PastRuns(ended=1, keys=frozenset({"d:c:1"}))).run_key == "d:c:2"
    # The first run was deleted from the history, its failed successor was not.
    assert plan_launch("d", "c", PastRuns(ended=1, keys=frozenset({"d:c:2"}))).run_key == "d:c:3"


# --- the whole inbox ------------------------------------------------------------------------


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


def test_survey_inbox__in_flight_is_not_even_looked_at(inbox: Inbox, monkeypatch):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.runs.in_flight = frozenset({"a"})
    monkeypatch.setattr(surveys, "look_at", None)
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


# --- finished -------------------------------------------------------------------------------


def finished(inbox: Inbox) -> frozenset[str]:
    return inbox.survey().finished


@pytest.mark.parametrize("until", ["images", "tiles", "embeddings"])
def test_survey_inbox__finished_is_images_tiles_and_embeddings(inbox: Inbox, until: str):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    inbox.make("a", until=until)
    assert inbox.survey().finished == ({"a"} if until == "embeddings" else set())


def test_survey_inbox__a_finished_drop_is_not_looked_at(inbox: Inbox, monkeypatch):
    inbox.put("a/1.jpg")
    inbox.launched()
    assert set(inbox.memory.seen) == {"a"}
    inbox.make("a")
    inbox.put("a/2.jpg")  # whoever adds to a finished drop registers it again
    monkeypatch.setattr(surveys, "look_at", None)
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


# --- what stands in the way -----------------------------------------------------------------


def test_survey_inbox__one_bad_folder_stops_no_other(inbox: Inbox, monkeypatch):
    for name in ("a", "bad", "c", "denied", "---", "caf\udce9"):
        inbox.put(f"{name}/1.jpg")
        inbox.put(f"{name}/{MARKER}", b"")
    inbox.store.put("drops/bad.json", b"{")
    real = surveys.look_at

    def look_at_all_but(source: str, *, root: Path) -> Look:
        if source.endswith("bad"):
            raise SourceError("cannot list 'bad': Input/output error")
        if source.endswith("denied"):
            raise StoreAccessError("list 'denied': access denied")
        return real(source, root=root)

    monkeypatch.setattr(surveys, "look_at", look_at_all_but)
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


def test_survey_inbox__gone_while_it_is_looked_at(inbox: Inbox, monkeypatch):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    real = surveys.look_at

    def look_and_lose(source: str, *, root: Path) -> Look:
        found = real(source, root=root)
        shutil.rmtree(source)
        return found

    monkeypatch.setattr(surveys, "look_at", look_and_lose)
    assert "there is no folder" in inbox.note("a")
    assert inbox.survey().memory.seen == {}


def test_survey_inbox__a_listing_that_fails_once_resets_no_clock(inbox: Inbox, monkeypatch):
    inbox.put("a/1.jpg")
    assert "new or changed" in inbox.note("a")

    def refuse(source: str, *, root: Path) -> Look:
        raise SourceError("cannot list 'a': Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(surveys, "look_at", refuse)
        assert "Stale file handle" in inbox.note("a")
    assert inbox.launched() == ["a"]


def test_survey_inbox__changed_between_looking_and_registering(inbox: Inbox, monkeypatch):
    inbox.put("a/1.jpg")
    inbox.put(f"a/{MARKER}", b"")
    real = surveys.look_at

    def look_and_change(source: str, *, root: Path) -> Look:
        found = real(source, root=root)
        inbox.put("a/2.jpg")
        return found

    monkeypatch.setattr(surveys, "look_at", look_and_change)
    assert inbox.note("a") == "still arriving (changed while it was being registered)"
    monkeypatch.setattr(surveys, "look_at", real)
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
    real = surveys.look_at

    def look_at_dead_server(source: str, *, root: Path) -> Look:
        monkeypatch.setenv("MINIO_ENDPOINT", "http://127.0.0.1:9")
        return real(source, root=root)

    monkeypatch.setattr(surveys, "look_at", look_at_dead_server)
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        inbox.survey()


# --- fairness and memory --------------------------------------------------------------------


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


def test_survey_inbox__stops_in_time_and_goes_on_where_it_stopped(inbox: Inbox, monkeypatch):
    for name in "abcd":
        inbox.put(f"{name}/1.txt")
    real = surveys.look_at
    looked: list[str] = []

    def look_slowly(source: str, *, root: Path) -> Look:
        inbox.now_s += slow_s
        looked.append(source[-1])
        return real(source, root=root)

    monkeypatch.setattr(surveys, "look_at", look_slowly)
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


def test_survey_inbox__what_was_not_looked_at_is_remembered(inbox: Inbox, monkeypatch):
    for name in "ab":
        inbox.put(f"{name}/1.jpg")
    inbox.survey()
    before = inbox.memory.seen
    monkeypatch.setattr(surveys, "MAX_LAUNCHES", 0)
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


# --- words ----------------------------------------------------------------------------------


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
