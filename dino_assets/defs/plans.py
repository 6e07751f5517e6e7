"""Which runs bring about what a person asks for: some assets of some drops."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dino_assets.store.commits.catalogue import ASSETS, CATALOGUE, PER_DROP, assets_of_job

JOBS = {"ingest": assets_of_job("ingest"), "curate": assets_of_job("curate"), "lineage": ASSETS}


@dataclass(frozen=True)
class PlannedRun:
    """One run of a named job; ``drop`` is None where nothing is made drop by drop."""

    job: str
    assets: tuple[str, ...]
    drop: str | None

    @property
    def is_whole_job(self) -> bool:
        """Whether the run makes all that its job makes."""
        return self.assets == JOBS[self.job]


def plan_runs(drops: Sequence[str], assets: Collection[str]) -> list[PlannedRun]:
    """Plan one run per drop; of several drops, what is made from all of them comes in a last run.

    Not one run over a range of partitions: a range takes in whatever was registered between its
    ends, and a drop that fails would end the run in the middle of the others.
    """
    if needs_drops(assets) and not drops:
        raise ValueError("these assets are made drop by drop: name the drops")
    if not needs_drops(assets):
        return [_plan(None, assets)]
    if len(drops) == 1:
        return [_plan(drops[0], assets)]
    shared = [a.name for a in CATALOGUE if a.job == "curate" and a.name in assets]
    own = set(assets).difference(shared)
    last = [_plan(None, shared)] if shared else []
    return [*(_plan(drop, own) for drop in drops), *last]


def needs_drops(assets: Collection[str]) -> bool:
    """Whether any of the assets is made drop by drop."""
    return any(asset.name in assets for asset in PER_DROP)


def _plan(drop: str | None, assets: Collection[str]) -> PlannedRun:
    ordered = tuple(name for name in ASSETS if name in assets)
    job = next(job for job, made in JOBS.items() if set(ordered) <= set(made))
    return PlannedRun(job, ordered, drop)
