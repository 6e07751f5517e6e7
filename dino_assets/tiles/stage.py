"""Stage *tiles*: the windows of every usable image of a drop, without pixels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.counting import count_of
from dino_assets.drops.boxes.records import UNPLACED, BoxFault, BoxFaults
from dino_assets.drops.stored_boxes import StoredBoxes, find_boxes
from dino_assets.errors import CommitRefusedError, ConfigError, DropUnusableError
from dino_assets.images import places
from dino_assets.images.mosaics import find_valid_windows, unpack_valid
from dino_assets.images.stage.judging import judge_usable
from dino_assets.store.commits.columns import columns_of, read_records
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.protocol import Draft, Manifest, OutputId, OutputWriter, Recipe
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles import grid as tiling
from dino_assets.tiles.box_tiles import (
    MARGIN,
    MAX_MOSAIC_SPAN_PX,
    BoxesToCut,
    BoxTally,
    cut_boxes,
)
from dino_assets.tiles.grid import TileGrid
from dino_assets.tiles.reading import is_boxed
from dino_assets.tiles.recurring import SAME_BOX
from dino_assets.tiles.rows import GRID_SCHEMA, SCHEMA, ImageToCut, PictureFile, make_tile_rows
from dino_assets.verdicts import Verdict

CODE_VERSION = "2"


def draft_tiles(
    images: CommittedTable, drop: str, grid: TileGrid, *, with_thermal: bool = False
) -> Draft:
    """Draft the tiles of a drop's usable images. An image that occurs twice in a drop is cut once.

    If the drop has boxes of a detector, each becomes a tile, and ``grid`` only gives the side for the model.

    Thermal pictures are left out by default: a model of colour photographs would embed them far from all
    others. Producing the draft raises DropUnusableError if no other picture is left.

    Raises:
        NotCommittedError: the drop's images are not committed.
        DropUnusableError: too few of the drop's files are usable photographs.
        CorruptObjectError: the drop's boxes cannot be read.
    """
    manifest = images.manifest(drop)
    verdict = judge_usable(manifest)
    if not verdict.passed:
        raise DropUnusableError(
            f"drop {drop!r}: {verdict.sentence}. The column `reason` of `images` says what is wrong with "
            "each file. Correct the drop, and materialise it again.",
            drop=drop,
            reason="quarantined",
        )
    boxes = find_boxes(images.store, drop)
    if boxes is not None:
        grid = TileGrid(grid.side_px, 0.0, 0, tiling.BOX_VERSION)
    config = {
        "side_px": grid.side_px,
        "overlap": grid.overlap,
        "whole_max_px": grid.whole_max_px,
        "grid_version": grid.version,
        "side_m": grid.side_m,
        "with_thermal": with_thermal,
    }
    inputs = {"images": content_hash(manifest)}
    if boxes is not None:
        config |= {"margin": MARGIN, "same_box": SAME_BOX}
        inputs |= {"boxes": boxes.sha256}
    recipe = Recipe(OutputId("tiles", drop), CODE_VERSION, config, inputs)

    def produce(out: OutputWriter) -> None:
        distinct = _distinct_images(images, drop)
        cut = [image for image in distinct if with_thermal or image.thermal is None]
        if not cut:
            raise DropUnusableError(
                f"drop {drop!r}: all of its {len(distinct)} pictures are thermal, and those are left out "
                "by default. To cut tiles from them, set with_thermal: true and materialise `tiles` again.",
                drop=drop,
                reason="thermal",
            )
        counts = Counter(images=len(cut), thermal_left_out=len(distinct) - len(cut))
        if boxes is not None:
            _cut_boxes(out, images, drop, cut, boxes, grid.side_px, counts)
            return
        fitted, unscaled = _fit_grids(cut, grid)
        if grid.side_m is not None:
            counts["cut_in_pixels"] = unscaled
        for image, own in zip(cut, fitted, strict=True):
            out.rows(cut_image(image, own, counts, side_px=grid.side_px))
        out.facts(dict(counts))

    return Draft(recipe, produce, GRID_SCHEMA if boxes is None else SCHEMA)


def _cut_boxes(
    out: OutputWriter,
    images: CommittedTable,
    drop: str,
    cut: Sequence[ImageToCut],
    boxes: StoredBoxes,
    side_px: int,
    counts: Counter[str],
) -> None:
    """Cut the boxes of a drop, and count those without a tile by their fault.

    Raises:
        DropUnusableError: no box became a tile.
    """
    rows = _read_images(
        images, drop, ["is_usable", *(column.name for column in columns_of(PictureFile))]
    )
    to_cut = pa.array([image.image_id for image in cut], pa.string())
    is_cut = pc.fill_null(pc.and_(rows["is_usable"], pc.is_in(rows["image_id"], to_cut)), False)
    unused: dict[str, BoxFault] = {
        row["path"]: "thermal-picture" if row["is_usable"] else "unusable-picture"
        for row in rows.filter(pc.invert(is_cut)).select(["path", "is_usable"]).to_pylist()
    }
    asked = BoxesToCut(boxes.boxes(), boxes.settings.least_score, side_px, boxes.format == "yolo")
    tally = BoxTally(counts, BoxFaults(boxes.faults.counts, boxes.faults.examples))
    files = list(read_records(PictureFile, rows.filter(is_cut)))
    tiles = 0
    for batch in cut_boxes(cut, files, unused, asked, tally):
        tiles += batch.num_rows
        tally.counts["padded"] += pc.sum(batch["is_padded"]).as_py()
        out.rows(batch)
    if not tiles:
        raise DropUnusableError(
            f"drop {drop!r}: none of its {counts['boxes']} boxes became a tile: "
            f"{counts['below_least_score']} below the least score; {tally.faults.describe() or 'no fault'}. "
            "Register the drop with other boxes, or with --no-boxes.",
            drop=drop,
            reason="no-box",
        )
    faults = {"box_faults": dict(tally.faults.counts), "box_examples": tally.faults.examples}
    out.facts(dict(counts) | (faults if tally.faults.counts else {}))


def grid_of(manifest: Manifest) -> TileGrid:
    """Read the grid of a drop's committed tiles."""
    config = manifest.recipe.config
    return TileGrid(
        int(config["side_px"]),
        float(config["overlap"]),
        int(config["whole_max_px"]),
        int(config["grid_version"]),
        config.get("side_m"),  # missing in recipes of earlier versions
    )


def cut_image(
    image: ImageToCut, fitted: TileGrid, counts: Counter[str], *, side_px: int
) -> pa.RecordBatch:
    """Make the tile rows of one image, sorted by tile id.

    ``fitted`` is the grid in the image's own pixels, ``side_px`` the side of a tile for the model. Windows
    without data are left out. Their number and that of padded tiles are added to ``counts``.

    Raises:
        CommitRefusedError: the number of windows differs from that of ``count_windows``.
    """
    width, height = image.width, image.height
    windows = tiling.cut_windows(width, height, fitted)
    expected = tiling.count_windows(width, height, fitted)
    if len(windows) != expected:
        raise CommitRefusedError(
            f"{image.path!r}: {len(windows)} tiles were cut, but the formula gives {expected}. Nothing "
            "was stored. This is a fault of dino_assets: please report it.",
            first=image.path,
        )
    if image.valid is not None:
        has_data = find_valid_windows(
            unpack_valid(image.valid, width=width, height=height), windows
        )
        counts["nodata_left_out"] += int((~has_data).sum())
        windows = windows[has_data]
    is_whole = tiling.is_whole(width, height, fitted)
    padded = tiling.is_padded(windows, fitted, whole=is_whole)
    counts["padded"] += int(padded.sum())
    count = len(windows)
    placed = None
    if count:
        view = image.view.restore() if image.view else None
        placed = places.place_windows(windows, view=view, georeference=image.georeference)
    return make_tile_rows(
        image,
        tiling.name_tiles(image.image_id, windows, fitted),
        windows,
        placed,
        GRID_SCHEMA,
        side_px=np.full(count, side_px, np.int32),
        span_px=np.full(count, 0 if is_whole else fitted.side_px, np.int32),
        is_whole=np.full(count, is_whole),
        is_padded=padded,
    )


def _fit_grids(images: Sequence[ImageToCut], grid: TileGrid) -> tuple[list[TileGrid], int]:
    """Fit the grid to each image, and count the images that are cut in pixels, not in metres.

    An oblique picture is cut in pixels, because it has no single scale. An image in which a tile would be
    only a few pixels has a wrong height. It is cut in pixels, too: one such image must not stop the drop.

    Raises:
        ConfigError: tiles would be a few pixels in every image of known scale, or are too large to be read
            from a mosaic at once.
    """
    fitted: list[TileGrid] = []
    refused: ConfigError | None = None
    scaled = 0
    for image in images:
        gsd_m = image.gsd_m if image.place_quality in places.SCALED else None
        try:
            own = tiling.fit_grid(grid, image.width, image.height, gsd_m=gsd_m)
        except ConfigError as err:
            message = f"{image.path!r}: {err}"
            refused = ConfigError(message, setting=err.setting, value=err.value)
            own = replace(grid, side_m=None)
        if image.is_mosaic and own.side_px > MAX_MOSAIC_SPAN_PX:
            share = MAX_MOSAIC_SPAN_PX / own.side_px
            most = (
                f"at most tile_m={grid.side_m * share:.3g}" if grid.side_m else "a smaller tile_px"
            )
            raise ConfigError(
                f"{image.path!r}: a tile would have a side of {own.side_px:,} px, but a mosaic is read in "
                f"squares of at most {MAX_MOSAIC_SPAN_PX:,} px per side. Use {most}",
                setting="tile_m" if grid.side_m else "tile_px",
                value=grid.side_m or grid.side_px,
            )
        scaled += own.version == tiling.GROUND_VERSION
        fitted.append(own)
    if refused is not None and not scaled:
        raise refused
    return fitted, len(fitted) - scaled


def _distinct_images(images: CommittedTable, drop: str) -> list[ImageToCut]:
    """List the usable images, sorted by id; one with several paths is listed once, with the first path."""
    names = [column.name for column in columns_of(ImageToCut)]
    rows = _read_images(images, drop, ["is_usable", *names])
    usable = rows.filter(pc.field("is_usable"))
    ordered = usable.sort_by([("image_id", "ascending"), ("path", "ascending")])
    ids = ordered["image_id"].to_numpy(zero_copy_only=False)
    first = np.ones(len(ids), bool)
    first[1:] = ids[1:] != ids[:-1]
    return list(read_records(ImageToCut, ordered.filter(pa.array(first))))


def _read_images(images: CommittedTable, drop: str, names: list[str]) -> pa.Table:
    """Read columns of the table ``images``.

    A table of an earlier version has no column ``turned_deg``; then this column is added, without values.
    """
    try:
        return images.read(drop, names)
    except pa.ArrowInvalid:
        older = images.read(drop, [name for name in names if name != "turned_deg"])
        return older.append_column("turned_deg", pa.nulls(older.num_rows, pa.int32()))


def judge_tiles(images: CommittedTable, tiles: CommittedTable, drop: str) -> Verdict:
    """Check a drop's tiles: unique ids, every pixel covered, no tile outside its image or without an image.

    In a mosaic, only cells with data must be covered. Tiles of boxes need not cover an image.
    """
    rows = tiles.read(drop, ["tile_id", "image_id", "x", "y", "w", "h"])
    repeated = rows.num_rows - len(pc.unique(rows["tile_id"]))
    if repeated:
        return Verdict(drop, False, f"{repeated} tile ids occur twice")
    windows = _windows_by_image(rows)
    has_boxes = is_boxed(tiles.manifest(drop))
    with_thermal = tiles.manifest(drop).recipe.config.get("with_thermal", False)
    wanted = [
        image for image in _distinct_images(images, drop) if with_thermal or image.thermal is None
    ]
    for image in wanted:
        image_id, width, height = image.image_id, image.width, image.height
        cut = windows.pop(image_id, np.empty((0, 4), np.int32))
        valid = (
            None if image.valid is None else unpack_valid(image.valid, width=width, height=height)
        )
        missing = 0 if has_boxes else tiling.uncovered_px(width, height, cut, valid=valid)
        if missing:
            return Verdict(drop, False, f"image {image_id[:16]}: {missing:,} pixels have no tile")
        ends = cut[:, :2] + cut[:, 2:]
        if len(cut) and (cut.min() < 0 or (ends > (width, height)).any()):
            return Verdict(
                drop, False, f"image {image_id[:16]}: a tile is outside its {width}×{height} pixels"
            )
    if windows:
        return Verdict(
            drop, False, f"{len(windows)} images have tiles but are not usable in `images`"
        )
    facts = tiles.manifest(drop).facts
    if has_boxes:
        return _judge_boxes(drop, rows.num_rows, facts)
    notes = [
        f"{count_of(facts[key], *nouns)} {what}"
        for key, nouns, what in (
            ("thermal_left_out", ["thermal picture"], "left out"),
            ("nodata_left_out", ["tile without data", "tiles without data"], "left out"),
            (
                "cut_in_pixels",
                ["image of unknown scale", "images of unknown scale"],
                "cut in pixels",
            ),
        )
        if facts.get(key)
    ]
    cover = count_of(rows.num_rows, "tile covers", "tiles cover")
    sentence = "; ".join([f"{cover} {count_of(len(wanted), 'image')}", *notes])
    return Verdict(drop, True, sentence, warns=bool(facts.get("cut_in_pixels")))


def _judge_boxes(drop: str, tiles: int, facts: Mapping[str, Any]) -> Verdict:
    """State what became of a drop's boxes; every box is a tile, left out on purpose, or a named fault."""
    faults = BoxFaults(facts.get("box_faults"), facts.get("box_examples"))
    accounted = tiles + facts.get("below_least_score", 0) + facts.get("same_square", 0)
    accounted += sum(faults.counts[kind] for kind in UNPLACED)
    if accounted != facts["boxes"]:
        return Verdict(
            drop, False, f"{facts['boxes']} boxes were read, but {accounted} are accounted for"
        )
    notes = [
        f"{facts[key]} {what}"
        for key, what in (
            ("below_least_score", "below the least score"),
            ("same_square", "with the same square as another box"),
            ("clipped", "clipped at the edge of the image"),
            ("enlarged", f"enlarged from fewer than {tiling.MIN_SPAN_PX} px"),
            ("recurring", "at a place that recurs"),
        )
        if facts.get(key)
    ]
    if facts["without_box"]:
        notes.append(f"{count_of(facts['without_box'], 'image')} without a box")
    if faults.counts:
        notes.append(faults.describe())
    sentence = f"{count_of(tiles, 'tile')} of {count_of(facts['boxes'], 'box', 'boxes')}"
    return Verdict(drop, True, "; ".join([sentence, *notes]), warns=bool(faults.counts))


def _windows_by_image(rows: pa.Table) -> dict[str, np.ndarray]:
    xywh = np.stack([rows[name].to_numpy() for name in ("x", "y", "w", "h")], axis=1)
    ids = rows["image_id"].to_numpy(zero_copy_only=False)
    order = np.argsort(ids, kind="stable")
    names, starts = np.unique(ids[order], return_index=True)
    return dict(zip(names.tolist(), np.split(xywh[order], starts)[1:], strict=True))
