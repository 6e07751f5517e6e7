"""Draft of *images*: a drop's files, hashed and checked; each bad file with a reason."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.threads import map_ahead
from dino_assets.drops.cards import find_raw_twins
from dino_assets.drops.records import Drop, SourceEntry
from dino_assets.drops.sources.source import Source, fingerprint, is_wanted, read_exactly
from dino_assets.errors import CommitRefusedError, ConfigError, SourceError
from dino_assets.images.decoding import MAX_PIXELS, decode_image
from dino_assets.images.ground.registration import draw_gray
from dino_assets.images.records import ImageRow
from dino_assets.images.report.making import make_report, make_shot
from dino_assets.images.report.shots import ShotList
from dino_assets.images.rows import (
    SCHEMA,
    InspectedFile,
    ReadingOptions,
    inspect_file,
    name_readers,
)
from dino_assets.images.turns import correct_turns
from dino_assets.packing import Packed
from dino_assets.store.commits.columns import make_batch
from dino_assets.store.commits.protocol import (
    Draft,
    OutputId,
    OutputWriter,
    Recipe,
    Spent,
)

log = logging.getLogger(__name__)
CODE_VERSION = "7"
BATCH_ROWS = 1024
LOG_EVERY_S = 5.0
MAX_SUFFIXES = 20
DEFAULTS = ReadingOptions()
MAX_HEIGHT_M = 10_000
THUMBS_KEPT = 5000  # 15 MB in memory while the report is made; the table holds all thumbnails


def draft_images(
    drop: Drop,
    source: Source,
    *,
    threads: int,
    reading: ReadingOptions = DEFAULTS,
    batch_rows: int = BATCH_ROWS,
    listing: Sequence[SourceEntry] | None = None,
) -> Draft:
    """Draft the table ``images`` of a drop, one row per file and sorted by path, and the drop's report.

    This call only lists the drop's files, or takes them from ``listing``. The files are read when the draft
    is produced. Producing it raises CommitRefusedError if the files changed after they were listed, or if no
    photograph is among them. So a card that is not mounted cannot replace an earlier result.

    Raises:
        SourceError: the source cannot be listed.
        ConfigError: ``max_pixels`` is below 1 or more than Pillow decodes, or ``ground_m`` is not a height.
    """
    if not 0 < reading.max_pixels <= MAX_PIXELS:
        raise ConfigError(
            f"max_pixels={reading.max_pixels}: expected 1 to {MAX_PIXELS:,} pixels",
            setting="max_pixels",
            value=reading.max_pixels,
        )
    if reading.ground_m is not None and not abs(reading.ground_m) < MAX_HEIGHT_M:
        raise ConfigError(
            f"ground_m={reading.ground_m}: expected metres above the sea, below {MAX_HEIGHT_M:,}",
            setting="ground_m",
            value=reading.ground_m,
        )
    # Packed, because a list may name a million files.
    entries = Packed(SourceEntry, source.entries() if listing is None else listing)
    listed = fingerprint(entries)
    recipe = Recipe(
        OutputId("images", drop.name),
        CODE_VERSION,
        # Files are quarantined if their optional reader is not installed, so readers are part of the recipe.
        config=asdict(reading) | {"readers": name_readers()},
        inputs={"source": listed},
    )

    def produce(out: OutputWriter) -> None:
        card = sort_files(entries, is_list=source.is_list)
        inspected = map_ahead(
            lambda entry: inspect_file(drop, source, entry, reading), card.wanted, threads=threads
        )
        read_s = compute_s = 0.0
        shots = ShotList()
        rows: list[ImageRow] = []
        reasons: Counter[str] = Counter()
        files = _report(drop.name, inspected, total=len(card.wanted))
        for file in correct_turns(files, lambda row: _read_gray(source, row)):
            rows.append(replace(file.row, raw_path=card.raw_of.get(file.row.path)))
            shots.append(make_shot(file, with_thumb=len(shots) < THUMBS_KEPT))
            reasons.update([file.row.reason] if file.row.reason else [])
            read_s, compute_s = read_s + file.read_s, compute_s + file.compute_s
            if len(rows) >= batch_rows:
                out.rows(make_batch(rows, SCHEMA))
                rows = []
        out.rows(make_batch(rows, SCHEMA))
        if fingerprint(source.entries()) != listed:
            raise CommitRefusedError(
                f"drop {drop.name!r} changed while it was read: perhaps it is still being copied. Nothing "
                "was stored. Run again when the copy is complete.",
                reason="changed",
            )
        suffixes = _count_suffixes(card.others)
        if not card.wanted:
            raise CommitRefusedError(
                f"drop {drop.name!r} holds no photographs: it lists {_name_others(suffixes)}. Check that the "
                "disk or card is mounted. Nothing was stored.",
                reason="no-photographs",
            )
        usable = sum(1 for _ in shots.walk_usable())
        facts = {
            "usable": usable,
            "quarantined": len(shots) - usable,
            "reasons": dict(sorted(reasons.items())),
            "thermal": sum(shot.thermal is not None for _, shot in shots.walk_usable()),
            "raw_twins": len(entries) - len(card.wanted) - len(card.others),
            "other_files": len(card.others),
            "other_suffixes": suffixes,
        }
        report = make_report(drop.name, shots, others=[e.path for e in card.others], facts=facts)
        for part in report.files:
            out.file(part.name, part.data)
        out.facts(facts | {"findings": report.counts})
        out.spent(Spent(read_s, compute_s))

    return Draft(recipe, produce, SCHEMA)


@dataclass(frozen=True)
class SortedFiles:
    """A drop's files: photographs to read, their raw files, and all others.

    ``raw_of`` maps the path of a photograph to the path of its raw file.
    """

    wanted: Sequence[SourceEntry]
    raw_of: dict[str, str]
    others: Sequence[SourceEntry]


def sort_files(entries: Sequence[SourceEntry], *, is_list: bool) -> SortedFiles:
    """Separate photographs from the other files of a drop.

    If ``is_list``, a list names the files, and all of them count as photographs. So does any file that must
    not be opened, such as a link or a pipe: it gets a row with the reason. Other files count as photographs
    if they have a photograph's suffix. A raw file and its JPEG count as one photograph.
    """
    # If a list has another label or other columns for the raw file than for its JPEG, both are wanted.
    wanted, others = Packed(SourceEntry), Packed(SourceEntry)
    for entry in entries:
        (wanted if is_wanted(entry, is_list=is_list) else others).append(entry)
    twins = find_raw_twins(entry.path for entry in wanted if not entry.refusal)
    if is_list and twins:
        paired = {*twins, *twins.values()}
        labels = {e.path: (e.label, e.metadata) for e in wanted if e.path in paired}
        twins = {
            raw: photo
            for raw, photo in twins.items()
            if labels[raw] in (labels[photo], (None, None))
        }
    if not twins:
        # All files of a list are wanted, so its million entries are not copied.
        return SortedFiles(wanted if others else entries, {}, others)
    return SortedFiles(
        Packed(SourceEntry, (entry for entry in wanted if entry.path not in twins)),
        {photo: raw for raw, photo in sorted(twins.items(), reverse=True)},
        others,
    )


def _read_gray(source: Source, row: ImageRow) -> NDArray[np.uint8]:
    """Read a photograph again, as a small gray picture that can be compared with another.

    Raises:
        CommitRefusedError: the file changed while the drop was read.
    """
    try:
        data = read_exactly(source, row.path, row.facts.image_id if row.facts else "")
    except SourceError as err:
        raise CommitRefusedError(
            f"{row.path!r} changed while its drop {row.drop!r} was read. Nothing was stored. Run again when "
            "the copy is complete.",
            reason="changed",
            file=row.path,
        ) from err
    return draw_gray(decode_image(data))


def _count_suffixes(entries: Iterable[SourceEntry]) -> dict[str, int]:
    """Count files by suffix, the most frequent first. The counts explain a drop without photographs."""
    counts = Counter(_suffix(PurePosixPath(entry.path)) for entry in entries)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:MAX_SUFFIXES])


def _suffix(path: PurePosixPath) -> str:
    # Side files of macOS (``._name.jpg``) have a photograph's suffix, which would mislead.
    return "._*" if path.name.startswith("._") else path.suffix.lower() or "no suffix"


def _name_others(suffixes: dict[str, int]) -> str:
    named = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.items())
    return f"only files that are not read ({named})" if named else "no files at all"


def _report(drop: str, files: Iterator[InspectedFile], *, total: int) -> Iterator[InspectedFile]:
    """Yield inspected files, and log progress every few seconds."""
    started = last = time.perf_counter()
    read_bytes = 0
    for number, file in enumerate(files, start=1):
        read_bytes += file.row.bytes
        yield file
        now = time.perf_counter()
        if now - last >= LOG_EVERY_S or number == total:
            last = now
            spent = max(now - started, 1e-9)
            log.info(
                "%s: %d of %d files, %.1f MB, %.1f files/s, %.1f MB/s",
                drop, number, total, read_bytes / 1e6, number / spent, read_bytes / 1e6 / spent,
            )  # fmt: skip
