"""Draft of a labels version: the files of a frozen folder, a table of the labels, and a picture of their classes."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dino_assets.counting import count_of
from dino_assets.drawing.bars import draw_bars
from dino_assets.drawing.lettering import encode_picture
from dino_assets.drops.sources.source import Source
from dino_assets.labels.records import Label
from dino_assets.labels.stage.label_pictures import LabelPictures
from dino_assets.labels.stage.reading import hash_labels
from dino_assets.labels.stage.versions import (
    PARQUET,
    count_words,
    freeze_labels,
    write_version_files,
)
from dino_assets.labels.version_settings import VersionSettings
from dino_assets.settings.described import to_recipe
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.parts import describe_file
from dino_assets.store.commits.protocol import Draft, OutputId, OutputWriter, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import ObjectStore

CODE_VERSION = "1"
ASSET, PICTURE = "label_versions", "labels.png"
SCHEMA = pa.schema(
    [
        pa.field("picture", pa.string()),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),
        pa.field("tile_id", pa.string()),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("drop", pa.string(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in "xywh"),
        pa.field("label_id", pa.string(), nullable=False),
    ]
)


def draft_label_versions(
    store: ObjectStore,
    settings: VersionSettings,
    *,
    open_source: Callable[[str], Source],
    cache: Path,
    say: Callable[[str], object],
) -> Draft:
    """Draft a version of the committed labels, with the files that ``labels freeze`` writes.

    The output is named by the version's id, so another version never replaces it. ``say`` is called with the reason
    why a label has no picture. ``cache`` is the folder for temporary files.

    Raises:
        NotCommittedError: there are no labels.
    """
    frozen = freeze_labels(store, settings)
    inputs = hash_labels(store) | _hash_sources(store, frozen.labels)
    recipe = Recipe(OutputId(ASSET, frozen.version), CODE_VERSION, to_recipe(settings), inputs)

    def produce(out: OutputWriter) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".freezing-", dir=cache) as aside:
            folder = Path(aside)
            pictures = LabelPictures(store, frozen.labels, open_source, say)
            written = write_version_files(folder, frozen, settings, pictures)
            for batch in _read_rows(folder / PARQUET):
                out.rows(batch)
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                out.local_file(describe_file(folder, path.relative_to(folder).as_posix()))
        facts: dict[str, Any] = {
            "labels": written.labels,
            "classes": count_words(label.class_name for label in frozen.labels),
            "levels": count_words(label.level for label in frozen.labels),
            "without_picture": written.without_picture,
            "conflicts": written.conflicts,
            "licence": settings.licence,
        }
        out.file(PICTURE, _draw(facts, settings.title))
        out.facts(facts)

    return Draft(recipe, produce, SCHEMA)


def _hash_sources(store: ObjectStore, labels: Sequence[Label]) -> dict[str, str]:
    """Hash what the pictures are cut from, as recipe inputs."""
    drops = {label.drop for label in labels}
    manifests = (
        manifest
        for asset in ("images", "tiles")
        for manifest in open_table(store, asset, drops=drops).manifests
    )
    return {f"{m.recipe.output.asset}/{m.recipe.output.drop}": content_hash(m) for m in manifests}


def _read_rows(parquet: Path) -> Sequence[pa.RecordBatch]:
    """Read the rows of a version without their pictures, which are files beside the table."""
    columns = [name for name in SCHEMA.names if name != "picture"]
    table = pq.ParquetFile(parquet).read(columns=[*columns, "image.path"])
    pictures = pa.array([row and row["path"] for row in table["image"].to_pylist()], pa.string())
    rows: pa.Table = table.select(columns).add_column(0, "picture", pictures)
    return list(rows.cast(SCHEMA).to_batches())


def _draw(facts: dict[str, Any], title: str) -> bytes:
    notes = [count_of(facts["labels"], "label") + f", {facts['licence']}"]
    return encode_picture(draw_bars(facts["classes"], title=title, notes=notes), "PNG")
