"""A drawn flight over an object: photographs that overlap, and tiles whose vectors show who sees the object."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dino_assets.images.places import describe_places, place_windows
from dino_assets.images.records import View
from dino_assets.numerics.earth import travel
from dino_assets.store.commits.protocol import Draft, OutputId, OutputWriter, Recipe
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore

SPACE, DIMS = "space-1", 16
WIDTH, HEIGHT, SIDE, STEP = 4000, 3000, 512, 256
HEIGHT_M, FOCAL_PX = 100.0, 4000.0
GSD_M = HEIGHT_M / FOCAL_PX
HOME = (13.781904, 47.610213)  # longitude and latitude
UNPLACED = 5
_SCHEMA = pa.schema(
    [
        pa.field("tile_id", pa.string()),
        pa.field("image_id", pa.string()),
        pa.field("cls", pa.list_(pa.float32(), DIMS)),
        pa.field("thumb", pa.binary()),
    ]
)


@dataclass(frozen=True, eq=False)
class PlantedFlight:
    """The object's longitude and latitude, and the ids of tiles that show it, in the drop."""

    drop: str
    object: tuple[float, float]
    hot: tuple[str, ...]
    unplaced: tuple[str, ...]


def write_flight(
    store: ObjectStore,
    drop: str,
    planted: tuple[float, float],
    *,
    seed: int = 0,
    home: tuple[float, float] = HOME,
) -> PlantedFlight:
    """Commit ``images``, ``tiles`` and ``embeddings`` of a flight; the object is ``planted`` at a longitude and latitude.

    Each tile that shows the object has a vector near the first axis; those of the others have any direction.
    Five tiles have no place.
    """
    rng = np.random.default_rng(seed)
    windows = np.array(
        [
            (x, y, SIDE, SIDE)
            for y in [*range(0, HEIGHT - SIDE, STEP), HEIGHT - SIDE]
            for x in [*range(0, WIDTH - SIDE, STEP), WIDTH - SIDE]
        ]
    )
    place = np.array(planted)
    images, batches, vectors, ids, hot = [], [], [], [], []
    for number, (east, north) in enumerate((e, n) for e in (0, 40, 80) for n in (0, 23, 46, 69)):
        camera = travel(*home, np.array([(east, north)]) + rng.normal(0, 2, 2))[0]
        view = View(
            latitude=camera[1],
            longitude=camera[0],
            height_m=HEIGHT_M,
            yaw_deg=float(rng.normal(10, 5)),
            pitch_deg=-90.0,
            roll_deg=0.0,
            focal_px=FOCAL_PX,
            center_x_px=WIDTH / 2,
            center_y_px=HEIGHT / 2,
            width=WIDTH,
            height=HEIGHT,
        )
        image_id = f"{number:064x}"
        images.append((image_id, *camera.tolist(), HEIGHT_M))
        placed = place_windows(windows, view=view, georeference=None)
        sees = show_point(placed.corners, place)
        tile_ids = [f"{drop}-{number}-{row}" for row in range(len(windows))]
        hot += [tile_id for tile_id, is_hot in zip(tile_ids, sees, strict=True) if is_hot]
        noise = rng.standard_normal((len(windows), DIMS))
        noise[:, 0] = np.where(sees, 12.0, -1.0)
        batches.append(
            (tile_ids, image_id, describe_places("gps-nadir", placed, count=len(windows)))
        )
        vectors.append(noise.astype(np.float32))
        ids += tile_ids
    lost = [f"{drop}-lost-{row}" for row in range(UNPLACED)]
    _commit_images(store, drop, images)
    _commit_tiles(store, drop, batches, lost)
    vectors.append(rng.standard_normal((UNPLACED, DIMS)).astype(np.float32))
    of_image = [image_id for tile_ids, image_id, _ in batches for _ in tile_ids]
    _commit_embeddings(
        store, drop, [*ids, *lost], [*of_image, *["f" * 64] * UNPLACED], np.concatenate(vectors)
    )
    return PlantedFlight(drop, (float(place[0]), float(place[1])), tuple(hot), tuple(lost))


def show_point(corners: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Check which quadrangles (N, 4, 2) contain a point; degrees are as good as metres for that."""
    inside = np.ones(len(corners), bool)
    middles = corners.mean(axis=1)
    for side in range(4):
        start, end = corners[:, side], corners[:, (side + 1) % 4]
        normal = np.stack([end[:, 1] - start[:, 1], start[:, 0] - end[:, 0]], 1)
        own = ((point - start) * normal).sum(1)
        inside &= own * ((middles - start) * normal).sum(1) >= 0
    return inside


def _commit_images(store: ObjectStore, drop: str, rows: list[tuple]) -> None:
    table = pa.table(
        {
            name: [row[place] for row in rows]
            for place, name in enumerate(("image_id", "longitude", "latitude", "height_m"))
        }
    )
    _commit(store, OutputId("images", drop), table)


def _commit_tiles(store: ObjectStore, drop: str, batches: list, lost: list[str]) -> None:
    tables = []
    for tile_ids, image_id, places in batches:
        table = pa.Table.from_batches([places]).replace_schema_metadata(None)
        table = table.append_column("tile_id", pa.array(tile_ids))
        tables.append(table.append_column("image_id", pa.array([image_id] * len(tile_ids))))
    nowhere = {
        name: pa.nulls(len(lost), tables[0].schema.field(name).type)
        for name in tables[0].column_names
    }
    nowhere |= {"tile_id": pa.array(lost), "image_id": pa.array(["f" * 64] * len(lost))}
    nowhere["place_quality"] = pa.array(["none"] * len(lost))
    schema = pa.schema([field.with_nullable(True) for field in tables[0].schema])
    parts = [each.cast(schema) for each in (*tables, pa.table(nowhere).select(schema.names))]
    table = pa.concat_tables(parts)
    zeros = np.zeros(len(table), np.int32)
    for name in "xywh":
        table = table.append_column(name, pa.array(zeros))
    _commit(store, OutputId("tiles", drop), table.append_column("is_whole", pa.array(zeros > 0)))


def _commit_embeddings(
    store: ObjectStore, drop: str, ids: list[str], image_ids: list[str], vectors: np.ndarray
) -> None:
    columns = [
        pa.array(ids),
        pa.array(image_ids),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMS),
        pa.array([b""] * len(ids), pa.binary()),
    ]
    table = pa.table(columns, schema=_SCHEMA)
    output = OutputId("embeddings", drop, SPACE)
    _commit(store, output, table, config={"columns": ["cls"]})


def _commit(
    store: ObjectStore, output: OutputId, table: pa.Table, *, config: dict | None = None
) -> None:
    def produce(out: OutputWriter) -> None:
        for batch in table.combine_chunks().to_batches():
            out.rows(batch)

    # A second flight of the same name has other rows, and its recipe must not be the first one's.
    draft = Draft(Recipe(output, "1", config or {}), produce, table.schema, is_anew=True)
    commit(store, draft)


def place_object(
    east_m: float, north_m: float, *, home: tuple[float, float] = HOME
) -> tuple[float, float]:
    """Compute the longitude and latitude of a place some metres from the flight's first photograph."""
    longitude, latitude = travel(*home, np.array([(east_m, north_m)]))[0].tolist()
    return longitude, latitude
