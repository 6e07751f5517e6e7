"""The catalogue of assets: their jobs, partitions, spaces and pictures."""

from dataclasses import dataclass
from typing import Literal

# A small picture with this name, stored beside a table, is shown with the output.
PREVIEW = "preview.png"
# The pictures shown for an output, and the file that each one links to.
PICTURES: dict[str, dict[str, str]] = {
    "images": {"footprints.png": "report.html"},
    "projections": {"map.png": "map.html"},
    "selections": {
        "contact-sheet.jpg": "contact-sheet.jpg",
        "round-map.png": "round-map.html",
    },
}


@dataclass(frozen=True)
class Asset:
    """One asset. If it is a record, its outputs cannot be made again once their manifests are gone."""

    name: str
    job: Literal["ingest", "curate", "deploy"]
    made_from: str | None = None  # for an asset per drop: the input whose drops it follows
    in_space: bool = False
    is_record: bool = False

    @property
    def per_drop(self) -> bool:
        """Whether there is one output per drop."""
        return self.made_from is not None


CATALOGUE = (
    Asset("weights", "ingest"),
    Asset("images", "ingest", made_from="source"),
    Asset("tiles", "ingest", made_from="images"),
    Asset("embeddings", "ingest", made_from="tiles", in_space=True),
    Asset("projections", "curate", in_space=True),
    # People label the tiles of a round, and later rounds depend on it.
    Asset("selections", "curate", in_space=True, is_record=True),
    Asset("deployments", "deploy", in_space=True),
)
ASSETS = tuple(asset.name for asset in CATALOGUE)
# From photographs to a round. Files for other programs (deployments) are made on request only.
LINEAGE = tuple(asset.name for asset in CATALOGUE if asset.job != "deploy")
# Assets with one output per drop, each made from the asset before it.
PER_DROP = tuple(asset for asset in CATALOGUE if asset.per_drop)
RECORDS = frozenset(asset.name for asset in CATALOGUE if asset.is_record)


def assets_of_job(job: str) -> tuple[str, ...]:
    """List the names of the assets that a job makes."""
    return tuple(asset.name for asset in CATALOGUE if asset.job == job)


def job_of(name: str) -> str:
    """Return the name of the job that makes an asset. It is also the asset's group in the UI."""
    (job,) = [asset.job for asset in CATALOGUE if asset.name == name]
    return job
