"""Plans of runs for drops and assets."""

import pytest

from dino_assets.defs.plans import JOBS, PlannedRun, plan_runs
from dino_assets.store.commits.catalogue import LINEAGE

INGEST, CURATE = JOBS["ingest"], JOBS["curate"]


@pytest.mark.parametrize("drops", [["a"], ["b", "a"]])
def test_plan_runs__each_drop_and_one_map_of_all(drops: list[str]):
    planned_runs = plan_runs(drops, LINEAGE)
    assert planned_runs == [
        *(PlannedRun("ingest", INGEST, drop) for drop in drops),
        PlannedRun("curate", CURATE, None),
    ]
    assert all(each.is_whole_job for each in planned_runs)


def test_plan_runs__assets_of_some_jobs():
    assert plan_runs(["a"], ("selections", "embeddings")) == [
        PlannedRun("ingest", ("embeddings",), "a"),
        PlannedRun("curate", ("selections",), None),
    ]
    assert plan_runs([], ("weights", "projections")) == [
        PlannedRun("ingest", ("weights",), None),
        PlannedRun("curate", ("projections",), None),
    ]


@pytest.mark.parametrize(
    ("drops", "assets", "job"),
    [
        (["a"], INGEST, "ingest"),
        (["a"], ("images", "tiles"), "ingest"),
        ([], ("weights",), "ingest"),
        ([], CURATE, "curate"),
        ([], ("selections",), "curate"),
    ],
)
def test_plan_runs__job_of_the_assets(drops, assets, job):
    (planned_run,) = plan_runs(drops, assets)
    assert (planned_run.job, planned_run.assets, planned_run.drop) == (
        job,
        assets,
        *(drops or [None]),
    )
    assert planned_run.is_whole_job == (assets == JOBS[job])


def test_plan_runs__partitioned_assets_need_drops():
    with pytest.raises(ValueError, match="name the drops"):
        plan_runs([], INGEST)
