"""Stage *tiles*: the exact grid over every usable image of a drop. Windows only, no pixels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.errors import CommitRefusedError, ConfigError, DropUnusableError
from dino_assets.images import places
from dino_assets.images.inspection import judge_quarantine
from dino_assets.images.mosaics import find_valid_windows, unpack_valid
from dino_assets.images.places import Row
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.protocol import Draft, Manifest, OutputId, OutputWriter, Recipe
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles import grid as tiling
from dino_assets.tiles.grid import TileGrid
from dino_assets.verdicts import Verdict

CODE_VERSION = "2"
MAX_MOSAIC_SPAN_PX = 8192  # 200 MB of pixels
SCHEMA = pa.schema(
    [
        pa.field("tile_id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("x", pa.int32(), nullable=False),
        pa.field("y", pa.int32(), nullable=False),
        pa.field("w", pa.int32(), nullable=False),
        pa.field("h", pa.int32(), nullable=False),
        pa.field("side_px", pa.int32(), nullable=False),
        # The square of the image that the tile shows, before it is scaled to side_px; 0: a whole image.
        pa.field("span_px", pa.int32(), nullable=False),
        pa.field("is_whole", pa.bool_(), nullable=False),
        pa.field("is_padded", pa.bool_(), nullable=False),
        # How its pixels are read: all at once, or by windows, scaled from this range.
        pa.field("is_mosaic", pa.bool_(), nullable=False),
        pa.field("scale_low", pa.float64()),
        pa.field("scale_high", pa.float64()),
        *places.FIELDS,
    ],
    metadata=places.GEO_METADATA,
)
# What of an image decides its tiles.
_IMAGE = (
    "image_id", "path", "is_usable", "width", "height", "thermal", "is_mosaic", "valid",
    "scale_low", "scale_high", "gsd_m", *places.POSE,
)  # fmt: skip


def draft_tiles(
    images: CommittedTable, drop: str, grid: TileGrid, *, with_thermal: bool = False
) -> Draft:
    """Cut a drop's usable images; the same picture twice in a drop is cut once.

    Thermal pictures are left out unless asked for: a model of colours would put them in a corner of
    their own.

    Raises:
        NotCommittedError: the drop's images are not committed.
        DropUnusableError: too few of its files are usable photographs.
    """
    manifest = images.manifest(drop)
    verdict = judge_quarantine(
        drop,
        usable=int(manifest.facts["usable"]),
        quarantined=int(manifest.facts["quarantined"]),
    )
    if not verdict.passed:
        raise DropUnusableError(
            f"drop {drop!r}: {verdict.sentence}. Look at its rows with a reason in `images`, mend the "
            "drop, and materialise it again."
        )
    config = {
        "side_px": grid.side_px,
        "overlap": grid.overlap,
        "whole_max_px": grid.whole_max_px,
        "grid_version": grid.version,
        "side_m": grid.side_m,
        "with_thermal": with_thermal,
    }
    recipe = Recipe(
        OutputId("tiles", drop), CODE_VERSION, config, inputs={"images": content_hash(manifest)}
    )

    def produce(out: OutputWriter) -> None:
        found = _distinct_images(images, drop)
        cut = found if with_thermal else [row for row in found if row["thermal"] is None]
        if not cut:
            raise DropUnusableError(
                f"drop {drop!r}: all of its {len(found)} pictures are thermal, which are kept out of "
                "work on colours. Materialise `tiles` with with_thermal: true to cut them all the same."
            )
        counts = Counter(images=len(cut), thermal_left_out=len(found) - len(cut))
        fitted, unscaled = _fit_grids(cut, grid)
        if grid.side_m is not None:
            counts["cut_in_pixels"] = unscaled
        for image, own in zip(cut, fitted, strict=True):
            out.rows(cut_image(image, own, counts, side_px=grid.side_px))
        out.facts(dict(counts))

    return Draft(recipe, produce, SCHEMA)


def grid_of(manifest: Manifest) -> TileGrid:
    """The grid a committed drop was cut with."""
    config = manifest.recipe.config
    return TileGrid(
        int(config["side_px"]),
        float(config["overlap"]),
        int(config["whole_max_px"]),
        int(config["grid_version"]),
        config.get("side_m"),  # what was tiled before there was a choice has none
    )


def cut_image(
    image: Row, fitted: TileGrid, counts: Counter[str], *, side_px: int
) -> pa.RecordBatch:
    """Tile rows of one row of ``images``, sorted by tile id; what was left out goes into ``counts``.

    Raises:
        CommitRefusedError: the grid does not give what its formula says.
    """
    width, height = image["width"], image["height"]
    windows = tiling.cut_windows(width, height, fitted)
    expected = tiling.count_windows(width, height, fitted)
    if len(windows) != expected:
        raise CommitRefusedError(
            f"{image['path']!r}: {len(windows)} tiles were cut where the formula gives {expected}. This "
            "is a fault in the grid, please report it; nothing was stored.",
            first=image["path"],
        )
    if image["valid"] is not None:
        holds = find_valid_windows(
            unpack_valid(image["valid"], width=width, height=height), windows
        )
        counts["nodata_left_out"] += int((~holds).sum())
        windows = windows[holds]
    is_whole = tiling.is_whole(width, height, fitted)
    padded = tiling.is_padded(windows, fitted, whole=is_whole)
    counts["padded"] += int(padded.sum())
    count = len(windows)
    columns: dict[str, Any] = {
        "tile_id": tiling.name_tiles(image["image_id"], windows, fitted),
        "side_px": np.full(count, side_px, np.int32),
        "span_px": np.full(count, 0 if is_whole else fitted.side_px, np.int32),
        "is_whole": np.full(count, is_whole),
        "is_padded": padded,
    }
    columns |= {name: np.ascontiguousarray(windows[:, i]) for i, name in enumerate("xywh")}
    columns |= {
        name: [image[name]] * count
        for name in ("image_id", "path", "is_mosaic", "scale_low", "scale_high")
    }
    placed = places.place_windows(image, windows) if count else None
    columns |= places.place_columns(image["place_quality"], placed, count)
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA
    )


def _fit_grids(images: Sequence[Row], grid: TileGrid) -> tuple[list[TileGrid], int]:
    """Each image's own grid in pixels, and how many were fitted without knowing their scale.

    An oblique picture has no one scale. One whose height cannot be right (tiles of a few pixels where
    those of others are whole) must not stop its drop.

    Raises:
        ConfigError: tiles of so many metres would be a few pixels in all images, or more than can be
            read of a mosaic at once.
    """
    fitted: list[TileGrid] = []
    refused: ConfigError | None = None
    scaled = 0
    for image in images:
        gsd_m = image["gsd_m"] if image["place_quality"] in places.SCALED else None
        try:
            own = tiling.fit_grid(grid, image["width"], image["height"], gsd_m=gsd_m)
        except ConfigError as err:
            message = f"{image['path']!r}: {err}"
            refused = ConfigError(message, setting=err.setting, value=err.value)
            own = replace(grid, side_m=None)
        if image["is_mosaic"] and own.side_px > MAX_MOSAIC_SPAN_PX:
            share = MAX_MOSAIC_SPAN_PX / own.side_px
            most = f"tile_m={grid.side_m * share:.3g}" if grid.side_m else "a smaller tile_px"
            raise ConfigError(
                f"{image['path']!r}: a tile of {own.side_px:,} px of a mosaic is more than the "
                f"{MAX_MOSAIC_SPAN_PX:,} px that are read at once: use at most {most}",
                setting="tile_m" if grid.side_m else "tile_px",
                value=grid.side_m or grid.side_px,
            )
        scaled += own.version == tiling.GROUND_VERSION
        fitted.append(own)
    if refused is not None and not scaled:
        raise refused
    return fitted, len(fitted) - scaled


def _distinct_images(images: CommittedTable, drop: str) -> list[Row]:
    """Usable images by id, each once, under the first of its paths."""
    rows = images.read(drop, list(_IMAGE))
    usable = rows.filter(pc.field("is_usable"))
    ordered = usable.sort_by([("image_id", "ascending"), ("path", "ascending")])
    ids = ordered["image_id"].to_numpy(zero_copy_only=False)
    first = np.ones(len(ids), bool)
    first[1:] = ids[1:] != ids[:-1]
    return list(ordered.filter(pa.array(first)).to_pylist())


def judge_tiles(images: CommittedTable, tiles: CommittedTable, drop: str) -> Verdict:
    """Unique ids; every pixel of every wanted image covered; no tile outside or without an image.

    Of a mosaic only the cells that hold anything must be covered.
    """
    rows = tiles.read(drop, ["tile_id", "image_id", "x", "y", "w", "h"])
    twice = rows.num_rows - len(pc.unique(rows["tile_id"]))
    if twice:
        return Verdict(drop, False, f"{twice} tile ids occur twice")
    windows = _windows_by_image(rows)
    with_thermal = tiles.manifest(drop).recipe.config.get("with_thermal", False)
    found = [
        row for row in _distinct_images(images, drop) if with_thermal or row["thermal"] is None
    ]
    for image in found:
        image_id, width, height = image["image_id"], image["width"], image["height"]
        cut = windows.pop(image_id, np.empty((0, 4), np.int32))
        valid = (
            None
            if image["valid"] is None
            else unpack_valid(image["valid"], width=width, height=height)
        )
        missing = tiling.uncovered_px(width, height, cut, valid=valid)
        if missing:
            return Verdict(drop, False, f"image {image_id[:16]}: {missing:,} pixels have no tile")
        ends = cut[:, :2] + cut[:, 2:]
        if len(cut) and (cut.min() < 0 or (ends > (width, height)).any()):
            return Verdict(
                drop, False, f"image {image_id[:16]}: a tile leaves its {width}×{height}"
            )
    if windows:
        return Verdict(
            drop, False, f"{len(windows)} images have tiles but are not wanted by `images`"
        )
    facts = tiles.manifest(drop).facts
    notes = [
        f"{facts[key]:,} {words}"
        for key, words in (
            ("thermal_left_out", "thermal pictures left out"),
            ("nodata_left_out", "tiles without data left out"),
            ("cut_in_pixels", "images of unknown scale cut in pixels"),
        )
        if facts.get(key)
    ]
    said = "; ".join([f"{rows.num_rows} tiles cover {len(found)} images", *notes])
    return Verdict(drop, True, said, warns=bool(facts.get("cut_in_pixels")))


def _windows_by_image(rows: pa.Table) -> dict[str, np.ndarray]:
    xywh = np.stack([rows[name].to_numpy() for name in ("x", "y", "w", "h")], axis=1)
    ids = rows["image_id"].to_numpy(zero_copy_only=False)
    order = np.argsort(ids, kind="stable")
    names, starts = np.unique(ids[order], return_index=True)
    return dict(zip(names.tolist(), np.split(xywh[order], starts)[1:], strict=True))
