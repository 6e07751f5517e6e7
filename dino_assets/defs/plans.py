"""Which runs bring about what a person asks for: some assets of some drops."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dino_assets.store.commits.catalogue import PER_DROP, assets_of_job

JOBS = {job: assets_of_job(job) for job in ("ingest", "curate")}


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
    """Plan one run of ``ingest`` per drop, and a last one of ``curate`` for what is made of all drops.

    Not one run over a range of partitions: a range takes in whatever was registered between its
    ends, and a drop that fails would end the run in the middle of the others. Nor one of ``lineage``:
    a drop that fails would leave the map and the round marked as failed, which still stand.
    """
    if needs_drops(assets) and not drops:
        raise ValueError("these assets are made drop by drop: name the drops")
    of_each = drops if needs_drops(assets) else [None]
    runs = [PlannedRun("ingest", _choose("ingest", assets), drop) for drop in of_each]
    runs.append(PlannedRun("curate", _choose("curate", assets), None))
    return [planned for planned in runs if planned.assets]


def needs_drops(assets: Collection[str]) -> bool:
    """Whether any of the assets is made drop by drop."""
    return any(asset.name in assets for asset in PER_DROP)


def _choose(job: str, assets: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in JOBS[job] if name in assets)
