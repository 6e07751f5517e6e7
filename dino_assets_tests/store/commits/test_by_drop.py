import shutil
from pathlib import Path

import pytest

from dino_assets.drops.sources.opening import open_source
from dino_assets.errors import DropsFailedError, DropUnusableError, SourceError
from dino_assets.images.stage.drafting import draft_images
from dino_assets.store.commits.by_drop import DropDrafts, DropOutcome, commit_drops, raise_failures
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests.worlds.inboxes import fill, make_drop
from dino_assets_tests.worlds.raising import raising

DROPS = ("a", "b", "c")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    for name in DROPS:
        fill(tmp_path / "inbox" / name, {f"{name}-{n}.jpg": (20, 10) for n in range(3)})
    return tmp_path / "inbox"


def image_drafts(inbox: Path, drops: tuple[str, ...] = DROPS) -> DropDrafts:
    drops_by_name = {name: make_drop(name, inbox / name) for name in drops}

    def make(name: str) -> Draft:
        return draft_images(
            drops_by_name[name], open_source(drops_by_name[name].source, root=inbox), threads=1
        )

    return DropDrafts(drops, make)


# --- DropDrafts -----------------------------------------------------------------------------


def test_drop_drafts__sorted_without_repeats_and_made_lazily(inbox: Path):
    names = []
    drafts = DropDrafts(["c", "a", "c", "b"], lambda name: names.append(name))  # type: ignore[arg-type, return-value, func-returns-value]
    assert drafts.drops == DROPS
    assert names == []
    iterator = iter(drafts)
    assert next(iterator)[0] == "a"
    assert names == ["a"]
    assert [drop for drop, _ in drafts] == list(DROPS)  # a second iteration starts again
    assert not hasattr(drafts, "__next__")  # Dagster would treat a generator as several outputs


# --- commit_drops ---------------------------------------------------------------------------


def test_commit_drops__every_drop_succeeds(store: ObjectStore, inbox: Path):
    outcomes = list(commit_drops(store, image_drafts(inbox, ("c", "a", "b"))))
    assert [o.drop for o in outcomes] == list(DROPS)
    assert all(o.error is None and o.committed and o.seconds >= 0 for o in outcomes)
    assert open_table(store, "images").drops == DROPS
    raise_failures("images", outcomes)


def test_commit_drops__one_failed_drop_leaves_two_committed(store: ObjectStore, inbox: Path):
    drafts = image_drafts(inbox)
    shutil.rmtree(inbox / "b")
    outcomes = list(commit_drops(store, drafts))
    assert open_table(store, "images").drops == ("a", "c")
    assert [isinstance(o.error, SourceError) for o in outcomes] == [False, True, False]
    with pytest.raises(DropsFailedError) as caught:
        raise_failures("images", outcomes)
    assert set(caught.value.failures) == {"b"}
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "images: 1 of 3 drops failed, 2 are committed and will be reused by the next run:"
    )
    assert lines[1].startswith("  b: SourceError: there is no folder")


def test_commit_drops__next_run_reuses_the_finished_ones(store: ObjectStore, inbox: Path):
    drafts = image_drafts(inbox)
    (inbox / "b").rename(inbox / "away")
    list(commit_drops(store, drafts))
    (inbox / "away").rename(inbox / "b")
    outcomes = list(commit_drops(store, image_drafts(inbox)))
    assert [(o.drop, o.committed and o.committed.was_reused) for o in outcomes] == [
        ("a", True), ("b", False), ("c", True),
    ]  # fmt: skip


def test_commit_drops__tiles_of_an_unusable_drop(store: ObjectStore, inbox: Path):
    for number in range(3):
        (inbox / "b" / f"bad-{number}.jpg").write_text("no picture")
    list(commit_drops(store, image_drafts(inbox)))
    images = open_table(store, "images")
    assert images.drops == DROPS  # the rows of the unusable drop can be inspected
    drafts = DropDrafts(DROPS, lambda drop: draft_tiles(images, drop, make_grid(512)))
    outcomes = list(commit_drops(store, drafts))
    assert open_table(store, "tiles").drops == ("a", "c")
    assert isinstance(outcomes[1].error, DropUnusableError)


def test_commit_drops__failure_is_logged_with_its_cause(
    inbox: Path, caplog: pytest.LogCaptureFixture
):
    drafts = image_drafts(inbox)
    shutil.rmtree(inbox / "a")
    list(commit_drops(ObjectStore.in_memory(), drafts))
    (record,) = [r for r in caplog.records if r.name == "dino_assets.store.commits.by_drop"]
    assert record.getMessage() == "drop a failed"
    assert record.exc_info


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_commit_drops__cancellation_is_not_swallowed(inbox: Path, stop: type[BaseException]):
    def make(name: str) -> Draft:
        raise stop

    with pytest.raises(stop):
        list(commit_drops(ObjectStore.in_memory(), DropDrafts(["a"], make)))


def test_commit_drops__yields_each_outcome_before_the_next_commit(inbox: Path):
    """Each outcome is yielded when its drop is committed, before the next draft is made."""
    memory = ObjectStore.in_memory()
    for count, outcome in enumerate(commit_drops(memory, image_drafts(inbox)), start=1):
        assert open_table(memory, "images").drops == DROPS[:count]
        assert outcome.drop == DROPS[count - 1]


# --- raise_failures -------------------------------------------------------------------------


def test_raise_failures__no_failures():
    raise_failures("images", [])
    raise_failures("images", [DropOutcome("a", None, None, 0.0)])


def test_raise_failures__names_every_failed_drop():
    outcomes = [DropOutcome(d, None, ValueError(f"{d} is bad"), 0.0) for d in DROPS]
    with raising(DropsFailedError, failures={o.drop: o.error for o in outcomes}):
        raise_failures("tiles", outcomes)
