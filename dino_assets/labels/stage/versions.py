"""Labels versions: frozen folders of labels with pictures, which others can cite and load."""

import hashlib
import io
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dino_assets.counting import count_of
from dino_assets.drops.sources.source import Source
from dino_assets.errors import NotCommittedError, TargetError
from dino_assets.images.pixels import open_pixels
from dino_assets.images.records import Pixels
from dino_assets.labels.crops import ShotFacts, add_exif
from dino_assets.labels.formats.card import CARD, CardFacts, write_card
from dino_assets.labels.formats.croissant import CROISSANT, DatasetFacts, encode_croissant
from dino_assets.labels.records import Label
from dino_assets.labels.stage.answers import read_answers
from dino_assets.labels.stage.drafting import draft_labels
from dino_assets.labels.stage.reading import read_labels
from dino_assets.labels.stage.stored_tiles import (
    read_chosen_tiles,
    read_images,
    read_rows,
    read_shots,
)
from dino_assets.selections.stage.pictures import CROP_QUALITY
from dino_assets.selections.stage.unreadable import OF_ONE_DROP, explain
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.targets import explaining
from dino_assets.tiles.grid import cut_tiles
from dino_assets.tiles.rows import ImageToCut, TileRow

RECEIPT, PARQUET, CROPS = "receipt.json", "data/labels.parquet", "crops"
MAX_SIDE_PX = 1024  # of a box or a whole photograph; a tile has its own side
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


@dataclass(frozen=True)
class VersionSettings:
    """What a user says about a labels version: title, licence, and optionally who made it and where it is."""

    title: str
    licence: str
    creator: str = ""
    url: str = ""


@dataclass(frozen=True)
class LabelsVersion:
    """A written version: its id, the number of labels, and of those without a picture."""

    version: str
    labels: int
    without_picture: int
    conflicts: int


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
    manifest = commit(store, draft_labels(store)).manifest  # reused if it is up to date
    labels = read_labels(store)
    conflicts = int(manifest.facts["conflicts"])
    if not labels:
        raise NotCommittedError(
            "there are no labels to write. Label a round first, or import labels with `dino-assets labels import`.",
            output="labels",
            reason="no-row",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TargetError(
            f"{str(folder)!r} is not empty, and a version is written as a whole. Name a new folder.",
            path=str(folder),
            reason="occupied",
        )
    receipt = {
        "format": 1,
        "labels": content_hash(manifest),
        # Hashes only: the keys of the answers hold the names of people.
        "answers": sorted(each.sha256 for each in read_answers(store)),
    }
    sealed = json.dumps(receipt, sort_keys=True, indent=1).encode() + b"\n"
    version = hashlib.sha256(sealed).hexdigest()[:_VERSION_CHARS]
    with explaining(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            aside.chmod(0o755)
            pictures = _Pictures(store, labels, open_source, say)
            missing = _write_rows(aside, labels, pictures)
            (aside / RECEIPT).write_bytes(sealed)
            _describe(aside, labels, settings, version, missing, conflicts)
            aside.replace(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return LabelsVersion(version, len(labels), missing, conflicts)


def _write_rows(folder: Path, labels: Sequence[Label], pictures: "_Pictures") -> int:
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
            classes=_count(label.class_name for label in labels),
            levels=_count(label.level for label in labels),
            drops=_count(label.drop for label in labels),
            without_picture=missing,
            conflicts=conflicts,
            parquet=PARQUET,
            columns=COLUMNS,
        )
    )
    (folder / CROISSANT).write_bytes(croissant)
    (folder / CARD).write_bytes(card)


def _count(words: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


class _Pictures:
    """Pictures of labels: those that a round has already, and otherwise cut from the photographs."""

    def __init__(
        self,
        store: ObjectStore,
        labels: Sequence[Label],
        open_source: Callable[[str], Source],
        say: Callable[[str], object],
    ) -> None:
        self._store = store
        self._labels = labels
        self._open_source = open_source
        self._say = say
        self._chosen = read_chosen_tiles(store)
        drops = {label.drop for label in labels}
        tile_ids = {label.tile_id for label in labels if label.tile_id}
        image_ids = {label.image_id for label in labels}
        self._tiles = {
            tile_id: row for tile_id, (_, row) in read_rows(store, drops, tile_ids).items()
        }
        self._images = read_images(store, drops, image_ids)
        self._shots = read_shots(store, drops, image_ids)

    def walk(self) -> Iterator[tuple[Label, bytes | None]]:
        """Yield each label with its JPEG; a photograph is opened once for all its labels."""
        for (drop, path, image_id), group in groupby(
            self._labels, lambda label: (label.drop, label.path, label.image_id)
        ):
            labels = list(group)
            jpegs = {label.label_id: self._read_stored(label) for label in labels}
            to_cut = [label for label in labels if jpegs[label.label_id] is None]
            if to_cut:
                try:
                    jpegs |= self._cut(drop, image_id, to_cut)
                except OF_ONE_DROP as err:
                    why = explain(self._store, err)
                    self._say(f"no picture for {count_of(len(to_cut), 'label')} of {path}: {why}")
            shot = self._shots.get(image_id, ShotFacts())
            for label in labels:
                jpeg = jpegs[label.label_id]
                description = label.tile_id or ""
                yield label, jpeg and add_exif(jpeg, shot, description=description)

    def _read_stored(self, label: Label) -> bytes | None:
        tile_id = label.tile_id or ""
        tile = self._chosen.tiles.get(tile_id)
        if tile is None:
            return None
        parts = self._chosen.manifests[self._chosen.rounds[tile_id]].parts
        part = next((part for part in parts if part.name == tile.picture), None)
        return None if part is None else read_part(self._store, part)

    def _cut(self, drop: str, image_id: str, labels: Sequence[Label]) -> dict[str, bytes | None]:
        image = self._images.get(image_id)
        if image is None:
            self._say(
                f"no picture for {labels[0].path}: it is not in `images` of drop {drop} any more"
            )
            return {}
        with open_pixels(
            self._open_source(drop),
            image.path,
            image_id,
            is_mosaic=image.is_mosaic,
            low=image.scale_low,
            high=image.scale_high,
        ) as pixels:
            return {
                label.label_id: _cut(pixels, label, image, self._tiles.get(label.tile_id or ""))
                for label in labels
            }


def _cut(pixels: Pixels, label: Label, image: ImageToCut, tile: TileRow | None) -> bytes | None:
    """Cut the picture of a label; None for a window of a mosaic that is too large to be read."""
    if tile is not None:
        window = np.array([[tile.x, tile.y, tile.w, tile.h]], np.int32)
        cut = Image.fromarray(cut_tiles(pixels, window, tile.side_px, span_px=tile.span_px)[0])
    elif image.is_mosaic and label.w * label.h > (16 * MAX_SIDE_PX) ** 2:
        return None
    else:
        cut = Image.fromarray(
            np.ascontiguousarray(pixels[label.y : label.y + label.h, label.x : label.x + label.w])
        )
        cut.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    cut.save(sink, "JPEG", quality=CROP_QUALITY)
    return sink.getvalue()
