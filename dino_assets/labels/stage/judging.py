"""Checks of the committed labels, of rounds that are exported for labelling programs, and of labels versions."""

import hashlib
import io
import json
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pyarrow.parquet as pq

from dino_assets.counting import count_of
from dino_assets.errors import CorruptObjectError, InvalidLabelsError, MissingExtraError
from dino_assets.labels.export_settings import LabelFormat
from dino_assets.labels.formats.croissant import CROISSANT
from dino_assets.labels.formats.reading import read_label_file
from dino_assets.labels.formats.unpacking import unpack
from dino_assets.labels.stage.versions import PARQUET
from dino_assets.store.commits.parts import fetch_part, read_part
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.verdicts import Verdict

_CROPS_AT_ONCE = 64


def judge_labels(labels: CommittedTable, tiles: CommittedTable) -> Verdict:
    """Check that people agree, and that every labelled tile is still a tile of some drop; else warn."""
    facts = labels.manifest(None).facts
    wanted = set(labels.read(None, ["tile_id"])["tile_id"].drop_null().to_pylist())
    for ids in _walk_ids(tiles) if wanted else ():
        wanted.difference_update(ids)
        if not wanted:
            break
    count = count_of(labels.rows, "label")
    doubts = []
    if conflicts := facts["conflicts"]:
        doubts.append(f"{count_of(conflicts, 'disagreement')}: settle them in `dino-assets studio`")
    if wanted:
        doubts.append(
            f"{count_of(len(wanted), 'labelled tile')} in no drop any more, such as {min(wanted)}"
        )
    if doubts:
        return Verdict("labels", True, f"{count}; {'; '.join(doubts)}", warns=True)
    return Verdict("labels", True, f"{count}, without a disagreement")


def judge_export(exports: CommittedTable, output: OutputId) -> Verdict:
    """Check that each format of an exported round, read back, has the classes of the table ``label_exports``."""
    facts = exports.manifest(output.drop).facts
    rows = exports.read(output.drop, ["file", "class_name", "box_classes"]).to_pylist()
    expected = Counter(
        (PurePosixPath(row["file"]).stem, name)
        for row in rows
        for name in (row["class_name"], *row["box_classes"])
        if name is not None
    )
    subject = str(output.drop)
    try:
        for name, labels in _read_back(exports, output, facts["formats"]):
            if labels != expected:
                lost, more = (expected - labels).total(), (labels - expected).total()
                sentence = (
                    f"{name} read back lacks {count_of(lost, 'label')}, and has {more} others"
                )
                return Verdict(subject, False, f"{sentence}. Export the round again")
    except (CorruptObjectError, InvalidLabelsError) as err:
        return Verdict(subject, False, str(err))
    except MissingExtraError as err:
        return Verdict(subject, True, f"not all formats can be read here: {err}", warns=True)
    count = count_of(len(facts["formats"]), "format")
    return Verdict(subject, True, f"{count_of(len(rows), 'tile')} in {count}, each read back")


def judge_version(versions: CommittedTable, output: OutputId) -> Verdict:
    """Check a labels version: its description names its table, and each crop is the picture in the table."""
    parts = {part.name: part for part in versions.manifest(output.drop).parts if part.name}
    subject, crops = str(output.drop), 0
    try:
        croissant = json.loads(read_part(versions.store, parts[CROISSANT]))
        if croissant["distribution"][0]["sha256"] != parts[PARQUET].sha256:
            return Verdict(subject, False, f"{CROISSANT} describes another table than {PARQUET}")
        table = pq.ParquetFile(io.BytesIO(read_part(versions.store, parts[PARQUET])))
        if table.metadata.num_rows != versions.manifest(output.drop).rows:
            return Verdict(subject, False, f"{PARQUET} has {table.metadata.num_rows:,} rows")
        for batch in table.iter_batches(_CROPS_AT_ONCE, columns=["image"]):
            for image in batch.column(0).drop_null().to_pylist():
                crops += 1
                if hashlib.sha256(image["bytes"]).hexdigest() != parts[image["path"]].sha256:
                    return Verdict(subject, False, f"{image['path']} is not its picture")
    except CorruptObjectError as err:
        return Verdict(subject, False, str(err))
    except KeyError as err:
        return Verdict(subject, False, f"{err.args[0]} is not in the version")
    rows = table.metadata.num_rows
    return Verdict(subject, True, f"{count_of(rows, 'label')}, {count_of(crops, 'picture')}, whole")


def _read_back(
    exports: CommittedTable, output: OutputId, formats: Sequence[LabelFormat]
) -> Iterator[tuple[LabelFormat, Counter[tuple[str, str]]]]:
    """Read each format of the zip file, and count the labels by picture and class."""
    name = f"{output.drop}.zip"
    (part,) = (part for part in exports.manifest(output.drop).parts if part.name == name)
    with tempfile.TemporaryDirectory() as aside:
        path, folder = Path(aside) / name, Path(aside) / "files"
        fetch_part(exports.store, part, path)
        with zipfile.ZipFile(path) as archive:
            unpack(archive, folder, shown=path)
        for each in formats:
            try:
                rows = read_label_file(folder, format=each).rows
            except InvalidLabelsError as err:
                if err.reason != "no-label":
                    raise
                rows = ()  # nothing is labelled yet
            yield each, Counter((PurePosixPath(row.picture).stem, row.class_name) for row in rows)


def _walk_ids(tiles: CommittedTable) -> Iterator[list[str]]:
    for _, part in tiles.parts(["tile_id"]):
        yield part["tile_id"].to_pylist()
