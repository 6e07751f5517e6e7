"""Labels versions: frozen folders of labels with pictures, which others can cite and load."""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dino_assets.counting import count_of
from dino_assets.drops.sources.source import Source
from dino_assets.errors import NotCommittedError, TargetError
from dino_assets.labels.formats.card import CARD, CardFacts, write_card
from dino_assets.labels.formats.croissant import CROISSANT, DatasetFacts, encode_croissant
from dino_assets.labels.records import Label
from dino_assets.labels.stage.answers import read_answers
from dino_assets.labels.stage.drafting import OUTPUT, draft_labels
from dino_assets.labels.stage.label_pictures import LabelPictures
from dino_assets.labels.stage.reading import read_labels
from dino_assets.labels.version_settings import VersionSettings
from dino_assets.settings.described import to_recipe
from dino_assets.store.commits.manifests import content_hash, find_manifest
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.targets import explaining

RECEIPT, PARQUET, CROPS = "receipt.json", "data/labels.parquet", "crops"
_GROUP_ROWS = 64
_VERSION_CHARS = 12
COLUMNS: dict[str, tuple[str, str]] = {
    "image": ("image", "picture of the labelled tile, box or photograph"),
    "label": ("int", "number of the class, from 0, in the order of the classes' names"),
    "class_name": ("text", "the class"),
    "level": ("text", "what has the class: a tile, a box, or a whole photograph (image)"),
    "tile_id": ("text", "id of the tile; null for a box or a photograph"),
    "image_id": ("text", "sha256 of the photograph's file"),
    "drop": ("text", "the flight"),
    "photograph": ("text", "path of the photograph in the flight"),
    "x": ("int", "left edge in pixels of the upright photograph"),
    "y": ("int", "top edge"),
    "w": ("int", "width"),
    "h": ("int", "height"),
    "people": ("int", "number of people who gave this class"),
    "is_settled": ("bool", "whether people disagreed and one of them decided"),
    "labelled_at": ("time", "when the deciding answer was given, in UTC"),
    "label_id": ("text", "id of the deciding answer"),
}


@dataclass(frozen=True, eq=False)
class FrozenLabels:
    """Committed labels that are to become a version: its id, its receipt, and the number of disagreements.

    The id is the beginning of the receipt's hash.
    """

    version: str
    receipt: bytes
    labels: tuple[Label, ...]
    conflicts: int


@dataclass(frozen=True)
class LabelsVersion:
    """A written version: its id, the number of labels, and of those without a picture."""

    version: str
    labels: int
    without_picture: int
    conflicts: int


def freeze_labels(store: ObjectStore, settings: VersionSettings) -> FrozenLabels:
    """Freeze the committed labels; other labels, or other words about them, are another version.

    Raises:
        NotCommittedError: there are no labels.
    """
    manifest = find_manifest(store, OUTPUT)
    labels = tuple(read_labels(store)) if manifest else ()
    if manifest is None or not labels:
        raise NotCommittedError(
            "there are no labels to write. Label a round first, or import labels with `dino-assets labels import`.",
            output="labels",
            reason="no-row",
        )
    receipt = {
        "format": 1,
        "labels": content_hash(manifest),
        # Hashes only: the keys of the answers hold the names of people.
        "answers": sorted(each.sha256 for each in read_answers(store)),
        "published_as": to_recipe(settings),
    }
    sealed = json.dumps(receipt, sort_keys=True, indent=1).encode() + b"\n"
    version = hashlib.sha256(sealed).hexdigest()[:_VERSION_CHARS]
    return FrozenLabels(version, sealed, labels, int(manifest.facts["conflicts"]))


def write_version(
    store: ObjectStore,
    folder: Path,
    settings: VersionSettings,
    *,
    open_source: Callable[[str], Source],
    say: Callable[[str], object],
) -> LabelsVersion:
    """Write all labels of the store as a frozen folder; equal labels and settings give equal bytes.

    The folder appears when it is complete. A label whose photograph cannot be read has no picture; ``say`` is
    called with the reason.

    The table of labels is committed first, if it is older than the answers.

    Raises:
        NotCommittedError: there are no labels.
        TargetError: the folder exists and is not empty, or cannot be written.
        DiskFullError: the disk is full.
    """
    commit(store, draft_labels(store))  # reused if it is up to date
    frozen = freeze_labels(store, settings)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TargetError(
            f"{str(folder)!r} is not empty, and a version is written as a whole. Name a new folder.",
            path=str(folder),
            reason="occupied",
        )
    with explaining(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            aside.chmod(0o755)
            pictures = LabelPictures(store, frozen.labels, open_source, say)
            written = write_version_files(aside, frozen, settings, pictures)
            aside.replace(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return written


def write_version_files(
    folder: Path, frozen: FrozenLabels, settings: VersionSettings, pictures: LabelPictures
) -> LabelsVersion:
    """Write the files of a version to an empty folder."""
    missing = _write_rows(folder, frozen.labels, pictures)
    (folder / RECEIPT).write_bytes(frozen.receipt)
    _describe(folder, frozen.labels, settings, frozen.version, missing, frozen.conflicts)
    return LabelsVersion(frozen.version, len(frozen.labels), missing, frozen.conflicts)


def _write_rows(folder: Path, labels: Sequence[Label], pictures: LabelPictures) -> int:
    """Write the table and the crops; return the number of labels without a picture."""
    classes = sorted({label.class_name for label in labels})
    schema = _make_schema(classes)
    (folder / CROPS).mkdir()
    (folder / PARQUET).parent.mkdir()
    missing, rows = 0, []
    with pq.ParquetWriter(folder / PARQUET, schema, compression="zstd") as writer:
        for label, jpeg in pictures.walk():
            name = f"{CROPS}/{_name_crop(label)}"
            if jpeg is None:
                missing += 1
            else:
                (folder / name).write_bytes(jpeg)
            image = None if jpeg is None else {"bytes": jpeg, "path": name}
            rows.append(_make_row(label, classes.index(label.class_name), image))
            if len(rows) == _GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return missing


def _make_row(label: Label, number: int, image: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "image": image,
        "label": number,
        "class_name": label.class_name,
        "level": label.level,
        "tile_id": label.tile_id,
        "image_id": label.image_id,
        "drop": label.drop,
        "photograph": label.path,
        "x": label.x,
        "y": label.y,
        "w": label.w,
        "h": label.h,
        "people": label.people,
        "is_settled": label.is_settled,
        "labelled_at": label.at,
        "label_id": label.label_id,
    }


def _make_schema(classes: Sequence[str]) -> pa.Schema:
    """Make the table's schema, with the types by which Hugging Face's ``datasets`` reads it."""
    kinds = {"text": pa.string(), "int": pa.int64(), "bool": pa.bool_()}
    kinds |= {"time": pa.timestamp("ms", "UTC")}
    kinds |= {"image": pa.struct({"bytes": pa.binary(), "path": pa.string()})}
    features: dict[str, Any] = {
        name: {
            "dtype": str(kinds[kind]) if kind != "time" else "timestamp[ms, tz=UTC]",
            "_type": "Value",
        }
        for name, (kind, _) in COLUMNS.items()
    }
    features["image"] = {"_type": "Image"}
    features["label"] = {"names": list(classes), "_type": "ClassLabel"}
    info = json.dumps({"info": {"features": features}}, sort_keys=True)
    fields = [pa.field(name, kinds[kind]) for name, (kind, _) in COLUMNS.items()]
    return pa.schema(fields, metadata={b"huggingface": info.encode()})


def _name_crop(label: Label) -> str:
    if label.tile_id is not None:
        return f"{label.tile_id}.jpg"
    window = f"x{label.x:05d}y{label.y:05d}w{label.w:05d}h{label.h:05d}"
    return f"{label.image_id[:16]}-{window}-{label.level}.jpg"


def _describe(
    folder: Path,
    labels: Sequence[Label],
    settings: VersionSettings,
    version: str,
    missing: int,
    conflicts: int,
) -> None:
    published = max(label.at for label in labels).date().isoformat()
    with (folder / PARQUET).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    total = count_of(len(labels), "label")
    croissant = encode_croissant(
        DatasetFacts(
            title=settings.title,
            description=f"{total} of aerial photographs, made with dino-assets.",
            licence=settings.licence,
            version=f"1.0.0+{version}",
            published=published,
            creator=settings.creator,
            url=settings.url,
            parquet=PARQUET,
            parquet_sha256=sha256,
            parquet_bytes=(folder / PARQUET).stat().st_size,
            columns=COLUMNS,
        )
    )
    card = write_card(
        CardFacts(
            title=settings.title,
            licence=settings.licence,
            version=version,
            published=published,
            classes=count_words(label.class_name for label in labels),
            levels=count_words(label.level for label in labels),
            drops=count_words(label.drop for label in labels),
            without_picture=missing,
            conflicts=conflicts,
            parquet=PARQUET,
            columns=COLUMNS,
        )
    )
    (folder / CROISSANT).write_bytes(croissant)
    (folder / CARD).write_bytes(card)


def count_words(words: Iterable[str]) -> dict[str, int]:
    """Count words, sorted."""
    return dict(sorted(Counter(words).items()))
