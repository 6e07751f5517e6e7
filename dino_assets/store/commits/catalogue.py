"""The catalogue of assets: their jobs, partitions, spaces and pictures."""

from dataclasses import dataclass
from typing import Literal

# The UI shows the small picture of this name that is stored with an output.
PREVIEW = "preview.png"
# Pictures that the UI shows with an output of an asset → the file that a click opens.
PICTURES: dict[str, dict[str, str]] = {
    "images": {"footprints.png": "report.html"},
    "projections": {"map.png": "map.html"},
    "selections": {
        "contact-sheet.jpg": "contact-sheet.jpg",
        "round-map.png": "round-map.html",
    },
    "labels": {"labels.png": "labels.png"},
    "probes": {"confusion.png": "confusion.png", "calibration.png": "calibration.png"},
    "learning_curve": {"curve.png": "curve.png"},
    "heat_maps": {"heat-maps.png": "heat-maps.png"},
    "label_exports": {"contact-sheet.jpg": "contact-sheet.jpg"},
    "label_versions": {"labels.png": "labels.png"},
}


@dataclass(frozen=True)
class Asset:
    """One asset. With ``is_record``, its outputs cannot be made again once their manifests are lost."""

    name: str
    job: Literal["ingest", "curate", "learn", "deploy"]
    # The recipe's input from which the output of each drop is made; None: there is one output for all drops.
    made_from: str | None = None
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
    # Answers are the record; labels follow from them.
    Asset("labels", "learn"),
    Asset("probes", "learn", in_space=True),
    Asset("learning_curve", "learn", in_space=True),
    Asset("heat_maps", "learn", in_space=True),
    Asset("label_exports", "learn", in_space=True),
    # Others cite a version; later labels would make another one.
    Asset("label_versions", "learn", is_record=True),
    Asset("deployments", "deploy", in_space=True),
)
ASSETS = tuple(asset.name for asset in CATALOGUE)
# From photographs to a round. What is learnt from labels, and files for other programs, are made on request.
LINEAGE = tuple(asset.name for asset in CATALOGUE if asset.job in ("ingest", "curate"))
# Assets with one output per drop, each made from the asset before it.
PER_DROP = tuple(asset for asset in CATALOGUE if asset.per_drop)
# Assets that `dino-assets run` makes, in their order; without a choice, those of the lineage.
RUNNABLE = tuple(asset.name for asset in CATALOGUE if asset.job != "deploy")
RECORDS = frozenset(asset.name for asset in CATALOGUE if asset.is_record)


def assets_of_job(job: str) -> tuple[str, ...]:
    """List the names of the assets that a job makes."""
    return tuple(asset.name for asset in CATALOGUE if asset.job == job)


def job_of(name: str) -> str:
    """Return the name of the job that makes an asset. It is also the asset's group in the UI."""
    (job,) = [asset.job for asset in CATALOGUE if asset.name == name]
    return job
