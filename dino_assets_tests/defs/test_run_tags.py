"""Tags of runs: whoever makes one, it is found by drop, model and space."""

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
    """On an instance that lasts: in one of memory nothing is tagged."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        lineage = Lineage(instance)
        for name in ("a", "b"):
            lineage.register(name, card(name, good=1))
        yield lineage


def tags(lineage: Lineage, run_id: str) -> dict[str, str]:
    kept = lineage.instance.get_run_by_id(run_id).tags
    return {name: value for name, value in kept.items() if name.startswith("dino_assets/")}


def test_tags__of_a_run_that_the_ui_makes(lineage: Lineage):
    run = lineage.run("a", only=["weights", "images", "tiles", "embeddings"])
    (space,) = list_spaces(lineage.store, "embeddings")
    assert tags(lineage, run.run_id) == {
        DROP_TAG: "a",
        MODEL_TAG: lineage.settings.model,
        SPACE_TAG: space,
    }


def test_tags__of_several_drops_and_of_none(lineage: Lineage):
    several = lineage.run("a", "b", only=["weights", "images"])
    assert tags(lineage, several.run_id)[DROP_TAG] == "a...b"
    none = lineage.run(only=["weights"])
    assert tags(lineage, none.run_id) == {MODEL_TAG: lineage.settings.model}


def test_tags__of_dino_assets_run_before_it_begins(lineage: Lineage):
    seen: list[dict[str, str]] = []

    def listen(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event and event.event_type == dg.DagsterEventType.RUN_START:
            seen.append(tags(lineage, entry.run_id))

    (planned,) = plan_runs(["a"], ["weights", "images"])
    definitions = make_definitions(lineage.settings)
    execute_run(definitions, lineage.instance, planned, config={}, listen=listen)
    assert seen == [{DROP_TAG: "a", MODEL_TAG: lineage.settings.model}]


def test_find_model__the_run_s_own_before_the_settings(project):
    settings = Lineage(None).settings
    assert find_model({"resources": {"hub": {"config": {"model": "x"}}}}) == "x"
    assert find_model({"resources": {"hub": {"config": {"model": {"env": "X"}}}}}) == settings.model
    assert find_model({}) == settings.model


@pytest.mark.parametrize(("last", "tag"), [("a", "a"), ("c", "a...c")])
def test_tags_of_run__a_range_of_one_drop_is_found_as_that_drop(project, last: str, tag: str):
    span = dict(zip(RANGE_TAGS, ("a", last), strict=True))
    assert tags_of_run(dg.DagsterRun("ingest", tags=span))[DROP_TAG] == tag
