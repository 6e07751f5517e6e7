"""Run tags: all runs can be found by drop, model and space."""

import dagster as dg
import pytest

from dino_assets.definitions import make_definitions
from dino_assets.defs.execution import execute_run
from dino_assets.defs.plans import plan_runs
from dino_assets.defs.run_tags import (
    DROP_TAG,
    MODEL_TAG,
    RANGE_TAGS,
    SPACE_TAG,
    find_model,
    tags_of_run,
)
from dino_assets.store.commits.listing import list_spaces
from dino_assets_tests.defs.conftest import Lineage


@pytest.fixture
def lineage(project, card, tmp_path) -> Lineage:
    """Run on a persistent instance: runs in memory are not tagged."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        lineage = Lineage(instance)
        for name in ("a", "b"):
            lineage.register(name, card(name, good=1))
        yield lineage


def tags(lineage: Lineage, run_id: str) -> dict[str, str]:
    tags = lineage.instance.get_run_by_id(run_id).tags
    return {name: value for name, value in tags.items() if name.startswith("dino_assets/")}


def test_tags__run_created_by_the_ui(lineage: Lineage):
    run = lineage.run("a", only=["weights", "images", "tiles", "embeddings"])
    (space,) = list_spaces(lineage.store, "embeddings")
    assert tags(lineage, run.run_id) == {
        DROP_TAG: "a",
        MODEL_TAG: lineage.settings.model,
        SPACE_TAG: space,
    }


def test_tags__several_drops_and_none(lineage: Lineage):
    result = lineage.run("a", "b", only=["weights", "images"])
    assert tags(lineage, result.run_id)[DROP_TAG] == "a...b"
    none = lineage.run(only=["weights"])
    assert tags(lineage, none.run_id) == {MODEL_TAG: lineage.settings.model}


def test_tags__dino_assets_run_tags_before_the_start(lineage: Lineage):
    tag_sets: list[dict[str, str]] = []

    def listen(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event and event.event_type == dg.DagsterEventType.RUN_START:
            tag_sets.append(tags(lineage, entry.run_id))

    (planned_run,) = plan_runs(["a"], ["weights", "images"])
    definitions = make_definitions(lineage.settings)
    execute_run(definitions, lineage.instance, planned_run, config={}, listen=listen)
    assert tag_sets == [{DROP_TAG: "a", MODEL_TAG: lineage.settings.model}]


def test_find_model__run_config_before_settings(project):
    settings = Lineage(None).settings
    assert find_model({"resources": {"hub": {"config": {"model": "x"}}}}) == "x"
    assert find_model({"resources": {"hub": {"config": {"model": {"env": "X"}}}}}) == settings.model
    assert find_model({}) == settings.model


@pytest.mark.parametrize(("last", "tag"), [("a", "a"), ("c", "a...c")])
def test_tags_of_run__range_of_one_drop(project, last: str, tag: str):
    span = dict(zip(RANGE_TAGS, ("a", last), strict=True))
    assert tags_of_run(dg.DagsterRun("ingest", tags=span))[DROP_TAG] == tag
