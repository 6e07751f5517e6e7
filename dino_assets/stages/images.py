"""Stage *images*: list a drop, hash and check every photograph, give each bad one a reason."""

import logging
import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.core.images import MAX_FILE_BYTES, MAX_PIXELS, inspect_image, is_photo_name
from dino_assets.errors import (
    CommitRefusedError,
    ObjectNotFoundError,
    SourceError,
    UnusableImageError,
)
from dino_assets.records import Draft, Drop, Facts, OutputId, Recipe, SourceEntry, Verdict
from dino_assets.stages.compute import read_ahead
from dino_assets.stages.sources import Source, fingerprint
from dino_assets.store.readers import CommittedTable

log = logging.getLogger(__name__)

CODE_VERSION = "1"
BATCH_ROWS = 1024
LOG_EVERY_S = 5.0
SCHEMA = pa.schema(
    [
        pa.field("drop", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("is_usable", pa.bool_(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("image_id", pa.string()),
        pa.field("format", pa.string()),
        pa.field("mode", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("stored_width", pa.int32()),
        pa.field("stored_height", pa.int32()),
        pa.field("orientation", pa.int8()),
    ]
)
Row = dict[str, object]


def draft_images(
    drop: Drop, source: Source, *, threads: int, max_pixels: int = MAX_PIXELS
) -> Draft:
    """List a drop now; read it when the draft is produced. Rows are sorted by path.

    Raises:
        SourceError: the inbox cannot be listed.
    """
    entries = source.entries()
    listed = fingerprint(entries)
    recipe = Recipe(
        OutputId("images", drop.name),
        CODE_VERSION,
        config={"max_pixels": max_pixels},
        inputs={"source": listed},
    )

    def produce() -> Iterator[pa.RecordBatch | Facts]:
        # Links, pipes and the like are rows whatever they are called; other files only by name.
        wanted = [e for e in entries if e.refusal or is_photo_name(e.path)]
        others = [e.path for e in entries if not (e.refusal or is_photo_name(e.path))]
        reasons: dict[str, int] = {}
        usable = 0
        rows: list[Row] = []
        for row in _report(
            drop.name,
            read_ahead(lambda e: _row(drop, source, e, max_pixels), wanted, threads=threads),
            total=len(wanted),
        ):
            rows.append(row)
            if row["is_usable"]:
                usable += 1
            else:
                reason = str(row["reason"])
                reasons[reason] = reasons.get(reason, 0) + 1
            if len(rows) >= BATCH_ROWS:
                yield pa.RecordBatch.from_pylist(rows, SCHEMA)
                rows = []
        yield pa.RecordBatch.from_pylist(rows, SCHEMA)
        if fingerprint(source.entries()) != listed:
            raise CommitRefusedError(
                f"drop {drop.name!r} changed while it was read: it is still being copied. Run again "
                "when the copy is complete; nothing was stored."
            )
        yield Facts(
            {
                "usable": usable,
                "quarantined": len(wanted) - usable,
                "reasons": dict(sorted(reasons.items())),
                "other_files": len(others),
            }
        )

    return Draft(recipe, produce, SCHEMA)


def _row(drop: Drop, source: Source, entry: SourceEntry, max_pixels: int) -> Row:
    row: Row = {"drop": drop.name, "path": entry.path, "bytes": entry.size, "is_usable": False}
    if entry.refusal:
        return row | {"reason": entry.refusal, "detail": entry.refusal_detail}
    if entry.size > MAX_FILE_BYTES:
        limit = f"{entry.size:,} bytes, the limit is {MAX_FILE_BYTES:,}"
        return row | {"reason": "too-large", "detail": limit}
    try:
        data = source.read(entry.path)
        facts = inspect_image(data, max_pixels=max_pixels)
    except (SourceError, ObjectNotFoundError) as err:
        return row | {"reason": "unreadable", "detail": str(err)}
    except UnusableImageError as err:
        return row | {"reason": err.reason, "detail": err.detail}
    return row | {"bytes": len(data), "is_usable": True} | vars(facts)


def _report(drop: str, rows: Iterator[Row], *, total: int) -> Iterator[Row]:
    """Pass rows on and say every few seconds how far it is."""
    started = last = time.perf_counter()
    read_bytes = 0
    for number, row in enumerate(rows, start=1):
        read_bytes += int(str(row["bytes"]))
        yield row
        now = time.perf_counter()
        if now - last >= LOG_EVERY_S or number == total:
            last = now
            spent = max(now - started, 1e-9)
            log.info(
                "%s: %d of %d files, %.1f MB, %.1f files/s, %.1f MB/s",
                drop, number, total, read_bytes / 1e6, number / spent, read_bytes / 1e6 / spent,
            )  # fmt: skip


def judge_images(images: CommittedTable, drop: str) -> Verdict:
    """Unique paths; an id of 64 hex and a size on usable rows, a reason on the others."""
    rows = images.read(drop, ["path", "image_id", "width", "height", "reason", "is_usable"])
    usable = rows.filter(pc.field("is_usable"))
    twice = rows.num_rows - len(pc.unique(rows["path"]))
    is_whole = (pc.field("width") > 0) & (pc.field("height") > 0)
    is_named = pc.match_substring_regex(usable["image_id"], "^[0-9a-f]{64}$")
    named = usable.filter(pc.fill_null(is_named, False)).filter(is_whole)
    incomplete = usable.num_rows - named.num_rows
    unexplained = rows.filter(~pc.field("is_usable") & pc.field("reason").is_null()).num_rows
    if twice or incomplete or unexplained:
        return Verdict(
            drop,
            False,
            f"{twice} paths twice, {incomplete} usable rows without id or size, {unexplained} "
            "quarantined rows without a reason",
        )
    return Verdict(drop, True, f"{rows.num_rows} rows, unique and explained")
