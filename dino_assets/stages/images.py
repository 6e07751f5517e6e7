"""Stage *images*: list a drop, hash and check every photograph, give each bad one a reason."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.core.images import MAX_FILE_BYTES, MAX_PIXELS, inspect_image, is_photo_name
from dino_assets.errors import CommitRefusedError, ConfigError, SourceError, UnusableImageError
from dino_assets.records import Draft, Drop, Facts, OutputId, Recipe, SourceEntry, Spent, Verdict
from dino_assets.stages.compute import map_ahead
from dino_assets.stages.sources import Source, fingerprint
from dino_assets.store.readers import CommittedTable

log = logging.getLogger(__name__)

CODE_VERSION = "2"
BATCH_ROWS = 1024
LOG_EVERY_S = 5.0
MAX_SUFFIXES = 20
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

    Producing raises CommitRefusedError if the drop changes meanwhile, or lists no photograph at all:
    what an unmounted card looks like must not replace an earlier result.

    Raises:
        SourceError: the inbox cannot be listed.
        ConfigError: ``max_pixels`` is more than Pillow decodes, or less than a pixel.
    """
    if not 0 < max_pixels <= MAX_PIXELS:
        raise ConfigError(f"max_pixels={max_pixels}: 1 to {MAX_PIXELS:,} pixels expected")
    entries = source.entries()
    listed = fingerprint(entries)
    recipe = Recipe(
        OutputId("images", drop.name),
        CODE_VERSION,
        config={"max_pixels": max_pixels},
        inputs={"source": listed},
    )

    def produce() -> Iterator[pa.RecordBatch | Facts | Spent]:
        # Links, pipes and the like are rows whatever they are called, and so is what a list names;
        # other files only by name.
        wanted = [e for e in entries if source.is_list or e.refusal or is_photo_name(e.path)]
        others = _count_suffixes(set(entries).difference(wanted))
        looked = map_ahead(lambda e: _look(drop, source, e, max_pixels), wanted, threads=threads)
        usable, read_s, compute_s = 0, 0.0, 0.0
        reasons: Counter[str] = Counter()
        rows: list[Row] = []
        for look in _report(drop.name, looked, total=len(wanted)):
            rows.append(look.row)
            usable += bool(look.row["is_usable"])
            reasons.update([str(look.row["reason"])] if "reason" in look.row else [])
            read_s, compute_s = read_s + look.read_s, compute_s + look.compute_s
            if len(rows) >= BATCH_ROWS:
                yield pa.RecordBatch.from_pylist(rows, SCHEMA)
                rows = []
        yield pa.RecordBatch.from_pylist(rows, SCHEMA)
        if fingerprint(source.entries()) != listed:
            raise CommitRefusedError(
                f"drop {drop.name!r} changed while it was read: it is still being copied. Run again "
                "when the copy is complete; nothing was stored."
            )
        if not wanted:
            raise CommitRefusedError(
                f"drop {drop.name!r} holds no photographs: is the card mounted? It lists "
                f"{_name_others(others)}; nothing was stored."
            )
        yield Facts(
            {
                "usable": usable,
                "quarantined": len(wanted) - usable,
                "reasons": dict(sorted(reasons.items())),
                "other_files": len(entries) - len(wanted),
                "other_suffixes": others,
            }
        )
        yield Spent(read_s, compute_s)

    return Draft(recipe, produce, SCHEMA)


def _count_suffixes(entries: Iterable[SourceEntry]) -> dict[str, int]:
    """How many files have which ending, the most frequent first; tells why nothing is usable."""
    counts = Counter(_suffix(PurePosixPath(entry.path)) for entry in entries)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:MAX_SUFFIXES])


def _suffix(path: PurePosixPath) -> str:
    # Side files of macOS end in .jpg, which would tell nothing.
    return "._*" if path.name.startswith("._") else path.suffix.lower() or "no suffix"


def _name_others(suffixes: dict[str, int]) -> str:
    named = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.items())
    return f"only files that are not read ({named})" if named else "no files at all"


@dataclass(frozen=True)
class _Look:
    """One file's row, and what it took."""

    row: Row
    read_s: float = 0.0
    compute_s: float = 0.0


def _look(drop: Drop, source: Source, entry: SourceEntry, max_pixels: int) -> _Look:
    row: Row = {"drop": drop.name, "path": entry.path, "bytes": entry.size, "is_usable": False}
    if entry.refusal:
        return _Look(row | {"reason": entry.refusal, "detail": entry.refusal_detail})
    if entry.size > MAX_FILE_BYTES:
        limit = f"{entry.size:,} bytes, the limit is {MAX_FILE_BYTES:,}"
        return _Look(row | {"reason": "too-large", "detail": limit})
    started = read = time.perf_counter()
    try:
        data = source.read(entry.path)
        read = time.perf_counter()
        facts = inspect_image(data, max_pixels=max_pixels)
        row |= {"bytes": len(data), "is_usable": True} | vars(facts)
    except SourceError as err:
        row |= {"reason": "unreadable", "detail": str(err)}
    except UnusableImageError as err:
        row |= {"reason": err.reason, "detail": err.detail}
    return _Look(row, read - started, time.perf_counter() - read)


def _report(drop: str, looks: Iterator[_Look], *, total: int) -> Iterator[_Look]:
    """Pass looks on and say every few seconds how far it is."""
    started = last = time.perf_counter()
    read_bytes = 0
    for number, look in enumerate(looks, start=1):
        read_bytes += int(str(look.row["bytes"]))
        yield look
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
    reasons = rows.filter(~pc.field("is_usable"))["reason"].fill_null("")
    unexplained = pc.sum(pc.equal(reasons, "")).as_py() or 0
    if twice or incomplete or unexplained:
        return Verdict(
            drop,
            False,
            f"{twice} paths twice, {incomplete} usable rows without id or size, {unexplained} "
            "quarantined rows without a reason",
        )
    return Verdict(drop, True, f"{rows.num_rows} rows, unique and explained")
