"""Plans of runs: which runs make the assets and drops that a person asks for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dino_assets.store.commits.catalogue import PER_DROP, assets_of_job

JOBS = {job: assets_of_job(job) for job in ("ingest", "curate", "learn")}


@dataclass(frozen=True)
class PlannedRun:
    """One run of a named job; ``drop`` is None if none of its assets is partitioned."""

    job: str
    assets: tuple[str, ...]
    drop: str | None

    @property
    def is_whole_job(self) -> bool:
        """Whether the run makes all assets of its job."""
        return self.assets == JOBS[self.job]


def plan_runs(drops: Sequence[str], assets: Collection[str]) -> list[PlannedRun]:
    """Plan one run of ``ingest`` per drop, then one of ``curate`` and one of ``learn`` for all drops together.

    One run over a range of partitions would also include every drop that was registered between the first and
    the last one. In such a run, a failed drop would end the run before the other drops are done. In a run of
    ``lineage``, a failed drop would mark map and round as failed, although the committed ones stay valid.

    Raises:
        ValueError: one of the assets is made drop by drop, and ``drops`` is empty.
    """
    if needs_drops(assets) and not drops:
        raise ValueError(
            f"no drops for {', '.join(sorted(assets))}: these assets are made drop by drop, so name the drops"
        )
    of_each = drops if needs_drops(assets) else [None]
    runs = [PlannedRun("ingest", _choose("ingest", assets), drop) for drop in of_each]
    runs += [PlannedRun(job, _choose(job, assets), None) for job in ("curate", "learn")]
    return [planned for planned in runs if planned.assets]


def needs_drops(assets: Collection[str]) -> bool:
    """Check whether any of the assets is made drop by drop."""
    return any(asset.name in assets for asset in PER_DROP)


def _choose(job: str, assets: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in JOBS[job] if name in assets)
