"""The catalogue of assets: what each part of the software needs to know of every output."""

from dataclasses import dataclass
from typing import Literal

# A small picture of this name, stored beside a table, is shown wherever the output is.
PREVIEW = "preview.png"
# The pictures by which an output is known, and the file that each opens.
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
    """One asset. An output that is a record cannot be made again once its manifest is gone."""

    name: str
    job: Literal["ingest", "curate", "deploy"]
    made_from: str | None = None  # of an asset per drop: the input by which it follows another
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
    # People label by a round, and later rounds count on it.
    Asset("selections", "curate", in_space=True, is_record=True),
    Asset("deployments", "deploy", in_space=True),
)
ASSETS = tuple(asset.name for asset in CATALOGUE)
# From photographs to a round. What leaves for other programs is made when somebody wants it.
LINEAGE = tuple(asset.name for asset in CATALOGUE if asset.job != "deploy")
# Those that are made drop by drop, each from the one before it.
PER_DROP = tuple(asset for asset in CATALOGUE if asset.per_drop)
RECORDS = frozenset(asset.name for asset in CATALOGUE if asset.is_record)


def assets_of_job(job: str) -> tuple[str, ...]:
    """Name the assets that a job makes."""
    return tuple(asset.name for asset in CATALOGUE if asset.job == job)


def job_of(name: str) -> str:
    """Name the job that makes an asset, which is its group in the UI, too."""
    (job,) = [asset.job for asset in CATALOGUE if asset.name == name]
    return job
