"""Checks of committed ``images``: valid rows, quarantined files, and findings of the report."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow.compute as pc

from dino_assets.counting import count_of
from dino_assets.errors import NotCommittedError
from dino_assets.images.inspection import judge_quarantine
from dino_assets.images.report.findings import Finding
from dino_assets.images.report.findings_table import read_findings_csv
from dino_assets.images.report.making import PAGE, TABLE
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.verdicts import Verdict

_BATCH_ROWS = 1024
# Kinds of findings that need no action, or that another check reports.
NOT_ODD = ("quarantined", "roll-over", "thermal", "turned")


def read_findings(images: CommittedTable, drop: str) -> list[Finding]:
    """Read the table of findings that is stored with a drop's images.

    Raises:
        NotCommittedError: the drop's images are not committed, or an earlier version made no report.
    """
    part = next((part for part in images.manifest(drop).parts if part.name == TABLE), None)
    if part is None:
        raise NotCommittedError(
            f"the images of drop {drop!r} were made by an earlier version of dino_assets, without a report. "
            "Materialise `images` of this drop again."
        )
    return read_findings_csv(read_part(images.store, part))


def judge_usable(manifest: Manifest) -> Verdict:
    """Judge how many of a drop's files are usable photographs, from the manifest of its ``images``."""
    return judge_quarantine(
        str(manifest.recipe.output.drop),
        usable=int(manifest.facts["usable"]),
        quarantined=int(manifest.facts["quarantined"]),
    )


def judge_cuttable(manifest: Manifest) -> Verdict:
    """Judge whether a drop has a colour picture: thermal pictures are cut into tiles only on request.

    A drop without any usable picture passes this check; ``judge_usable`` fails it.
    """
    drop = str(manifest.recipe.output.drop)
    usable, thermal = (int(manifest.facts.get(name, 0)) for name in ("usable", "thermal"))
    if 0 < usable <= thermal:
        sentence = (
            f"{usable} of {usable} pictures are thermal, which are cut into tiles only on request"
        )
        return Verdict(drop, False, sentence)
    return Verdict(drop, True, f"{usable - thermal} of {usable} pictures are colour pictures")


def judge_findings(images: CommittedTable, drop: str, *, today: date) -> Verdict:
    """Warn of a drop's findings, and of pictures dated more than a day after ``today``."""
    counts = images.manifest(drop).facts.get("findings")
    if counts is None:
        return Verdict(drop, True, "made by an earlier version, without a report", warns=True)
    taken = images.read(drop, ["taken"])["taken"]
    latest = pc.max(taken).as_py()
    oddities = [f"{count} {kind}" for kind, count in counts.items() if kind not in NOT_ODD]
    # A camera's local time may be a day ahead of this machine's.
    if latest is not None and latest.date() > today + timedelta(days=1):
        oddities.append(f"the newest picture is dated {latest:%Y-%m-%d}, in the future")
    if not oddities:
        return Verdict(drop, True, "no findings to act on")
    return Verdict(drop, True, f"{', '.join(oddities)}; see {PAGE}", warns=True)


def judge_images(images: CommittedTable, drop: str) -> Verdict:
    """Check a drop's rows of ``images``.

    Each path must occur once. A usable file must have an id of 64 hexadecimal digits and a size, a
    quarantined file must have a reason.
    """
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
            f"{twice} repeated paths, {incomplete} usable rows without id or size, {unexplained} "
            "quarantined rows without a reason",
        )
    return Verdict(
        drop, True, f"{count_of(rows.num_rows, 'row')}, each path once, each bad file with a reason"
    )


@dataclass(frozen=True)
class BadFile:
    """One quarantined file."""

    drop: str
    path: str
    reason: str
    detail: str


def list_bad_files(images: CommittedTable, drop: str) -> Iterator[BadFile]:
    """Yield the quarantined files of a drop one after the other: there may be a million."""
    rows = images.read(drop, ["drop", "path", "reason", "detail", "is_usable"])
    refused = rows.filter(~pc.field("is_usable")).drop_columns(["is_usable"])
    for batch in refused.to_batches(max_chunksize=_BATCH_ROWS):
        yield from (BadFile(**row) for row in batch.to_pylist())
