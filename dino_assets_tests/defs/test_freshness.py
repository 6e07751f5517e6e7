"""Freshness: days without new photographs, and maps older than the embeddings."""

import time
from pathlib import Path

import dagster as dg
import pytest

from dino_assets.definitions import make_definitions
from dino_assets.defs.observations import (
    INBOX,
    LAST_CHANGED,
    PAGE,
    find_changes,
    record_observation,
)
from dino_assets.drops.arrivals import read_folder_state
from dino_assets.drops.marks import set_retired
from dino_assets.drops.observing import DAY_S, judge_arrivals
from dino_assets_tests.defs.conftest import Lineage, checks

LINEAR = {"method": "linear"}
DAY = 86_400.0


def look(lineage: Lineage) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the job of the daily look; return its check evaluations."""
    job = make_definitions(lineage.settings).resolve_job_def("observe_inbox")
    result = job.execute_in_process(instance=lineage.instance)
    assert result.success
    assert {e.check_name for e in result.get_asset_check_evaluations()} == {
        "flights_are_recent",
        "map_is_current",
    }
    return checks(result)


def see(lineage: Lineage, drop: str, folder: Path, at_s: float) -> None:
    """Record an observation at a time in the past."""
    record_observation(
        lineage.instance,
        lineage.store,
        drop,
        read_folder_state(str(folder), root=folder),
        write=lineage.instance.report_runless_asset_event,
        clock=lambda: at_s,
    )


def test_flights_are_recent__time_of_the_first_observation(lineage: Lineage, card, write_photo):
    now_s = time.time()
    folders = {name: card(name, good=1) for name in ("a", "b")}
    for name, folder in folders.items():
        lineage.register(name, folder)
    see(lineage, "a", folders["a"], now_s - 40 * DAY)
    see(lineage, "b", folders["b"], now_s - 31 * DAY)
    # An observation of the same files is no new flight.
    evaluation = look(lineage)["flights_are_recent"]
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "31 days ago (b, " in str(evaluation.description)
    assert find_changes(lineage.instance, ["a", "b"]) == pytest.approx(
        {"a": now_s - 40 * DAY, "b": now_s - 31 * DAY}, abs=1
    )
    write_photo(folders["a"] / "100MEDIA" / "DJI_0009.JPG")
    assert look(lineage)["flights_are_recent"].passed


def test_find_changes__number_of_queries_with_a_long_history(instance, monkeypatch):
    """One drop has many observations, one has a single one, one has none."""

    def observe(drop: str, changed_s: float) -> None:
        metadata = {LAST_CHANGED: dg.MetadataValue.timestamp(changed_s)}
        instance.report_runless_asset_event(
            dg.AssetObservation(INBOX, partition=drop, metadata=metadata)
        )

    observe("once", 1.0)
    for number in range(2 * PAGE + 10):
        observe("often", float(number))
    page_sizes: list[int] = []
    fetch = instance.fetch_observations

    def count(*args: object, **options: object) -> object:
        page = fetch(*args, **options)
        page_sizes.append(len(page.records))
        return page

    monkeypatch.setattr(instance, "fetch_observations", count)
    changed_s = find_changes(instance, ["often", "once", "never"])
    assert changed_s == {"often": 2 * PAGE + 9, "once": 1.0}
    assert page_sizes == [PAGE, 1, 0]


def test_flights_are_recent__configured_days(lineage: Lineage, card, monkeypatch):
    lineage.register("a", card("a", good=1))
    see(lineage, "a", card("a", good=1), time.time() - 40 * DAY)
    assert not look(lineage)["flights_are_recent"].passed
    monkeypatch.setenv("DINO_FLIGHT_DAYS", "60")
    assert look(Lineage(lineage.instance))["flights_are_recent"].passed


def test_judge_arrivals__the_latest_counts():
    verdict = judge_arrivals({"a": 0.0, "b": 5 * DAY_S}, now_s=15 * DAY_S, max_days=10)
    assert (verdict.warns, verdict.passed) == (False, True)
    assert "10 days ago (b, 1970-01-06)" in verdict.sentence
    assert judge_arrivals({"a": 0.0}, now_s=15 * DAY_S, max_days=10).warns
    # A clock that was set back is no reason to warn.
    assert not judge_arrivals({"a": 9 * DAY_S}, now_s=0.0, max_days=10).warns
    assert judge_arrivals({}, now_s=0.0, max_days=10).warns


def test_map_is_current__warns_after_other_drops_are_embedded(lineage: Lineage, card, write_photo):
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1 + (name == "b")))
    ingest = ["weights", "images", "tiles", "embeddings"]
    assert lineage.run("a", only=ingest).success
    none = look(lineage)["map_is_current"]
    assert not none.passed
    assert "1 drop is embedded and on no map" in str(none.description)
    assert checks(lineage.run(only=["projections"], projections=LINEAR))["map_is_current"].passed
    assert lineage.run("b", only=ingest).success
    evaluation = look(lineage)["map_is_current"]
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "b: not on the map" in str(evaluation.description)
    assert checks(lineage.run(only=["projections"], projections=LINEAR))["map_is_current"].passed
    set_retired(lineage.store, "b", True)
    assert "no longer in the pool" in str(look(lineage)["map_is_current"].description)
    write_photo(
        lineage.settings.root / "inbox" / "a" / "100MEDIA" / "DJI_0000.JPG", 1600, 1200, seed=77
    )
    assert lineage.run("a", only=ingest).success
    assert "a: embedded again since" in str(look(lineage)["map_is_current"].description)


def test_map_is_current__map_of_some_drops_is_compared_with_these(lineage: Lineage, card):
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1 + (name == "b")))
    ingest = ["weights", "images", "tiles", "embeddings"]
    assert lineage.run("a", "b", only=ingest).success
    assert lineage.run(only=["projections"], projections={**LINEAR, "drops": ["a"]}).success
    assert look(lineage)["map_is_current"].passed
