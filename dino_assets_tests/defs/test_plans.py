"""Which runs are planned for which drops and assets."""

import pytest

from dino_assets.defs.plans import JOBS, PlannedRun, plan_runs
from dino_assets.store.commits.catalogue import ASSETS

INGEST, CURATE = JOBS["ingest"], JOBS["curate"]


def test_plan_runs__one_drop_is_one_run_of_the_lineage():
    (planned,) = plan_runs(["a"], ASSETS)
    assert planned == PlannedRun("lineage", ASSETS, "a")
    assert planned.is_whole_job


def test_plan_runs__several_drops_each_and_one_map_of_all():
    assert plan_runs(["b", "a"], ASSETS) == [
        PlannedRun("ingest", INGEST, "b"),
        PlannedRun("ingest", INGEST, "a"),
        PlannedRun("curate", CURATE, None),
    ]


@pytest.mark.parametrize(
    ("drops", "assets", "job"),
    [
        (["a"], INGEST, "ingest"),
        (["a"], ("images", "tiles"), "ingest"),
        (["a"], ("embeddings", "selections"), "lineage"),
        ([], ("weights",), "ingest"),
        ([], CURATE, "curate"),
        ([], ("selections",), "curate"),
        ([], ("weights", "projections"), "lineage"),
    ],
)
def test_plan_runs__the_smallest_job_that_makes_them(drops, assets, job):
    (planned,) = plan_runs(drops, assets)
    assert (planned.job, planned.assets, planned.drop) == (job, assets, *(drops or [None]))
    assert planned.is_whole_job == (assets == JOBS[job])


def test_plan_runs__drops_are_needed_for_what_is_made_of_drops():
    with pytest.raises(ValueError, match="name the drops"):
        plan_runs([], INGEST)
