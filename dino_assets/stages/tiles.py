"""Stage *tiles*: the exact grid over every usable image of a drop. Windows only, no pixels."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.core import tiling
from dino_assets.core.images import judge_quarantine
from dino_assets.errors import CommitRefusedError, DropUnusableError
from dino_assets.records import Draft, Facts, Manifest, OutputId, Recipe, TileGrid, Verdict
from dino_assets.store.manifests import content_hash
from dino_assets.store.readers import CommittedTable

CODE_VERSION = "1"
IMAGES_PER_BATCH = 256
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
        pa.field("is_whole", pa.bool_(), nullable=False),
        pa.field("is_padded", pa.bool_(), nullable=False),
    ]
)


def draft_tiles(images: CommittedTable, drop: str, grid: TileGrid) -> Draft:
    """Cut a drop's usable images; the same picture twice in a drop is cut once.

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
    recipe = Recipe(
        OutputId("tiles", drop),
        CODE_VERSION,
        config={
            "side_px": grid.side_px,
            "overlap": grid.overlap,
            "whole_max_px": grid.whole_max_px,
            "grid_version": grid.version,
        },
        inputs={"images": content_hash(manifest)},
    )

    def produce() -> Iterator[pa.RecordBatch | Facts]:
        found = _distinct_images(images, drop)
        tiles = expected = padded = 0
        for start in range(0, found.num_rows, IMAGES_PER_BATCH):
            batch = cut_images(found.slice(start, IMAGES_PER_BATCH).to_pylist(), grid)
            tiles += batch.num_rows
            padded += pc.sum(batch["is_padded"]).as_py() or 0
            yield batch
        for row in found.select(["width", "height"]).to_pylist():
            expected += tiling.count_windows(row["width"], row["height"], grid)
        if tiles != expected:
            raise CommitRefusedError(
                f"drop {drop!r}: {tiles} tiles were cut where the formula gives {expected}. This is a "
                "fault in the grid, please report it; nothing was stored."
            )
        yield Facts({"images": found.num_rows, "padded": padded})

    return Draft(recipe, produce, SCHEMA)


def grid_of(manifest: Manifest) -> TileGrid:
    """The grid a committed drop was cut with."""
    config = manifest.recipe.config
    return TileGrid(
        int(config["side_px"]),
        float(config["overlap"]),
        int(config["whole_max_px"]),
        int(config["grid_version"]),
    )


def _distinct_images(images: CommittedTable, drop: str) -> pa.Table:
    """Usable images by id, each once, under the first of its paths."""
    rows = images.read(drop, ["image_id", "path", "width", "height", "is_usable"])
    usable = rows.filter(pc.field("is_usable")).drop_columns(["is_usable"])
    ordered = usable.sort_by([("image_id", "ascending"), ("path", "ascending")])
    ids = ordered["image_id"].to_numpy(zero_copy_only=False)
    first = np.ones(len(ids), bool)
    first[1:] = ids[1:] != ids[:-1]
    return ordered.filter(pa.array(first))


def cut_images(found: list[dict[str, object]], grid: TileGrid) -> pa.RecordBatch:
    """Tile rows of some images, in their order, then by tile id."""
    windows, names, ids, paths, whole, padded = [], [], [], [], [], []
    for image in found:
        width, height = int(str(image["width"])), int(str(image["height"]))
        cut = tiling.cut_windows(width, height, grid)
        is_whole = tiling.is_whole(width, height, grid)
        windows.append(cut)
        names += tiling.name_tiles(str(image["image_id"]), cut, grid)
        ids += [image["image_id"]] * len(cut)
        paths += [image["path"]] * len(cut)
        whole.append(np.full(len(cut), is_whole))
        padded.append(tiling.is_padded(cut, grid, whole=is_whole))
    xywh = np.concatenate(windows) if windows else np.empty((0, 4), np.int32)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(names, pa.string()),
            pa.array(ids, pa.string()),
            pa.array(paths, pa.string()),
            *(pa.array(np.ascontiguousarray(xywh[:, i]), pa.int32()) for i in range(4)),
            pa.array(np.full(len(xywh), grid.side_px, np.int32)),
            pa.array(np.concatenate(whole) if whole else np.empty(0, bool)),
            pa.array(np.concatenate(padded) if padded else np.empty(0, bool)),
        ],
        schema=SCHEMA,
    )


def judge_tiles(images: CommittedTable, tiles: CommittedTable, drop: str) -> Verdict:
    """Unique ids; every pixel of every usable image covered; no tile outside or without an image."""
    rows = tiles.read(drop, ["tile_id", "image_id", "x", "y", "w", "h"])
    twice = rows.num_rows - len(pc.unique(rows["tile_id"]))
    if twice:
        return Verdict(drop, False, f"{twice} tile ids occur twice")
    windows = _windows_by_image(rows)
    found = _distinct_images(images, drop).to_pylist()
    for image in found:
        image_id, width, height = image["image_id"], image["width"], image["height"]
        cut = windows.pop(image_id, np.empty((0, 4), np.int32))
        missing = tiling.uncovered_px(width, height, cut)
        if missing:
            return Verdict(drop, False, f"image {image_id[:16]}: {missing:,} pixels have no tile")
        ends = cut[:, :2] + cut[:, 2:]
        if cut.min() < 0 or (ends > (width, height)).any():
            return Verdict(
                drop, False, f"image {image_id[:16]}: a tile leaves its {width}×{height}"
            )
    if windows:
        return Verdict(drop, False, f"{len(windows)} images have tiles but no usable row in images")
    return Verdict(drop, True, f"{rows.num_rows} tiles cover {len(found)} images")


def _windows_by_image(rows: pa.Table) -> dict[str, np.ndarray]:
    xywh = np.stack([rows[name].to_numpy() for name in ("x", "y", "w", "h")], axis=1)
    ids = rows["image_id"].to_numpy(zero_copy_only=False)
    order = np.argsort(ids, kind="stable")
    names, starts = np.unique(ids[order], return_index=True)
    return dict(zip(names.tolist(), np.split(xywh[order], starts)[1:], strict=True))
